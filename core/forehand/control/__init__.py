"""Control: limits, watchdogs and wrappers around a robot, and action chunking. No torch."""

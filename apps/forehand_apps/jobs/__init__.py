"""Jobs: sweeps, several processes, and nodes."""

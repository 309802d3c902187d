"""Meta-World behind a robot host: the Sawyer arm, fifty tasks, and their scripted experts."""

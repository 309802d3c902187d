"""Configuration of the benchmark Meta-World and its robot."""

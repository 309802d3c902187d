"""Configuration of the benchmark CALVIN and its robot."""

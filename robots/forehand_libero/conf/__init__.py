"""Configuration of the benchmark LIBERO and its robot."""

"""Hydra configuration of the tabletop robots and benchmarks."""

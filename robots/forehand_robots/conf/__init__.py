"""Hydra configuration of the drivers."""

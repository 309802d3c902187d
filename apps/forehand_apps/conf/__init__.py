"""Hydra configuration of the commands."""

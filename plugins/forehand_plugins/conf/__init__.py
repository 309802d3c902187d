"""Hydra configuration of the stock parts."""

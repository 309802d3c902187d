"""Hydra configuration of the Seer parts."""

"""Sharing of checkpoints: hub repositories, model cards, and training commands that are repeated."""

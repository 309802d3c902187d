"""CALVIN's play data."""

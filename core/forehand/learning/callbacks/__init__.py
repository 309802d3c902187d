"""Callbacks of a training: what happens beside its steps."""

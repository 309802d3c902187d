"""Trainings: what happens beside them, and their curves."""

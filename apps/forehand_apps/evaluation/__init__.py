"""Evaluations that commands carry out: in closed loop, on recordings, under interventions."""

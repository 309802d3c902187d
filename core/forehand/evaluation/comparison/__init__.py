"""Comparison of evaluations: arms, paired by scene and training seed."""

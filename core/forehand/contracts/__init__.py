"""Contracts: what is measured and commanded, in which units; their comparison, conversions and rotations. No torch."""

"""Benchmark ``tabletop``: push, lift and stack three coloured blocks."""

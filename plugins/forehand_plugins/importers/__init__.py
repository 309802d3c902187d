"""Importers of recordings in other formats."""

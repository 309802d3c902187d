"""Labelling: actions of recordings that have none, found by models of inverse dynamics. Needs torch."""

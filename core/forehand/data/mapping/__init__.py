"""Mapping of a dataset's columns and cameras to the state, the action and the cameras of a contract."""

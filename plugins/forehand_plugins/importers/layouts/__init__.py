"""Layouts: which columns of a source are which cameras, states and actions, for formats that do not say it."""

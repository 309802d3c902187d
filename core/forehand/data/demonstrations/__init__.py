"""Demonstrations: scripted experts recorded in a simulator, in one process or several."""

"""Utilities shared by all folders: files, clocks, images, video, processes, signals. No torch."""

"""Merging of LeRobotDatasets of one kind into one, without decoding or encoding anything."""

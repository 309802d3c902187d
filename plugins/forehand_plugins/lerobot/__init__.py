"""Policies of the LeRobot library in Forehand's loop."""

"""Robot drivers: Gymnasium, LeRobot, remote and replay."""

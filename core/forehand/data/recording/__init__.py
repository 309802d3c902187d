"""Recording: episodes written frame by frame, and committed atomically to a LeRobotDataset."""

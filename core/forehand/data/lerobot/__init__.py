"""LeRobotDatasets as dataset sources."""

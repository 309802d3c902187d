"""LeRobotDatasets as dataset sources: format 3, and formats 2.1 and 2.0 as they are."""

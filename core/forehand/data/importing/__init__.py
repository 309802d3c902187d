"""Import of recordings in other formats into LeRobotDatasets with contracts."""

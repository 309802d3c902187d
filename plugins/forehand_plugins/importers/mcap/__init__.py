"""MCAP files and ROS bags: messages of many topics, each with times of its own."""

"""The lifecycle nodes, one file each: wiring between ROS and the core."""

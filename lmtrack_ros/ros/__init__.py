"""The bridge between the core and ROS: parameters, messages, lifecycle, quality of service."""

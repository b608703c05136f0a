"""Frozen records, frames of reference, image geometry and parameters: numpy only, no ROS, no clock."""

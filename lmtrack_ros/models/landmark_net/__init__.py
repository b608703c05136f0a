"""LandmarkNet: spinous processes, tracheal bifurcation and sternal angle in portal images and radiographs."""

KINDS = ("spinous_process", "tracheal_bifurcation", "sternal_angle")
"""Of landmarks, in the order of the network's maps."""

"""LandmarkNet: spinous processes, tracheal bifurcation and sternal angle in portal images and radiographs."""

KINDS = ("spinous_process", "tracheal_bifurcation", "sternal_angle")
"""Of landmarks, in the order of the network's maps."""

LEAST_HEIGHT, APART_PX = 0.3, 12.0
"""Of a peak that is a landmark; how far two of a kind are apart, pixels of the network's square."""

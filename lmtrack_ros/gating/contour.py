"""Targets that are more than a point: how much of one lies where."""

import numpy as np

from lmtrack_ros.core.frames import Array

# samples along the longer side of an outline: shares of its area are good to a few percent of themselves
_SAMPLES = 40


def interior(contour_mm: Array) -> Array:
    """Return (K, 3) points spread evenly over the inside of a planar polygon; of a thin one, its corners.

    Args:
        contour_mm: (C, 3) corners in order, C at least 1; the last is joined to the first.
    """
    center = contour_mm.mean(axis=0)
    _, extents, axes = np.linalg.svd(contour_mm - center, full_matrices=False)
    if len(contour_mm) < 3 or extents[1] < 1e-9:
        return contour_mm
    corners = (contour_mm - center) @ axes[:2].T
    low, high = corners.min(axis=0), corners.max(axis=0)
    pitch = float((high - low).max()) / _SAMPLES
    x, y = (np.arange(a + pitch / 2, b, pitch) for a, b in zip(low, high, strict=True))
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    inside = points[_are_inside(points, corners)]
    points_mm: Array = center + (inside if len(inside) else corners) @ axes[:2]
    return points_mm


def _are_inside(points: Array, corners: Array) -> Array:
    """Return which of (K, 2) points lie in a polygon, by how often a ray to the right crosses its edges."""
    x, y = points[:, :1], points[:, 1:]
    (x1, y1), (x2, y2) = corners.T, np.roll(corners, -1, axis=0).T
    crosses = (y1 <= y) != (y2 <= y)  # (K, C)
    with np.errstate(divide="ignore", invalid="ignore"):
        at_x = x1 + (y - y1) * (x2 - x1) / (y2 - y1)
    odd: Array = (crosses & (x < at_x)).sum(axis=1) % 2 == 1
    return odd

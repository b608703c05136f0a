"""Targets that are more than a point: outlines as planar polygons, mm."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.geometry import ImageGeometry

# samples along the longer side of an outline: shares of its area are good to a few percent of themselves
_SAMPLES = 40


def contour_of_mask(mask: NDArray[Any], geometry: ImageGeometry) -> Array:
    """Return the (K, 3) outline of the largest part of a mask, in the geometry's frame.

    Args:
        mask: (H, W); the target is where it is not zero.
        geometry: of the image.

    Returns:
        A polygon through the centres of the outermost pixels; K = 0 where the mask is empty.
    """
    found, _ = cv2.findContours((mask != 0).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not found:
        return np.zeros((0, 3))
    largest = max(found, key=cv2.contourArea)[:, 0, :]
    return np.array([geometry.position_mm((float(u), float(v))) for u, v in largest])


def interior(contour_mm: Array) -> Array:
    """Return (K, 3) points spread evenly over the inside of a planar polygon, corners and edges included.

    Args:
        contour_mm: (C, 3) corners, C at least 1.
    """
    center = contour_mm.mean(axis=0)
    _, extents, axes = np.linalg.svd(contour_mm - center, full_matrices=False)
    if len(contour_mm) < 3 or extents[1] < 1e-9:
        return contour_mm
    plane = (contour_mm - center) @ axes[:2].T
    low = plane.min(axis=0)
    pitch = float((plane.max(axis=0) - low).max()) / (_SAMPLES - 1)
    columns, rows = np.ceil((plane.max(axis=0) - low) / pitch).astype(int) + 1
    canvas = np.zeros((rows, columns), np.uint8)
    cv2.fillPoly(canvas, [np.round((plane - low) / pitch).astype(np.int32)], 1)
    row, column = np.nonzero(canvas)
    points: Array = center + (np.stack([column, row], axis=1) * pitch + low) @ axes[:2]
    return points

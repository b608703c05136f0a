"""From the mask of a segmentation to the outline that the gate judges."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.geometry import ImageGeometry


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

"""Standard planes of the fetal head from its landmarks (fig. 2d): transventricular and transcerebellar."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STANDARD_PLANES: Mapping[str, tuple[str, ...]] = {
    "TV": (
        "frontal_skull",
        "occipital_skull",
        "parietal_skull_left",
        "parietal_skull_right",
        "cavum_septi_pellucidi",
        "atrium_left",
        "atrium_right",
    ),
    "TC": ("cavum_septi_pellucidi", "cerebellum_left", "cerebellum_right", "cisterna_magna"),
}
"""The landmarks on each, which the examination's handbook defines them by."""

_FORWARD = "cavum_septi_pellucidi"


class Plane(NamedTuple):
    """A plane through a head.

    Attributes:
        middle_mm: (3,) mean of its landmarks.
        axes: (3, 3) columns: to the front, to the left, and up, along the normal.
    """

    middle_mm: Array
    axes: Array

    def point_mm(self, forward_mm: Array, left_mm: Array) -> Array:
        """Return the (..., 3) points of the plane that lie so far to the front and to the left."""
        return self.middle_mm + forward_mm[..., None] * self.axes[:, 0] + left_mm[..., None] * self.axes[:, 1]

    def flat_mm(self, points_mm: Array) -> Array:
        """Return (..., 2) how far to the front and to the left (..., 3) points are."""
        return np.asarray((points_mm - self.middle_mm) @ self.axes[:, :2])


class Deviation(NamedTuple):
    """How far one plane is from another.

    Attributes:
        distance_mm: of the other one's middle from it.
        angle_deg: between the normals.
    """

    distance_mm: float
    angle_deg: float


def standard_plane(name: str, landmarks_mm: Mapping[str, Array]) -> Plane:
    """Return the plane nearest to its landmarks, by least squares.

    Args:
        name: of ``STANDARD_PLANES``.
        landmarks_mm: (3,) each, by name.
    """
    points = np.stack([landmarks_mm[one] for one in STANDARD_PLANES[name]])
    middle = points.mean(axis=0)
    normal = np.linalg.svd(points - middle)[2][2]
    left = landmarks_mm["cerebellum_left"] - landmarks_mm["cerebellum_right"]
    back = (landmarks_mm["cerebellum_left"] + landmarks_mm["cerebellum_right"]) / 2
    forward = landmarks_mm[_FORWARD] - back
    forward = forward - normal * (forward @ normal)
    forward /= np.linalg.norm(forward)
    # the same way up, whatever the decomposition says
    normal = normal * np.sign(np.cross(left, forward) @ normal)
    return Plane(middle, np.stack([forward, np.cross(forward, normal), normal], axis=1))


def deviation(found: Plane, true: Plane) -> Deviation:
    """Return how far a plane that was found is from the true one."""
    normal = found.axes[:, 2]
    cosine = abs(float(normal @ true.axes[:, 2]))
    distance = abs(float((true.middle_mm - found.middle_mm) @ normal))
    return Deviation(distance, float(np.degrees(np.arccos(min(cosine, 1.0)))))

"""Frames of reference, one function per transform. Lengths in mm, angles in radians.

``isocenter`` is the IEC 61217 fixed frame: seen by someone at the foot of the couch who faces the
gantry, X points right, Y towards the gantry, Z up. ``table_top`` is the IEC 61217 table-top frame,
parallel to it while the couch is not rotated. ``patient`` is DICOM LPS: X to the patient's left,
Y to the back, Z to the head. An imager's frame is REP-103 optical: x to the right of the image
(columns), y down (rows), z into the image.
"""

from enum import Enum
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[np.float64]


class PatientPosition(str, Enum):
    """How the patient lies, DICOM (0018,5100)."""

    HFS = "HFS"
    HFP = "HFP"
    FFS = "FFS"
    FFP = "FFP"


_PATIENT_AXES_IN_TABLE_TOP: dict[PatientPosition, Array] = {
    # columns: where left, posterior and superior point in table_top
    PatientPosition.HFS: np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=float),
    PatientPosition.HFP: np.array([[-1, 0, 0], [0, 0, 1], [0, 1, 0]], dtype=float),
    PatientPosition.FFS: np.array([[-1, 0, 0], [0, 0, -1], [0, -1, 0]], dtype=float),
    PatientPosition.FFP: np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=float),
}


_NO_ROTATION = np.eye(3)


def rigid(rotation: ArrayLike = _NO_ROTATION, translation_mm: ArrayLike = (0, 0, 0)) -> Array:
    """Return the (4, 4) homogeneous transform from a (3, 3) rotation and a (3,) translation, mm.

    Raises:
        ValueError: the rotation is not orthonormal with determinant 1, or a value is not finite.
    """
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = translation_mm
    if not np.isfinite(matrix).all():
        raise ValueError("a rigid transform must be finite")
    r = matrix[:3, :3]
    if not np.allclose(r @ r.T, np.eye(3), atol=1e-6) or np.linalg.det(r) < 0:
        raise ValueError(f"not a rotation: {r.tolist()}")
    return matrix


def inverse(transform: Array) -> Array:
    """Return the inverse of a (4, 4) rigid transform."""
    r = transform[:3, :3]
    return rigid(r.T, -r.T @ transform[:3, 3])


def apply(transform: Array, points_mm: ArrayLike) -> Array:
    """Map points of shape (..., 3), mm, by a (4, 4) transform."""
    points = np.asarray(points_mm, dtype=float)
    return np.asarray(points @ transform[:3, :3].T + transform[:3, 3])


def table_top_from_patient(position: PatientPosition, origin_mm: ArrayLike = (0, 0, 0)) -> Array:
    """Return the (4, 4) transform patient (LPS) → table_top.

    Args:
        position: how the patient lies.
        origin_mm: (3,) the patient frame's origin in table_top.
    """
    return rigid(_PATIENT_AXES_IN_TABLE_TOP[position], origin_mm)


def isocenter_from_table_top(position_mm: ArrayLike, rotation_rad: ArrayLike = (0, 0, 0)) -> Array:
    """Return the (4, 4) transform table_top → isocenter.

    Args:
        position_mm: (3,) the table top's origin in isocenter.
        rotation_rad: (3,) right-handed angles about X, Y and Z of isocenter, applied in that
            order about the isocentre: R = Rz · Ry · Rx.
    """
    a, b, c = np.asarray(rotation_rad, dtype=float)
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return rigid(rz @ ry @ rx, position_mm)


class View(str, Enum):
    """The usual ways an image plane stands in the room, for a head-first supine patient."""

    LONGITUDINAL = "longitudinal"
    """Columns run to the feet (-Y), rows, which are depth, to the back (-Z): ultrasound from the front."""
    SAGITTAL = "sagittal"
    """Columns run to the back (isocenter -Z), rows to the feet (-Y)."""
    CORONAL = "coronal"
    """Columns run to the patient's left (+X), rows to the feet (-Y): a PA or AP radiograph."""
    AXIAL = "axial"
    """Columns run to the patient's left (+X), rows to the back (-Z)."""


_IMAGE_AXES_IN_ISOCENTER: dict[View, Array] = {
    # columns: where image x (columns), y (rows) and z (into the image) point
    View.LONGITUDINAL: np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], dtype=float),
    View.SAGITTAL: np.array([[0, 0, -1], [0, -1, 0], [-1, 0, 0]], dtype=float),
    View.CORONAL: np.array([[1, 0, 0], [0, -1, 0], [0, 0, -1]], dtype=float),
    View.AXIAL: np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=float),
}


def isocenter_from_image(view: View, origin_mm: ArrayLike = (0, 0, 0)) -> Array:
    """Return the (4, 4) transform image → isocenter of a room-mounted imager.

    Args:
        view: how the plane stands.
        origin_mm: (3,) the centre of the top-left pixel in isocenter.
    """
    return rigid(_IMAGE_AXES_IN_ISOCENTER[view], origin_mm)


def quaternion_from_rotation(rotation: Array) -> tuple[float, float, float, float]:
    """Return the unit quaternion (x, y, z, w), w ≥ 0, of a (3, 3) rotation."""
    r = rotation
    # of the four candidates that Shepperd (1978) gives, the one with the largest divisor
    squares = np.array(
        [1 + r[0, 0] - r[1, 1] - r[2, 2], 1 - r[0, 0] + r[1, 1] - r[2, 2], 1 - r[0, 0] - r[1, 1] + r[2, 2]]
    )
    if np.trace(r) >= 0:
        w = 1 + np.trace(r)
        q = np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], w])
    else:
        i = int(np.argmax(squares))
        j, k = (i + 1) % 3, (i + 2) % 3
        q = np.zeros(4)
        q[i] = squares[i]
        q[j] = r[j, i] + r[i, j]
        q[k] = r[k, i] + r[i, k]
        q[3] = r[k, j] - r[j, k]
    q /= np.linalg.norm(q)
    x, y, z, w = (q if q[3] >= 0 else -q).tolist()
    return x, y, z, w


def rotation_from_quaternion(xyzw: ArrayLike) -> Array:
    """Return the (3, 3) rotation of a quaternion (x, y, z, w).

    Raises:
        ValueError: the quaternion is not of unit length.
    """
    x, y, z, w = np.asarray(xyzw, dtype=float)
    if not abs(x * x + y * y + z * z + w * w - 1) < 1e-3:
        raise ValueError(f"not a unit quaternion: {(x, y, z, w)}")
    x, y, z, w = np.array([x, y, z, w]) / np.sqrt(x * x + y * y + z * z + w * w)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )

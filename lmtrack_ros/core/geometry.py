"""Where the pixels of an image lie in the room, and what the image does not see.

Pixel coordinates are (column, row[, slice]); the centre of the top-left pixel is 0. The image
frame has its origin there, x along columns, y along rows, z into the image, in mm.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike

from lmtrack_ros.core import frames
from lmtrack_ros.core.frames import Array, View

ISOCENTER = "isocenter"
TABLE_TOP = "table_top"

_AXIS_TOLERANCE = 1e-6


class Modality(str, Enum):
    """What made the image."""

    ULTRASOUND = "ultrasound"
    FLUOROSCOPY = "fluoroscopy"
    MR = "mr"
    PORTAL = "portal"
    ULTRASOUND_VOLUME = "ultrasound_volume"


class Mount(str, Enum):
    """What the imager is fixed to."""

    ROOM = "room"
    COUCH = "couch"
    PATIENT = "patient"
    """Hand-held: a pose for each frame, in isocenter."""


@dataclass(frozen=True, eq=False)
class ImageGeometry:
    """Where the pixels of one imager lie.

    Attributes:
        modality: what made the image.
        spacing_mm: (column, row, slice) pixel pitch; of a projection, at the detector. The slice
            pitch of a 2-D image is its thickness, or 0.
        mount: what the imager is fixed to; its pose is in ``table_top`` for COUCH, else in
            ``isocenter``.
        pose: (4, 4) transform image → that frame, mm. Of a projection, the plane through the
            isocentre parallel to the detector, where magnification is taken out.
        sad_mm: source to isocentre, 0 where the image is no projection or the distance is unknown.
        sid_mm: source to detector, likewise.
        projection: (3, 4) isocenter mm → homogeneous pixel, or None.
    """

    modality: Modality
    spacing_mm: tuple[float, float, float]
    mount: Mount = Mount.ROOM
    pose: Array = field(default_factory=lambda: np.eye(4))
    sad_mm: float = 0.0
    sid_mm: float = 0.0
    projection: Array | None = None

    def __post_init__(self) -> None:
        column, row, slice_ = self.spacing_mm
        if not (np.isfinite(self.spacing_mm).all() and min(column, row) > 0 and slice_ >= 0):
            raise ValueError(f"pixel spacing must be positive and finite, got {self.spacing_mm} mm")
        distances_mm = (self.sad_mm, self.sid_mm)
        if not (np.isfinite(distances_mm).all() and min(distances_mm) >= 0):
            raise ValueError(f"source distances must be finite and not negative, got {distances_mm} mm")
        if (self.sad_mm > 0) != (self.sid_mm > 0):
            raise ValueError("give both the source-isocentre and the source-detector distance, or neither")
        if self.sid_mm < self.sad_mm:
            raise ValueError(f"the detector ({self.sid_mm} mm) lies before the isocentre ({self.sad_mm} mm)")

    @property
    def frame_id(self) -> str:
        """The tf frame that ``pose`` maps into."""
        return TABLE_TOP if self.mount is Mount.COUCH else ISOCENTER

    @property
    def plane_spacing_mm(self) -> tuple[float, float, float]:
        """Pixel pitch where positions are measured: of a projection, at the isocentre plane."""
        scale = self.sad_mm / self.sid_mm if self.sid_mm else 1.0
        column, row, slice_ = self.spacing_mm
        return column * scale, row * scale, slice_

    def position_mm(self, uv_px: ArrayLike) -> Array:
        """Return the (3,) position of pixel (column, row[, slice]) in ``frame_id``, mm."""
        pixel = np.zeros(3)
        pixel[: len(np.atleast_1d(uv_px))] = uv_px
        return frames.apply(self.pose, pixel * self.plane_spacing_mm)

    def pixel(self, position_mm: ArrayLike) -> Array:
        """Return (column, row, slice) of a (3,) position in ``frame_id``; slice 0 for a 2-D image."""
        image_mm = frames.apply(frames.inverse(self.pose), position_mm)
        spacing = np.array(self.plane_spacing_mm)
        pixel: Array = np.divide(image_mm, spacing, out=np.zeros(3), where=spacing > 0)
        return pixel

    def observed_axes(self, image_axes: Sequence[bool]) -> tuple[bool, bool, bool]:
        """Return which axes of ``frame_id`` are seen when the image sees ``image_axes``.

        An axis counts only where nothing that the image does not see contributes to it: the
        (2,) or (3,) image axes that are missing must have no component along it.
        """
        seen = np.zeros(3, dtype=bool)
        seen[: len(image_axes)] = image_axes
        blind = np.abs(self.pose[:3, :3][:, ~seen]) > _AXIS_TOLERANCE
        x, y, z = (not row.any() for row in blind)
        return x, y, z

    def covariance_mm2(self, variance_px2: ArrayLike, image_axes: Sequence[bool]) -> Array:
        """Return the (3, 3) covariance in ``frame_id``, with infinite variance where it is blind.

        Args:
            variance_px2: (2,) or (3,) variances along the image's axes, px².
            image_axes: which of them the image sees.
        """
        variance = np.zeros(3)
        variance[: len(image_axes)] = np.where(image_axes, variance_px2, 0.0)
        rotation = self.pose[:3, :3]
        covariance: Array = rotation @ np.diag(variance * np.square(self.plane_spacing_mm)) @ rotation.T
        blind = ~np.array(self.observed_axes(image_axes))
        covariance[blind, :] = 0.0
        covariance[:, blind] = 0.0
        covariance[blind, blind] = np.inf
        return covariance


def gantry_projection(
    modality: Modality,
    spacing_mm: tuple[float, float],
    axis_px: tuple[float, float],
    gantry_deg: float,
    *,
    sad_mm: float,
    sid_mm: float,
    mount: Mount = Mount.ROOM,
) -> ImageGeometry:
    """Return the geometry of a detector that turns with its source about the isocentre.

    It is square to the central ray. At a gantry angle of 0 columns run along X of isocenter, rows against Y.

    Args:
        modality: of the images.
        spacing_mm: column and row pitch at the detector.
        axis_px: column and row where the central ray meets it.
        gantry_deg: IEC 61217 angle of the source about Y: 0 in front of a supine patient, 90 at the left.
        sad_mm: source to isocentre.
        sid_mm: source to detector.
        mount: what the imager is fixed to.

    Raises:
        ValueError: a pitch or distance is not positive, or the detector lies before the isocentre.
    """
    turned = frames.isocenter_from_table_top((0, 0, 0), (0, np.radians(gantry_deg), 0))
    rotation = (turned @ frames.isocenter_from_image(View.CORONAL))[:3, :3]
    flat = ImageGeometry(modality, (*spacing_mm, 0.0), mount, sad_mm=sad_mm, sid_mm=sid_mm)
    (column, row), pitch_mm = axis_px, flat.plane_spacing_mm
    corner_mm = rotation @ np.array([-column * pitch_mm[0], -row * pitch_mm[1], 0.0])
    camera = np.array([[sid_mm / spacing_mm[0], 0, column], [0, sid_mm / spacing_mm[1], row], [0, 0, 1]])
    source = np.column_stack([rotation.T, (0.0, 0.0, sad_mm)])
    return replace(flat, pose=frames.rigid(rotation, corner_mm), projection=camera @ source)

"""What can be marked on an image, and on which images it can be followed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import ImageGeometry
from lmtrack_ros.core.records import Frame, Landmark
from lmtrack_ros.trackers.patches import Image, as_float_image

_SCALE_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class Scene:
    """What an image must be like for landmarks to be followed on it; by default, none is.

    Attributes:
        shape: (H, W) of the image on which they were marked.
        spacing_mm: (2,) pixel pitch along columns and rows; without geometry a pixel counts as a millimetre.
    """

    shape: tuple[int, ...] = ()
    spacing_mm: NDArray[np.float64] = field(default_factory=lambda: np.ones(2))

    def image(self, frame: Frame) -> Image | None:
        """Return a frame as ``as_float_image`` does; None too where its size or pixel spacing is another."""
        if frame.image.shape != self.shape:
            return None
        if not np.allclose(_spacing_mm(frame.geometry), self.spacing_mm, rtol=_SCALE_TOLERANCE):
            return None
        return as_float_image(frame.image)


def marked_on(frame: Frame, landmarks: Sequence[Landmark], tracker: str) -> tuple[Scene, Image]:
    """Return the scene of landmarks, and its image as ``as_float_image`` returns it.

    Args:
        frame: (H, W) image on which they were marked.
        landmarks: as marked.
        tracker: name of the tracker, for the message.

    Raises:
        UserError: the image is not 2-D or empty of structure, or see :func:`check_landmarks`.
    """
    image = as_float_image(frame.image) if frame.image.ndim == 2 else None
    if image is None:
        raise UserError(f"cannot mark landmarks on a frame of shape {frame.image.shape} without structure")
    check_landmarks(landmarks, image.shape, tracker)
    return Scene(image.shape, _spacing_mm(frame.geometry)), image


def _spacing_mm(geometry: ImageGeometry | None) -> NDArray[np.float64]:
    return np.array(geometry.plane_spacing_mm[:2] if geometry else (1.0, 1.0))


def check_landmarks(landmarks: Sequence[Landmark], shape: tuple[int, ...], tracker: str) -> None:
    """See that landmarks can be followed.

    Args:
        landmarks: as marked.
        shape: (H, W) of the image.
        tracker: name of the tracker, for the message.

    Raises:
        UserError: there is none, or one is repeated, has not two coordinates, is defined on no axis or lies
            outside the image.
    """
    if not landmarks:
        raise UserError(f"the {tracker} tracker needs at least one landmark")
    ids = [landmark.id for landmark in landmarks]
    for landmark in landmarks:
        if ids.count(landmark.id) > 1:
            raise UserError(f"landmark '{landmark.id}' is given more than once")
        if len(landmark.uv_px) != 2:
            raise UserError(f"landmark '{landmark.id}' has {len(landmark.uv_px)} coordinates, not 2")
        if not any(landmark.axes):
            raise UserError(f"landmark '{landmark.id}' is defined on no axis: name at least one")
        column, row = landmark.uv_px
        if not (0 <= column <= shape[1] - 1 and 0 <= row <= shape[0] - 1):
            raise UserError(
                f"landmark '{landmark.id}' at ({column:g}, {row:g}) lies outside the image of "
                f"{shape[1]} × {shape[0]} pixels"
            )

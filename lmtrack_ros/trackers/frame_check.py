"""What is wrong with a frame itself, whatever a tracker makes of it.

Compared are each frame with the one before it and with the one on which the landmarks were marked.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.geometry import ImageGeometry, Mount
from lmtrack_ros.core.records import Estimate, Frame, Reason

_SAMPLES = 4096
"""About how many pixels of a frame stand for all of it."""
_BLANK_SHARE = 0.05
"""A frame is blank where its contrast is at most this share of that at marking."""
_LEAST_FINITE_SHARE = 0.5
"""Or where fewer pixels are finite than this share of those at marking."""
_SATURATED_RISE = 0.5
"""Or where so many more of all pixels than at marking have the greatest value of their type."""
_GEOMETRY_TOLERANCE = 1e-6
"""Geometries that differ less, in mm, are one that was computed twice."""


@dataclass(frozen=True)
class _Look:
    """What a frame looks like.

    Attributes:
        contrast: standard deviation of the grey values that are finite.
        level: their mean.
        finite: their share of all pixels.
        greatest: share of the pixels at the greatest value of an integer type.
    """

    contrast: float = 0.0
    level: float = 0.0
    finite: float = 0.0
    greatest: float = 1.0


_NOTHING_MARKED = _Look()
"""Against it only a frame without any contrast is blank."""


class FrameCheck:
    """Told the frame on which landmarks were marked, says what is wrong with each later one.

    Args:
        frozen_frames: how often in a row the same pixels must come again to count as frozen; 0: never.
    """

    def __init__(self, frozen_frames: int) -> None:
        self._frozen_frames = frozen_frames
        self._marked: Frame | None = None
        self._marked_look = _NOTHING_MARKED
        self._previous: Frame | None = None
        self._repeats = 0

    @property
    def is_marked(self) -> bool:
        """Whether there is a frame to compare with."""
        return self._marked is not None

    def mark(self, frame: Frame) -> None:
        """Compare with this frame from now on.

        Args:
            frame: not empty; (H, W) or (D, H, W).
        """
        self._marked = frame
        self._marked_look = _look(frame.image)

    def check(self, frame: Frame) -> Reason:
        """Return what is wrong with the next frame; zero where it may be tracked.

        Args:
            frame: (H, W) or (D, H, W) uint8, uint16 or float32; an empty one stands for one that could
                not be read.
        """
        faults = self._geometry_faults(frame)
        if frame.image.size == 0:
            self._previous = None
            return faults | Reason.GEOMETRY_CHANGED
        blank = _blank(_look(frame.image), self._marked_look)
        self._count_repeats(frame)
        if blank:
            # blank frames are all alike: that is no sign of a source that repeats itself
            self._repeats = 0
        elif 0 < self._frozen_frames <= self._repeats:
            faults |= Reason.FROZEN_IMAGE
        return faults | blank

    def _geometry_faults(self, frame: Frame) -> Reason:
        faults = Reason(0) if frame.geometry else Reason.GEOMETRY_MISSING
        marked = self._marked
        if marked is not None and (
            (frame.image.shape, frame.image.dtype) != (marked.image.shape, marked.image.dtype)
            or (frame.geometry and not same_geometry(frame.geometry, marked.geometry))
        ):
            faults |= Reason.GEOMETRY_CHANGED
        return faults

    def _count_repeats(self, frame: Frame) -> None:
        previous, self._previous = self._previous, frame
        if previous is None or not _identical(previous.image, frame.image):
            self._repeats = 0
        elif frame.stamp_ns != previous.stamp_ns:
            # of the same stamp it is one message that came twice
            self._repeats += 1


def is_blank(image: NDArray[np.generic]) -> bool:
    """Return whether an image, (H, W) or (D, H, W), has no contrast at all."""
    return image.size == 0 or bool(_blank(_look(image), _NOTHING_MARKED))


def outside_image(estimates: Iterable[Estimate], shape: tuple[int, ...]) -> Reason:
    """Return OUTSIDE_IMAGE where an estimate lies beyond the outermost pixels.

    Args:
        estimates: a pixel that is NaN is not known, and lies nowhere.
        shape: (H, W) or (D, H, W) of the image.
    """
    for estimate in estimates:
        # a pixel reaches half its width to either side of its centre
        for value, size in zip(estimate.uv_px, shape[::-1], strict=False):
            if value < -0.5 or value > size - 0.5:
                return Reason.OUTSIDE_IMAGE
    return Reason(0)


def _sample(image: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return every so manieth pixel along each axis."""
    per_axis = round(_SAMPLES ** (1 / image.ndim))
    steps = [max(1, size // per_axis) for size in image.shape]
    return image[tuple(slice(step // 2, None, step) for step in steps)]


def _look(image: NDArray[np.generic]) -> _Look:
    # in double precision, so that no float32 overflows when it is squared
    sample = _sample(image).astype(np.float64)
    values, greatest = sample, 0.0
    if image.dtype.kind == "f":
        values = sample[np.isfinite(sample)]
    else:
        greatest = np.count_nonzero(sample == np.iinfo(image.dtype.str).max) / sample.size
    if values.size == 0:
        return _Look(greatest=0.0)
    return _Look(float(values.std()), float(values.mean()), values.size / sample.size, greatest)


def _blank(look: _Look, marked: _Look) -> Reason:
    if look.finite < _LEAST_FINITE_SHARE * marked.finite:
        return Reason.BLACK_IMAGE
    if look.greatest - marked.greatest > _SATURATED_RISE:
        return Reason.SATURATED_IMAGE
    if look.contrast <= _BLANK_SHARE * marked.contrast:
        return Reason.BLACK_IMAGE if look.level <= marked.level else Reason.SATURATED_IMAGE
    return Reason(0)


def _identical(one: NDArray[np.generic], other: NDArray[np.generic]) -> bool:
    """Return whether two images are the same, to the bit: NaN equals itself here."""
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    bits = f"u{one.itemsize}"
    one, other = one.view(bits), other.view(bits)
    # nearly always, a few pixels tell
    return np.array_equal(_sample(one), _sample(other)) and np.array_equal(one, other)


def same_geometry(one: ImageGeometry, other: ImageGeometry | None) -> bool:
    """Return whether two are one: of a hand-held imager, whether it is the same imager."""
    if one is other:
        return True
    if other is None or (one.modality, one.mount) != (other.modality, other.mount):
        return False
    pairs = [(np.array(one.spacing_mm), np.array(other.spacing_mm))]
    if one.mount is not Mount.PATIENT:
        pairs.append((one.pose, other.pose))
        pairs.append((np.array((one.sad_mm, one.sid_mm)), np.array((other.sad_mm, other.sid_mm))))
        if (one.projection is None) != (other.projection is None):
            return False
        if one.projection is not None and other.projection is not None:
            pairs.append((one.projection, other.projection))
    return all(np.allclose(a, b, rtol=1e-9, atol=_GEOMETRY_TOLERANCE) for a, b in pairs)

"""A synthetic target of known motion in a real recording: real images with exact ground truth."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.geometry import ImageGeometry
from lmtrack_ros.core.records import NS_PER_S, Estimate, Frame, LandmarkSet, Status
from lmtrack_ros.phantoms.export import Sample
from lmtrack_ros.phantoms.motion import Motion
from lmtrack_ros.phantoms.target_appearance import Appearance, Ellipse, TargetParameters, open_appearance
from lmtrack_ros.sources.source import Source, SourceInfo

TARGET = "target"
"""Name of the landmark and of its mask, which holds the pixels within the ellipsoid."""


def insert(
    source: Source,
    start_px: tuple[float, float],
    target: TargetParameters,
    motion: Motion,
    seed: int = 0,
) -> Iterator[Sample]:
    """Put a target into every frame of a recording, and yield each with its truth.

    On the first frame the target's centre is at ``start_px``; from there it moves as the motion does,
    seen in the image plane (of a projection, the plane through the isocentre). What the plane does not
    see leaves the picture as it is: the target keeps its cross-section.

    Args:
        source: of 2-D frames with known geometry.
        start_px: (column, row) on the first frame.
        target: how it looks.
        motion: its time is that since the first frame.
        seed: of the target's texture and of the noise in it.

    Raises:
        UserError: the recording has no frame or no pixel spacing, is of volumes, its modality takes no
            target, the target would leave the picture or lies where nothing is imaged. What a look at
            the first frame and at the nominal rate can tell is told before the iteration.
    """
    frames = iter(source)
    first = next(frames, None)
    name = source.info.name
    if first is None:
        raise UserError(f"{name} holds no frame")
    if first.geometry is None:
        raise UserError(f"{name}: the pixel spacing is unknown, so the target has no size in it")
    if first.image.ndim != 2:
        raise UserError(f"{name} holds volumes: a target can be put into 2-D images only")
    if not np.isfinite(start_px).all():
        raise UserError(f"the target must start at a pixel, not at {start_px}")
    path = _Path(first, start_px, motion, target)
    path.check(source.info)
    appearance = open_appearance(target, first, path.at(0.0, first.geometry, first.image.shape), seed)
    return (
        _inserted(frame, index, path, appearance, seed) for index, frame in enumerate(chain([first], frames))
    )


class _Path:
    """Where the target is in every frame."""

    def __init__(
        self, first: Frame, start_px: tuple[float, float], motion: Motion, target: TargetParameters
    ) -> None:
        assert first.geometry is not None
        self._first = first
        self._start_mm = first.geometry.position_mm(start_px)
        self._motion = motion
        self._radii_mm = np.array(target.diameters_mm[:2]) / 2

    def check(self, info: SourceInfo) -> None:
        """Raise UserError if the target leaves the picture at the nominal rate, or at once if live."""
        assert self._first.geometry is not None
        for index in range(info.frames or 1):
            self.at(index / info.rate_hz, self._first.geometry, self._first.image.shape)

    def since_start_s(self, frame: Frame) -> float:
        return (frame.stamp_ns - self._first.stamp_ns) / NS_PER_S

    def at(self, time_s: float, geometry: ImageGeometry, shape: tuple[int, ...]) -> Ellipse:
        moved_mm = self._motion.displacement_mm(time_s) - self._motion.displacement_mm(0.0)
        center_px = geometry.pixel(self._start_mm + moved_mm)[:2]
        half_px = self._radii_mm / geometry.plane_spacing_mm[:2]
        if (center_px - half_px < -0.5).any() or (center_px + half_px > np.array(shape[::-1]) - 0.5).any():
            column, row = np.rint(center_px).astype(int).tolist()
            raise UserError(
                f"the target leaves the picture of {shape[1]} x {shape[0]} px after {time_s:.1f} s, "
                f"centred on ({column}, {row}): start it elsewhere, or make it or its motion smaller"
            )
        return Ellipse(center_px, half_px)


def _inserted(frame: Frame, index: int, path: _Path, appearance: Appearance, seed: int) -> Sample:
    geometry = frame.geometry
    if geometry is None:
        raise UserError("a frame carries no geometry, so the target has no size in it")
    ellipse = path.at(path.since_start_s(frame), geometry, frame.image.shape)
    rng = np.random.default_rng((seed, 1, index))
    window = ellipse.window(appearance.reach, frame.image.shape)
    before = frame.image[window].astype(float)
    u, v = ellipse.offsets(*window)
    image = frame.image.copy()
    image[window] = _as_type(appearance(before, u, v, rng), image.dtype, rng)
    mask = np.zeros(image.shape, dtype=bool)
    mask[window] = u**2 + v**2 <= 1.0
    column, row = ellipse.center_px.tolist()
    estimate = Estimate(
        TARGET,
        Status.TRACKED,
        (column, row),
        geometry.position_mm((column, row)),
        geometry.covariance_mm2((0.0, 0.0), (True, True)),
        geometry.observed_axes((True, True)),
        confidence=1.0,
        radius_mm=0.0,
    )
    truth = LandmarkSet(frame.stamp_ns, (estimate,), geometry.frame_id, "ground_truth")
    return Sample(Frame(frame.stamp_ns, image, geometry, frame.received_ns), truth, {TARGET: mask})


def _as_type(grey: Array, dtype: np.dtype[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Return grey values in another type; dithered, so that a faint target has no contour lines."""
    if dtype.kind == "f":
        return grey.astype(dtype)
    limits = np.iinfo(dtype)
    # whole numbers stay as they are
    return np.clip(np.floor(grey + rng.random(grey.shape)), limits.min, limits.max).astype(dtype)

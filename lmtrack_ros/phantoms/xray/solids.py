"""Simple bodies painted on a voxel grid, from which a patient is built."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from lmtrack_ros.core.frames import Array

Volume = NDArray[np.float32]
Box = tuple[slice, slice, slice]

_WHOLE: Box = (slice(None), slice(None), slice(None))


@dataclass(frozen=True)
class Grid:
    """Voxels along the axes of isocenter, as (D, H, W): to the back, to the feet, to the patient's left.

    A patient of another size is the same patient on a grid whose steps are divided by the scale.

    Attributes:
        shape: (D, H, W).
        step_mm: (3,) voxel pitch along x, y, z of isocenter.
        center_mm: (3,) position of the middle of the grid in isocenter.
    """

    shape: tuple[int, int, int]
    step_mm: tuple[float, float, float]
    center_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @classmethod
    def of_extent(
        cls,
        extent_mm: tuple[float, float, float],
        step_mm: float,
        center_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> "Grid":
        """Return the grid of cubic voxels that fills an extent (depth, height, width)."""
        depth, height, width = (round(side / step_mm) for side in extent_mm)
        return cls((depth, height, width), (step_mm, step_mm, step_mm), center_mm)

    def scaled(self, factors: ArrayLike) -> "Grid":
        """Return the grid of the same voxels in a patient who is larger by (3,) factors along x, y, z."""
        step = np.asarray(factors, dtype=float) * self.step_mm
        center = np.asarray(factors, dtype=float) * self.center_mm
        return Grid(self.shape, tuple(step.tolist()), tuple(center.tolist()))

    def axes_mm(self, box: Box = _WHOLE) -> tuple[Volume, Volume, Volume]:
        """Return x (1, 1, W), y (1, H, 1) and z (D, 1, 1) of the voxels in a box, mm."""
        x, y, z = self._axes_mm
        return x[None, None, box[2]], y[None, box[1], None], z[box[0], None, None]

    @cached_property
    def _axes_mm(self) -> tuple[NDArray[np.float32], ...]:
        # of the shape, but not of the axes, z comes first; y and z fall
        steps = np.array(self.step_mm) * (1.0, -1.0, -1.0)
        return tuple(
            (center + (np.arange(count) - (count - 1) / 2) * step).astype(np.float32)
            for center, count, step in zip(self.center_mm, self.shape[::-1], steps, strict=True)
        )

    @cached_property
    def _edge_mm(self) -> np.float32:
        return np.float32(np.mean(self.step_mm))

    def index(self, points_mm: ArrayLike) -> Array:
        """Return the (..., 3) fractional voxel (depth, row, column) of (..., 3) points."""
        offset = (np.asarray(points_mm, dtype=float) - self.center_mm) / self.step_mm
        middle = (np.array(self.shape) - 1) / 2
        return np.asarray(offset[..., ::-1] * (-1.0, -1.0, 1.0) + middle)

    def box(self, low_mm: ArrayLike, high_mm: ArrayLike) -> Box:
        """Return the voxels from one (3,) corner to another, with one voxel around them."""
        corners = self.index(np.array([low_mm, high_mm]))
        first = np.clip(np.floor(corners.min(axis=0)) - 1, 0, self.shape).astype(int)
        last = np.clip(np.ceil(corners.max(axis=0)) + 2, 0, self.shape).astype(int)
        depth, height, width = (slice(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True))
        return depth, height, width

    def filled(self, distance_mm: Volume) -> Volume:
        """Return how much of each voxel lies in a body, from 0 to 1, by the distance to its surface."""
        return np.clip(0.5 - distance_mm / self._edge_mm, 0.0, 1.0)


def add_tube(
    grid: Grid, volume: Volume, points_mm: ArrayLike, radii_mm: ArrayLike, flatness: float = 1.0
) -> None:
    """Fill a tube along a line.

    Args:
        grid: of the volume.
        volume: (D, H, W) share of each voxel that is filled, changed in place.
        points_mm: (N, 3) of the line.
        radii_mm: (N,) or one for all; along z and x.
        flatness: how much larger the radius is along y, as a rib's is.
    """
    points = np.asarray(points_mm, dtype=float)
    radii = np.broadcast_to(np.asarray(radii_mm, dtype=float), len(points))
    squeeze = np.array([1.0, 1.0 / flatness, 1.0], dtype=np.float32)
    for start, end, r0, r1 in zip(points[:-1], points[1:], radii[:-1], radii[1:], strict=True):
        reach = max(r0, r1) * np.array([1.0, flatness, 1.0])
        box = grid.box(np.minimum(start, end) - reach, np.maximum(start, end) + reach)
        if any(side.stop <= side.start for side in box):
            continue
        axes = grid.axes_mm(box)
        along = ((end - start) * squeeze).astype(np.float32)
        offsets = [(axis - np.float32(s)) * q for axis, s, q in zip(axes, start, squeeze, strict=True)]
        length2 = float(along @ along) or 1.0
        u = np.clip(sum(o * a for o, a in zip(offsets, along, strict=True)) / length2, 0.0, 1.0)
        distance2 = sum((o - u * a) ** 2 for o, a in zip(offsets, along, strict=True))
        part = volume[box]
        np.maximum(part, grid.filled(np.sqrt(distance2) - (r0 + (r1 - r0) * u)), out=part)


def ellipsoid(grid: Grid, center_mm: ArrayLike, radii_mm: ArrayLike, box: Box = _WHOLE) -> Volume:
    """Return about how far the voxels in a box are outside an ellipsoid with axes along the grid, mm."""
    center, radii = np.asarray(center_mm, dtype=float), np.asarray(radii_mm, dtype=float)
    offsets = [
        (a - np.float32(c)) / np.float32(r) for a, c, r in zip(grid.axes_mm(box), center, radii, strict=True)
    ]
    distance: Volume = (np.sqrt(offsets[0] ** 2 + offsets[1] ** 2 + offsets[2] ** 2) - 1.0) * np.float32(
        radii.min()
    )
    return distance


def add_ellipsoid(grid: Grid, volume: Volume, center_mm: ArrayLike, radii_mm: ArrayLike) -> None:
    """Fill an ellipsoid with axes along the grid; arguments as in :func:`add_tube` and :func:`ellipsoid`."""
    center, radii = np.asarray(center_mm, dtype=float), np.asarray(radii_mm, dtype=float)
    box = grid.box(center - radii, center + radii)
    part = volume[box]
    np.maximum(part, grid.filled(ellipsoid(grid, center, radii, box)), out=part)


def curve(knots: Sequence[Sequence[float]], count: int) -> Array:
    """Return (count, 3) points of a smooth line through knots."""
    knots_mm = np.array(knots, dtype=float)
    u = np.linspace(0.0, 1.0, len(knots_mm))
    return np.asarray(CubicSpline(u, knots_mm)(np.linspace(0.0, 1.0, count)))

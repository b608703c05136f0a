"""A stack of slices through the anatomy: where its points are, how it is painted and sampled."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import BSpline, make_interp_spline

from lmtrack_ros.core.frames import Array

_Image = NDArray[np.float32]
_Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class SliceGrid:
    """Regular points of parallel planes in the coordinates of a body.

    Attributes:
        centre_mm: (3,) the middle of the stack.
        axes: (3, 3) where columns, rows and planes point, as columns; each along an axis.
        shape: (planes, rows, columns).
        spacing_mm: of rows and columns.
        plane_spacing_mm: between planes.
    """

    centre_mm: Array
    axes: Array
    shape: tuple[int, int, int]
    spacing_mm: float
    plane_spacing_mm: float

    def indices(self, points_mm: Array) -> Array:
        """Return (..., 3) where points lie: column, row and plane."""
        found: Array = (points_mm - self.centre_mm) @ self.axes / self._pitch_mm + self._middle
        return found

    def coordinates(self, box: _Box) -> tuple[Array, Array, Array]:
        """Return x, y and z of the points in a box, mm, shaped to broadcast to (planes, rows, columns)."""
        at = []
        for stack_axis, values in self._lines:
            shape = [1, 1, 1]
            shape[stack_axis] = -1
            at.append(values[box[stack_axis]].reshape(shape))
        return at[0], at[1], at[2]

    def box(self, low_mm: Array, high_mm: Array) -> _Box | None:
        """Return the indices of the points between two corners, None where there are none."""
        corners = self.indices(np.stack([low_mm, high_mm]))[:, ::-1]
        first = np.maximum(np.ceil(corners.min(axis=0)), 0).astype(int)
        last = np.minimum(np.floor(corners.max(axis=0)), np.array(self.shape) - 1).astype(int)
        if (first > last).any():
            return None
        planes, rows, columns = (slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True))
        return planes, rows, columns

    def coverage(self, outside_mm: Array) -> _Image:
        """Return how much of a point lies in what ends this far inside (negative) or outside of it."""
        return np.asarray(np.clip(0.5 - outside_mm / self.spacing_mm, 0.0, 1.0), dtype=np.float32)

    @cached_property
    def _lines(self) -> tuple[tuple[int, Array], ...]:
        """Along which axis of the stack x, y and z change, and their values."""
        lines = []
        for body_axis in range(3):
            image_axis = int(np.argmax(np.abs(self.axes[body_axis])))
            steps = np.arange(self.shape[2 - image_axis]) - self._middle[image_axis]
            pitch_mm = self._pitch_mm[image_axis] * self.axes[body_axis, image_axis]
            # half the memory traffic of a double, and micrometres are enough
            values = (self.centre_mm[body_axis] + steps * pitch_mm).astype(np.float32)
            lines.append((2 - image_axis, values))
        return tuple(lines)

    @cached_property
    def _pitch_mm(self) -> Array:
        return np.array([self.spacing_mm, self.spacing_mm, self.plane_spacing_mm])

    @cached_property
    def _middle(self) -> Array:
        return (np.array(self.shape[::-1]) - 1) / 2


class Canvas:
    """One plane of a grid, painted over and over.

    Args:
        grid: of the stack.
        plane: its number.
        ground: (rows, columns) signal to paint on.

    Attributes:
        signal: (rows, columns) what is painted.
    """

    def __init__(self, grid: SliceGrid, plane: int, ground: _Image) -> None:
        self._grid = grid
        self._plane = plane
        self._through = grid.axes[:, 2]
        steps = plane - (grid.shape[0] - 1) / 2
        self._through_mm = float(self._through @ grid.centre_mm) + steps * grid.plane_spacing_mm
        self.signal = ground.astype(np.float32)

    def fill(self, outside_mm: Array, value: ArrayLike) -> _Image:
        """Paint what ends (rows, columns) this far inside; return how much of each point it covers."""
        share = self._grid.coverage(outside_mm)
        self.signal += share * (np.asarray(value, dtype=np.float32) - self.signal)
        return share

    def ellipsoid(self, middle_mm: Array, half_axes_mm: ArrayLike, value: ArrayLike) -> None:
        """Paint an ellipsoid with (3,) half axes along the body's with a (rows, columns) value or one."""
        half_mm = np.asarray(half_axes_mm, dtype=float)
        if abs(self._through @ middle_mm - self._through_mm) > abs(self._through @ half_mm):
            return
        box = self._grid.box(middle_mm - half_mm, middle_mm + half_mm)
        if box is None:
            return
        at = (slice(self._plane, self._plane + 1), box[1], box[2])
        x, y, z = (
            (c[0] - m) / a for c, m, a in zip(self._grid.coordinates(at), middle_mm, half_mm, strict=True)
        )
        share = self._grid.coverage((np.sqrt(x**2 + y**2 + z**2) - 1.0) * half_mm.min())
        here = np.broadcast_to(np.asarray(value, dtype=np.float32), self.signal.shape)[box[1:]]
        self.signal[box[1:]] += share * (here - self.signal[box[1:]])


class CubicSpline:
    """Cubic interpolation of columns of values, to the same bit however many threads a BLAS may take.

    Args:
        places: (h,) where the values are.
        size: how many are wanted, at 0, 1, 2 ...
    """

    def __init__(self, places: Array, size: int) -> None:
        unit = make_interp_spline(places, np.eye(len(places)), k=3)
        self._coefficients = np.asarray(unit.c, dtype=np.float32)
        self._basis = BSpline.design_matrix(np.arange(float(size)), unit.t, 3).astype(np.float32)

    def of(self, values: _Image) -> _Image:
        """Return the (size, N) values between (h, N) values."""
        return np.asarray(self._basis @ np.einsum("ij,jk->ik", self._coefficients, values))


def sampled(stack: _Image, column: _Image, row: _Image, plane: _Image) -> _Image:
    """Return a stack's values between its points, linearly; beyond its ends those at the ends.

    Args:
        stack: (planes, rows, columns, 2).
        column: (H, W) column of each value in the stack.
        row: (H, W) its row.
        plane: (H, W) its plane.

    Returns:
        (H, W, 2).
    """
    plane = np.clip(plane, 0.0, len(stack) - 1.0)
    found = np.zeros((*plane.shape, stack.shape[-1]), np.float32)
    for k in range(int(np.floor(plane.min())), int(np.ceil(plane.max())) + 1):
        share = np.maximum(1.0 - np.abs(plane - k), 0.0)
        values: _Image = np.asarray(
            cv2.remap(stack[k], column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE),
            dtype=np.float32,
        )
        values *= share[..., None]
        found += values
    return found

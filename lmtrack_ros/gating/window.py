"""The gating window: a convex region about the planned position, as half-spaces."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.parameters import parameter

BOX, ELLIPSOID, CONVEX = "box", "ellipsoid", "convex"
# corners of the polygon and the polyhedron that stand for an ellipse and an ellipsoid, from inside:
# the true surface lies less than 1 % of the largest half axis beyond them
_ELLIPSE_CORNERS = 120
_ELLIPSOID_CORNERS = 800


@dataclass(frozen=True)
class WindowParameters:
    """Where the target may be while the beam is on, about its planned position along isocenter x, y, z."""

    window_shape: str = parameter(
        BOX,
        "shape of the gating window; an ellipsoid may have another half axis on either side",
        choices=(BOX, ELLIPSOID, CONVEX),
    )
    window_lower_mm: tuple[float, ...] = parameter(
        (0.0, 0.0, 0.0),
        "lower bounds of a box, or ends of an ellipsoid's axes, about each reference along isocenter axes; "
        "three values, or three for each landmark, mm",
    )
    window_upper_mm: tuple[float, ...] = parameter((0.0, 0.0, 0.0), "its upper bounds, likewise, mm")
    window_corners_mm: tuple[float, ...] = parameter(
        (), "x, y, z of each corner of a convex window, about each reference, mm"
    )
    window_axes: tuple[bool, ...] = parameter(
        (True, True, True), "which axes of isocenter the window constrains; the image must see all of these"
    )

    def __post_init__(self) -> None:
        if len(self.window_axes) != 3:
            raise ValueError("window_axes needs one value for each of x, y and z")
        if not any(self.window_axes):
            raise ValueError("window_axes must constrain at least one axis")
        if self.window_shape == CONVEX:
            if not self.window_corners_mm or len(self.window_corners_mm) % 3:
                raise ValueError("window_corners_mm needs x, y and z of each corner")
        elif self.window_corners_mm:
            raise ValueError(
                f"window_corners_mm is for a convex window, not for a window_shape {self.window_shape}"
            )
        lower, upper = self.window_lower_mm, self.window_upper_mm
        if len(lower) != len(upper) or len(lower) % 3 or not lower:
            raise ValueError("window_lower_mm and window_upper_mm need one value for each of x, y and z")
        if not (np.isfinite([lower, upper]).all() and (np.array(lower) <= np.array(upper)).all()):
            raise ValueError("the window's bounds must be finite, and no lower one above its upper one")
        self.windows()

    def windows(self) -> tuple["Window", ...]:
        """Return the windows: one for all landmarks, or one for each."""
        axes = np.array(self.window_axes)
        if self.window_shape == CONVEX:
            return (Window.of_corners(np.array(self.window_corners_mm).reshape(-1, 3), axes),)
        bounds = zip(
            np.array(self.window_lower_mm).reshape(-1, 3),
            np.array(self.window_upper_mm).reshape(-1, 3),
            strict=True,
        )
        make = Window.box if self.window_shape == BOX else Window.ellipsoid
        return tuple(make(lower, upper, axes) for lower, upper in bounds)


class Window:
    """The displacements d, mm, that fulfil ``normals @ d <= offsets``; unbounded along a free axis.

    Args:
        normals: (F, 3) outward unit vectors, zero along free axes.
        offsets_mm: (F,) distances of the faces from the planned position.
    """

    def __init__(self, normals: Array, offsets_mm: Array) -> None:
        self._normals = normals
        self._offsets_mm = offsets_mm

    @classmethod
    def box(cls, lower_mm: Array, upper_mm: Array, axes: Array) -> "Window":
        """Return a box from its (3,) bounds; ``axes`` are the (3,) constrained ones."""
        faces = np.eye(3)[axes]
        return cls(np.concatenate([faces, -faces]), np.concatenate([upper_mm[axes], -lower_mm[axes]]))

    @classmethod
    def ellipsoid(cls, lower_mm: Array, upper_mm: Array, axes: Array) -> "Window":
        """Return an ellipsoid with half axes of its own towards each (3,) end, seen from inside.

        Raises:
            ValueError: the planned position does not lie within.
        """
        if not ((lower_mm < 0) & (upper_mm > 0))[axes].all():
            raise ValueError("an ellipsoid needs lower bounds below and upper bounds above zero")
        dimensions = int(axes.sum())
        if dimensions == 1:
            return cls.box(lower_mm, upper_mm, axes)
        directions = _directions(dimensions)
        corners = np.zeros((len(directions), 3))
        corners[:, axes] = directions * np.where(directions > 0, upper_mm[axes], -lower_mm[axes])
        return cls.of_corners(corners, axes)

    @classmethod
    def of_corners(cls, corners_mm: Array, axes: Array) -> "Window":
        """Return the convex hull of (K, 3) corners.

        Raises:
            ValueError: they span no volume along the constrained axes, or are not finite.
        """
        if not np.isfinite(corners_mm).all():
            raise ValueError("the window's corners must be finite")
        corners = corners_mm[:, axes]
        if corners.shape[1] == 1:
            return cls.box(corners_mm.min(axis=0), corners_mm.max(axis=0), axes)
        try:
            equations = ConvexHull(corners).equations  # (F, dimensions + 1): unit normal and -offset
        except QhullError as error:
            raise ValueError("the window's corners span no region along the constrained axes") from error
        # a face of many corners comes as many triangles
        equations = np.unique(np.round(equations, 9), axis=0)
        normals = np.zeros((len(equations), 3))
        normals[:, axes] = equations[:, :-1]
        return cls(normals, -equations[:, -1])

    def margin_mm(self, displacement_mm: Array) -> float:
        """Return the distance of a (3,) displacement from the nearest face, negative outside.

        A sphere of radius r about it lies inside exactly when the margin is at least r.
        """
        return float((self._offsets_mm - self._normals @ displacement_mm).min())

    def margins_mm(self, displacements_mm: Array) -> Array:
        """Return the margin of each of (K, 3) displacements, (K,)."""
        margins: Array = (self._offsets_mm - displacements_mm @ self._normals.T).min(axis=1)
        return margins


def _directions(dimensions: int) -> Array:
    """Return (K, dimensions) unit vectors spread over the circle or the sphere, the axes among them."""
    if dimensions == 2:
        angle = 2 * np.pi * np.arange(_ELLIPSE_CORNERS) / _ELLIPSE_CORNERS
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)
    # Fibonacci sphere
    index = np.arange(_ELLIPSOID_CORNERS) + 0.5
    z = 1 - 2 * index / _ELLIPSOID_CORNERS
    angle = np.pi * (1 + np.sqrt(5)) * index
    spread = np.stack([np.sqrt(1 - z**2) * np.cos(angle), np.sqrt(1 - z**2) * np.sin(angle), z], axis=1)
    return np.concatenate([spread, np.eye(3), -np.eye(3)])

"""Vessels as tubes: trees that branch, and how much of them lies in each point of a grid."""

from collections.abc import Iterator, Sequence
from itertools import compress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.frames import Array
from lmtrack_ros.phantoms.mr.grid import SliceGrid

_WIGGLE = 0.14  # how much the direction changes along a branch
_SPREAD = (0.25, 0.6)  # tangent of half the angle between two branches
_DAUGHTER_RADIUS = 0.77  # Murray's law for two equal daughters is 0.79
_DAUGHTER_LENGTH = 0.78
_PIECES = 3


class Tube(NamedTuple):
    """A straight piece of a vessel.

    Attributes:
        start_mm, end_mm: (3,) ends of its axis.
        start_radius_mm, end_radius_mm: of the lumen there.
    """

    start_mm: Array
    end_mm: Array
    start_radius_mm: float
    end_radius_mm: float


def tree(
    rng: np.random.Generator,
    start_mm: Array,
    direction: Array,
    length_mm: float,
    radius_mm: float,
    generations: int,
) -> Iterator[Tube]:
    """Yield a vessel that winds and halves at each generation.

    Args:
        rng: chance.
        start_mm: (3,) where it begins.
        direction: (3,) where it goes, of any length.
        length_mm: of the first branch.
        radius_mm: of the first branch.
        generations: how many branches follow each other.
    """
    heading = direction / np.linalg.norm(direction)
    here = start_mm
    narrowing = _DAUGHTER_RADIUS ** (1 / _PIECES)
    for _ in range(_PIECES):
        heading = heading + _WIGGLE * rng.standard_normal(3)
        heading = heading / np.linalg.norm(heading)
        there = here + heading * length_mm / _PIECES
        yield Tube(here, there, radius_mm, radius_mm * narrowing)
        here, radius_mm = there, radius_mm * narrowing
    if generations > 1:
        aside = np.cross(heading, rng.standard_normal(3))
        aside = aside / np.linalg.norm(aside)
        for side in (1, -1):
            turned = heading + side * rng.uniform(*_SPREAD) * aside
            longer = length_mm * _DAUGHTER_LENGTH * rng.uniform(0.8, 1.2)
            yield from tree(rng, here, turned, longer, radius_mm, generations - 1)


def inside(points_mm: tuple[Array, Array, Array], tube: Tube) -> NDArray[np.bool_]:
    """Return which points, given as x, y and z of one shape, lie in a tube."""
    distance, radius = _distance_mm(*points_mm, tube)
    return np.asarray(distance < radius)


def drawn(grid: SliceGrid, tubes: Sequence[Tube]) -> NDArray[np.float32]:
    """Return how much of each point of a grid the tubes fill, (planes, rows, columns), from 0 to 1."""
    filled = np.zeros(grid.shape, np.float32)
    for tube in _near(grid, tubes):
        radius_mm = max(tube.start_radius_mm, tube.end_radius_mm) + grid.spacing_mm
        ends = np.stack([tube.start_mm, tube.end_mm])
        box = grid.box(ends.min(axis=0) - radius_mm, ends.max(axis=0) + radius_mm)
        if box is None:
            continue
        distance, radius = _distance_mm(*grid.coordinates(box), tube)
        np.maximum(filled[box], grid.coverage(distance - radius), out=filled[box])
    return filled


def _near(grid: SliceGrid, tubes: Sequence[Tube]) -> Iterator[Tube]:
    """Yield the tubes that may reach one of the planes."""
    ends = np.array([(tube.start_mm, tube.end_mm) for tube in tubes])
    reach = max(max(tube.start_radius_mm, tube.end_radius_mm) for tube in tubes) / grid.plane_spacing_mm + 1
    planes = grid.indices(ends)[..., 2]
    near = (planes.max(axis=1) > -reach) & (planes.min(axis=1) < grid.shape[0] - 1 + reach)
    return compress(tubes, near)


def _distance_mm(x: Array, y: Array, z: Array, tube: Tube) -> tuple[Array, Array]:
    """Return the distance of points to the axis of a tube, and the radius at the nearest place of it."""
    along = tube.end_mm - tube.start_mm
    dx, dy, dz = x - tube.start_mm[0], y - tube.start_mm[1], z - tube.start_mm[2]
    place = np.clip((dx * along[0] + dy * along[1] + dz * along[2]) / (along @ along), 0.0, 1.0)
    squared = (dx - place * along[0]) ** 2 + (dy - place * along[1]) ** 2 + (dz - place * along[2]) ** 2
    radius = tube.start_radius_mm + place * (tube.end_radius_mm - tube.start_radius_mm)
    return np.sqrt(squared), radius

"""Where the vessels of liver and lungs run, in the coordinates of the body that ``mr/wall.py`` describes."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.phantoms.mr.vessels import Tube, tree

_HALF_LENGTH_MM = 30.0  # of a landmark's vessel, across the slice
_NEIGHBOURS = 6


def liver_vessels(rng: np.random.Generator, depth: float) -> list[Tube]:
    """Return the hepatic veins, the caval vein that they meet in, and the portal branches.

    Args:
        rng: chance of the patient.
        depth: of the body from back to front, of the usual.
    """
    caval = np.array([-24.0, -24.0, -14.0 * depth])
    hilum = np.array([-30.0, -82.0, 2.0])
    below, above = np.array([0.0, -160.0, -16.0]), np.array([10.0, 36.0, 10.0])
    tubes = [Tube(caval + below, caval, 10.0, 11.0), Tube(caval, caval + above, 11.0, 12.0)]
    for direction in ((-1.0, -0.35, -0.3), (-0.75, -0.6, 0.55), (0.2, -0.6, 0.8), (-1.0, -0.1, 0.1)):
        tubes += tree(rng, caval, np.array(direction), 44.0, 5.2, 5)
    for direction in ((-1.0, 0.25, 0.5), (-1.0, 0.1, -0.5), (-0.9, -0.4, 0.0), (0.7, 0.5, 0.6)):
        tubes += tree(rng, hilum, np.array(direction), 38.0, 5.4, 5)
    return tubes


def lung_vessels(rng: np.random.Generator, depth: float) -> list[Tube]:
    """Return the vessels of both lungs from their hila, and the great vessels between the lungs."""
    tubes = _great_vessels(depth)
    for side in (-1, 1):
        hilum = np.array([side * 51.0, 70.0, -8.0 * depth])
        outwards = np.array([side * 0.5, 0.0, 0.0])
        slant = np.array([side * 12.0, -14.0, -4.0])
        tubes.append(Tube(hilum - slant, hilum + slant, 9.0, 6.5))
        for _ in range(34):
            direction = rng.standard_normal(3) * [0.35, 1.0, 0.9] + outwards
            start = hilum + rng.uniform(-1.0, 1.0, 3) * [14.0, 14.0, 9.0]
            tubes += tree(rng, start, direction, rng.uniform(26.0, 46.0), rng.uniform(1.5, 3.5), 4)
        # the vessels of the lower lobe run down to the diaphragm
        for forward in (-0.6, -0.3, 0.0, 0.35):
            tubes += tree(rng, hilum + slant, np.array([side * 0.25, -1.0, forward]), 40.0, 4.0, 5)
    return tubes


def airways() -> list[Tube]:
    """Return the windpipe and the two main bronchi."""
    fork, above = np.array([0.0, 92.0, -16.0]), np.array([0.0, 110.0, 8.0])
    to_right, to_left = np.array([-38.0, -24.0, 2.0]), np.array([42.0, -26.0, 2.0])
    return [
        Tube(fork + above, fork, 8.0, 8.0),
        Tube(fork, fork + to_right, 6.5, 5.0),
        Tube(fork, fork + to_left, 6.0, 5.0),
    ]


def crossing(rng: np.random.Generator, at_mm: Array, through: Array, radius_mm: float) -> list[Tube]:
    """Return a vessel that runs straight through a slice, wider here and narrower there."""
    places = np.linspace(-_HALF_LENGTH_MM, _HALF_LENGTH_MM, 11)
    radii = radius_mm * (1 + 0.3 * np.sin(places / 9.0 + rng.uniform(0, 2 * np.pi)))
    return [
        Tube(at_mm + through * a, at_mm + through * b, ra, rb)
        for a, b, ra, rb in zip(places[:-1], places[1:], radii[:-1], radii[1:], strict=True)
    ]


def look_alikes(rng: np.random.Generator, landmarks_mm: Mapping[str, Array], through: Array) -> list[Tube]:
    """Return vessels like the landmarks' and near them, which cross the slice aslant and end."""
    in_plane = np.eye(3)[np.abs(through) < 0.5]
    tubes = []
    for at_mm in landmarks_mm.values():
        turns = (np.arange(_NEIGHBOURS) + rng.uniform(-0.3, 0.3, _NEIGHBOURS)) / _NEIGHBOURS + rng.uniform()
        for angle in 2 * np.pi * turns:
            aside = rng.uniform(14.0, 34.0) * np.array([np.cos(angle), np.sin(angle)]) @ in_plane
            along = through + rng.uniform(-0.7, 0.7, 2) @ in_plane
            before, behind = rng.uniform(8.0, 26.0, 2)
            radius_mm = rng.uniform(1.7, 4.2)
            middle = at_mm + aside
            tubes.append(Tube(middle - before * along, middle + behind * along, radius_mm, 0.7 * radius_mm))
    return tubes


def _great_vessels(depth: float) -> list[Tube]:
    """Return aorta, upper caval vein and pulmonary arteries."""
    scale = np.array([1.0, 1.0, depth])
    aorta = [
        (8, 40, 14),
        (-4, 80, 20),
        (2, 104, 8),
        (16, 108, -14),
        (22, 92, -36),
        (16, 20, -46),
        (8, -90, -44),
    ]
    caval = [(-24, 34, 6), (-26, 90, 8), (-20, 150, -6)]
    pulmonary = [(24, 48, 26), (18, 76, 8), (40, 80, -6)]
    to_right = [(18, 74, 4), (-20, 72, -8), (-46, 68, -8)]
    paths = ((aorta, 11.5), (caval, 8.0), (pulmonary, 10.5), (to_right, 8.5))
    return [
        Tube(np.array(a) * scale, np.array(b) * scale, radius_mm, radius_mm)
        for path, radius_mm in paths
        for a, b in pairwise(path)
    ]

"""Vessels and airways of the simulated lungs."""

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.phantoms.xray.skeleton import Cage
from lmtrack_ros.phantoms.xray.solids import Grid, Volume, add_tube, curve

_SIDES = (-1.0, 1.0)  # the patient's right, left


def grow_vessels(
    grid: Grid, vessels: Volume, outside_mm: Volume, hilum_mm: Array, rng: np.random.Generator
) -> None:
    """Grow arteries and veins from a hilum into its lung, radii by Murray's law."""
    side = float(np.sign(hilum_mm[0]))
    aims = [(0.55, 0.8, 0.2), (0.75, 0.5, -0.3), (0.9, 0.1, 0.45), (0.9, -0.1, -0.4), (0.6, -0.75, 0.3)]
    aims += [(0.55, -0.8, -0.35), (0.35, -0.9, -0.1), (0.3, 0.9, -0.2), (0.8, -0.45, 0.0)]
    growing = []
    for aim in aims:
        direction = np.array([side * aim[0], aim[1], aim[2]]) + rng.normal(0.0, 0.12, 3)
        for _ in range(2):
            start = hilum_mm + rng.normal(0.0, 5.0, 3) + (0.0, 6.0 * aim[1], 0.0)
            growing.append((start, direction / np.linalg.norm(direction), rng.uniform(3.0, 5.2), 22.0))
    shape = np.array(grid.shape)
    while growing:
        start, direction, radius, grace_mm = growing.pop()
        length = radius * rng.uniform(3.6, 7.0) + 5.0
        bent = direction + rng.normal(0.0, 0.16, 3)
        bent /= np.linalg.norm(bent)
        end = start + length * bent
        at = np.round(grid.index(end)).astype(int)
        if (at < 0).any() or (at >= shape).any() or outside_mm[tuple(at)] > grace_mm - 3.0:
            continue
        share = rng.uniform(0.25, 0.6)
        radii = radius * share ** (1 / 2.9), radius * (1 - share) ** (1 / 2.9)
        add_tube(grid, vessels, np.stack([start, end]), (radius, max(radii)))
        plane = np.cross(bent, rng.standard_normal(3))
        plane /= np.linalg.norm(plane)
        for child, turn in zip(radii, (1.0, -1.0), strict=True):
            if child > 0.8:
                angle = turn * np.radians(rng.uniform(18.0, 42.0)) * (radius / (child + radius)) * 1.4
                turned = np.cos(angle) * bent + np.sin(angle) * plane
                growing.append((end, turned, child, max(grace_mm - length, 0.0)))


def airways(grid: Grid, gas: Volume, cage: Cage, hila: dict[float, Array]) -> Array:
    """Fill trachea and main bronchi with air; return the (3,) bifurcation."""
    top = cage.apex_mm
    carina = np.array([3.0, top - 78.0, -22.0])
    trachea = curve([(0, top + 130, 16), (0, top + 40, 8), (1, top - 20, -8), tuple(carina)], 20)
    add_tube(grid, gas, trachea, 8.2)
    for side in _SIDES:
        end = hila[side] + (side * 6.0, -4.0, 0.0)
        add_tube(
            grid,
            gas,
            curve([tuple(carina), tuple((carina + hila[side]) / 2 + (0, 2, 0)), tuple(end)], 10),
            np.linspace(7.0, 4.5, 10),
        )
        for aim in ((0.7, 0.6, 0.1), (0.6, -0.75, -0.2)):
            add_tube(
                grid, gas, np.stack([end, end + 26.0 * np.array([side * aim[0], aim[1], aim[2]])]), (4.0, 2.2)
            )
    return carina

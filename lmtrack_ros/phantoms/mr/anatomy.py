"""Chest and upper abdomen in three dimensions, analytic, as the signal that each tissue gives.

Coordinates are those of the body that ``mr/wall.py`` describes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from lmtrack_ros.core.frames import Array
from lmtrack_ros.phantoms.mr.grid import Canvas, SliceGrid
from lmtrack_ros.phantoms.mr.vasculature import airways, crossing, liver_vessels, look_alikes, lung_vessels
from lmtrack_ros.phantoms.mr.vessels import Tube, drawn
from lmtrack_ros.phantoms.mr.wall import Habitus, Tissue, Wall

_Image = NDArray[np.float32]

HEART_MM = (34.0, 32.0, 24.0)
"""Middle of the heart."""

_TEXTURE_MM = 2.4
_BOWEL_LOOPS = 200
_LANDMARK_SPREAD_MM = 7.0


@dataclass(frozen=True)
class Build:
    """Within what a patient is built, and what of it the slice shows.

    Attributes:
        habitus: of the body.
        isocenter_mm: (3,) the isocentre in the body.
        landmarks_mm: (3,) where, in isocenter, each vessel that is a landmark crosses the slice, about.
        dome_mm: (2,) where, to the left and to the front in isocenter, the landmark on the diaphragm is,
            about.
        landmark_radius_mm: radius of each vessel.
    """

    habitus: Habitus
    isocenter_mm: tuple[float, float, float]
    landmarks_mm: Mapping[str, tuple[float, float, float]]
    dome_mm: tuple[float, float]
    landmark_radius_mm: tuple[float, float] = (2.2, 3.6)


class Layers(NamedTuple):
    """The anatomy on a grid: what breathes, and the wall around it that slides along it.

    Attributes:
        organs: (planes, rows, columns, 2) signal, and the part of it that is flowing blood.
        wall: (planes, rows, columns, 2) signal where there is wall, and how much of a point is wall.
    """

    organs: _Image
    wall: _Image


class Anatomy:
    """One patient.

    Args:
        rng: chance of the patient.
        build: within what it is drawn.
        through: (3,) unit vector across the slice, along which the landmarks' vessels run.

    Attributes:
        wall: of chest and belly.
        landmarks_mm: (3,) where each landmark is at mean breath.
        landmark_tubes: the vessel of each that is on one.
    """

    def __init__(self, rng: np.random.Generator, build: Build, through: Array) -> None:
        self.wall = Wall(rng, build.habitus)
        depth = self.wall.depth
        self._texture_seed, self._vessel_seed = (int(s) for s in rng.integers(2**31, size=2))
        self._dome_steepness = rng.uniform(40.0, 52.0)
        self._liver_bottom_mm = rng.uniform(-132.0, -116.0)
        self._kidney_mm = np.array([72.0, -166.0, -48.0 * depth]) + rng.uniform(-6, 6, 3)
        loops = rng.uniform([-110, -260, -55], [110, -60, 75], (_BOWEL_LOOPS, 3)) * [1, 1, depth]
        self._loops = np.hstack([loops, rng.uniform(8.0, 26.0, (_BOWEL_LOOPS, 3))])
        self._loop_brightness = rng.uniform(0.2, 1.5, _BOWEL_LOOPS)
        spread_mm = _LANDMARK_SPREAD_MM * (np.abs(through) < 0.5)
        vessels_mm: dict[str, Array] = {
            name: build.isocenter_mm + np.array(at) + rng.uniform(-1, 1, 3) * spread_mm
            for name, at in build.landmarks_mm.items()
        }
        left_mm, front_mm = build.dome_mm
        dome = build.isocenter_mm + np.array([left_mm, 0.0, front_mm]) + rng.uniform(-1, 1, 3) * spread_mm
        dome[1] = self._dome_mm(dome[0], dome[2])
        self.landmarks_mm: Mapping[str, Array] = {**vessels_mm, "dome": dome}
        self.landmark_tubes: Mapping[str, Sequence[Tube]] = {
            name: crossing(rng, at, through, rng.uniform(*build.landmark_radius_mm))
            for name, at in vessels_mm.items()
        }
        self._look_alikes = look_alikes(rng, vessels_mm, through)

    def layers(self, grid: SliceGrid, tissue: Tissue) -> Layers:
        """Return the signal on a grid."""
        texture = self._textures(grid)
        rng = np.random.default_rng(self._vessel_seed)
        groups = (
            liver_vessels(rng, self.wall.depth) + self._look_alikes,
            lung_vessels(rng, self.wall.depth),
            [tube for tubes in self.landmark_tubes.values() for tube in tubes],
            airways(),
        )
        tubes = [drawn(grid, group) for group in groups]
        organs = np.empty((*grid.shape, 2), np.float32)
        wall = np.empty((*grid.shape, 2), np.float32)
        for k in range(grid.shape[0]):
            x, y, z = (c[0] for c in grid.coordinates((slice(k, k + 1), slice(None), slice(None))))
            signal, flow = self._organs(
                Canvas(grid, k, tissue.lung * (1 + 0.25 * texture[0, k])),
                (x, y, z),
                tissue,
                texture[:, k],
                [group[k] for group in tubes],
            )
            organs[k] = np.stack([signal, flow], axis=-1)
            wall[k] = np.stack(self.wall.painted(grid, (x, y, z), tissue, texture[:, k]), axis=-1)
        return Layers(organs, wall)

    def liver_mm(self, x: Array, y: Array, z: Array) -> Array:
        """Return how far outside of the liver points are, about, mm; negative inside."""
        below_mm = 0.8 * (y - self._dome_mm(x, z))
        left_mm, right_mm = np.maximum(x + 70.0, 0.0), np.maximum(-95.0 - x, 0.0)
        bottom_mm = self._liver_bottom_mm - 0.18 * z
        bottom_mm = bottom_mm + 0.2 * left_mm + 0.0026 * left_mm**2 + 0.03 * right_mm**2
        bottom_mm = bottom_mm + 34.0 * np.clip((-z / self.wall.depth - 38.0) / 36.0, 0.0, 1.0) ** 2
        outside: Array = np.maximum(np.maximum(below_mm, 0.85 * (bottom_mm - y)), x - 62.0)
        return outside

    def _organs(
        self,
        plane: Canvas,
        points: tuple[Array, Array, Array],
        tissue: Tissue,
        texture: _Image,
        tubes: Sequence[_Image],
    ) -> tuple[_Image, _Image]:
        """Return one plane's (rows, columns) signal of the organs and the part that is flowing blood."""
        x, y, z = points
        fine, coarse = texture
        in_liver, in_lung, marked, airway = tubes
        deep = np.array([1.0, 1.0, self.wall.depth])
        fat = tissue.fat * (0.55 + 0.1 * coarse)
        plane.ellipsoid(np.array([2, 60, -8]) * deep, np.array([27, 150, 58]) * deep, fat)
        plane.ellipsoid(np.array(HEART_MM) * deep, np.array([56, 46, 46]) * deep, 1.3 * tissue.muscle)
        chamber = 0.8 * tissue.blood * (1 + 0.05 * fine)
        plane.ellipsoid(np.array([46, 28, 26]) * deep, np.array([33, 29, 29]) * deep, chamber)
        plane.ellipsoid(np.array([0, 40, 20]) * deep, np.array([19, 28, 25]) * deep, chamber)
        plane.signal *= 1 - airway
        dome_mm = y - self._dome_mm(x, z)
        # bowel and the fat between share the points
        share = np.clip(0.4 + 0.4 * fine + 0.3 * coarse, 0.0, 1.0)
        abdomen = plane.fill(dome_mm, tissue.bowel * (1 - share) + tissue.fat * share)
        for loop, brightness in zip(self._loops, self._loop_brightness, strict=True):
            plane.ellipsoid(loop[:3], loop[3:], 0.2 * tissue.muscle)
            plane.ellipsoid(loop[:3], loop[3:] - 1.3, tissue.bowel * brightness)
        plane.ellipsoid(np.array([52, -50, 12]) * deep, np.array([44, 36, 42]) * deep, 0.5 * tissue.muscle)
        plane.ellipsoid(
            np.array([52, -52, 10]) * deep, np.array([40, 32, 38]) * deep, tissue.bowel * (0.8 + 0.3 * coarse)
        )
        spleen = tissue.spleen * (1 + 0.08 * fine)
        plane.ellipsoid(np.array([98, -58, -38]) * deep, (30, 50, 32), spleen)
        pelvis = tissue.medulla * (1 + 0.5 * fine - 0.4 * np.clip(2 * coarse, 0.0, 1.0))
        for side, lower_mm in ((-1, 0.0), (1, 14.0)):
            middle = self._kidney_mm * [side, 1, 1] + np.array([0.0, lower_mm, 0.0])
            plane.ellipsoid(middle - np.array([0, 3, 9]), (40, 66, 36), 0.75 * tissue.fat)
            plane.ellipsoid(middle, (27, 51, 22), tissue.kidney * (1 + 0.1 * fine))
            plane.ellipsoid(middle - np.array([side * 4, 0, -3]), (17, 36, 12), pelvis)
        liver = plane.fill(self.liver_mm(x, y, z), tissue.liver * (1 + 0.06 * fine + 0.04 * coarse))
        flow = np.maximum(np.maximum(in_liver * liver, in_lung * (1 - abdomen)), marked)
        return plane.signal + flow * (tissue.blood - plane.signal), flow * tissue.blood

    def _dome_mm(self, x: Array, z: Array) -> Array:
        """Return the height of the diaphragm."""
        forward = ((z - 4.0) / (84.0 * self.wall.depth)) ** 2
        right = -self._dome_steepness * (((x + 72.0) / 74.0) ** 2 + forward)
        left = -14.0 - self._dome_steepness * (((x - 72.0) / 70.0) ** 2 + forward)
        saddle = -22.0 - self._dome_steepness * forward + 0.0 * x
        top: Array = 6.0 * np.logaddexp(np.logaddexp(right / 6.0, left / 6.0), saddle / 6.0)
        return top

    def _textures(self, grid: SliceGrid) -> _Image:
        """Return two random fields of unit variance, fine and coarse, (2, planes, rows, columns)."""
        rng = np.random.default_rng(self._texture_seed)
        planes, rows, columns = grid.shape
        fields = np.empty((2, *grid.shape), np.float32)
        for field, cell_mm in zip(fields, (_TEXTURE_MM, 3.0 * _TEXTURE_MM), strict=True):
            cells = (1 + int(n * grid.spacing_mm / cell_mm) for n in (rows, columns))
            noise = rng.standard_normal((planes, *cells), dtype=np.float32)
            noise = gaussian_filter1d(noise, 0.5 * cell_mm / grid.plane_spacing_mm, axis=0)
            noise /= noise.std()
            for plane, values in zip(field, noise, strict=True):
                plane[:] = cv2.resize(values, (columns, rows), interpolation=cv2.INTER_CUBIC)
        return fields

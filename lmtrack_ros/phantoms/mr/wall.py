"""The wall of chest and belly: muscle, ribs, spine, fat, skin; organs slide along it.

Coordinates are those of the body: about its middle at the height of the right dome of the diaphragm,
x to the left, y to the head, z to the front, mm, at mean breath.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from lmtrack_ros.core.frames import Array
from lmtrack_ros.phantoms.mr.grid import SliceGrid

_Image = NDArray[np.float32]

# the inner chest wall at heights: half its width, half its depth, how far its middle lies to the front
_HEIGHT_MM = (-260.0, -120.0, -60.0, 0.0, 60.0, 110.0, 145.0, 168.0, 180.0)
_HALF_WIDTH_MM = (125.0, 130.0, 134.0, 132.0, 122.0, 104.0, 78.0, 42.0, 8.0)
_HALF_DEPTH_MM = (84.0, 86.0, 88.0, 87.0, 80.0, 64.0, 46.0, 30.0, 8.0)
_MIDDLE_MM = (4.0, 4.0, 2.0, 0.0, -7.0, -19.0, -28.0, -34.0, -36.0)
_SHOULDERS_MM = 105.0  # the outside does not narrow above, as the cavity does
_BREAST_MM = (45.0, 60.0)  # height and reach of the fat in front of the chest
_RIB_PITCH_MM = 30.0
_RIB_FALL_MM = 70.0  # how much lower a rib is in front than at the back
_LOWEST_RIB_MM = -110.0
_VERTEBRA_PITCH_MM = 27.0
_CANAL_MM = 27.0  # behind the middle of the vertebrae


class Tissue(NamedTuple):
    """The signal of each tissue; of fat that opposes water it is negative."""

    lung: float
    liver: float
    blood: float
    fat: float
    muscle: float
    kidney: float
    medulla: float
    spleen: float
    fluid: float
    marrow: float
    bowel: float


@dataclass(frozen=True)
class Habitus:
    """Within what a patient is built.

    Attributes:
        depth: from back to front, of the usual.
        back_fat_mm: thickness of the fat under the skin of the back.
        front_fat_mm: of the front.
        muscle_mm: thickness of the muscles of the back.
    """

    depth: float
    back_fat_mm: tuple[float, float]
    front_fat_mm: tuple[float, float]
    muscle_mm: tuple[float, float]


class Wall:
    """The wall of one patient.

    Args:
        rng: chance of the patient.
        habitus: within what it is drawn.

    Attributes:
        depth: from back to front, of the usual.
    """

    def __init__(self, rng: np.random.Generator, habitus: Habitus) -> None:
        self.depth = habitus.depth * float(rng.uniform(0.96, 1.04))
        self._half_width_mm = _profile(_HALF_WIDTH_MM, float(rng.uniform(0.97, 1.03)))
        self._half_depth_mm = _profile(_HALF_DEPTH_MM, self.depth)
        self._middle_mm = _profile(_MIDDLE_MM, self.depth)
        self._back_fat_mm = rng.uniform(*habitus.back_fat_mm)
        self._front_fat_mm = rng.uniform(*habitus.front_fat_mm)
        self._muscle_mm = rng.uniform(*habitus.muscle_mm)
        self._rib_phase = rng.uniform()
        self._unevenness = rng.uniform(0.0, 2 * np.pi, 2)

    def inside_mm(self, x: Array, y: Array, z: Array) -> Array:
        """Return how far inside the wall points are, about, mm; negative in the cavity."""
        return np.maximum(self._beyond_mm(x, y, z, np.inf), -self._spine_mm(x, y, z))

    def painted(
        self, grid: SliceGrid, points: tuple[Array, Array, Array], tissue: Tissue, texture: _Image
    ) -> tuple[_Image, _Image]:
        """Return one plane's (rows, columns) signal, 0 where there is no wall, and the wall's share of it.

        Args:
            grid: that the plane is of.
            points: x, y and z of its points, shaped to broadcast to (rows, columns).
            tissue: signals.
            texture: (2, rows, columns) fine and coarse.
        """
        x, y, z = points
        fine, coarse = texture
        beyond_mm = self._beyond_mm(x, y, z, np.inf)
        outside_mm = self._beyond_mm(x, y, z, _SHOULDERS_MM)
        forward = z - self._middle_mm(y)
        up = forward / np.maximum(np.hypot(x, forward), 1.0)
        back = np.clip(0.5 - up, 0.0, 1.0)
        muscle_mm, fat_mm = self._thickness_mm(y, back)
        # muscles and the fat between them
        signal = tissue.muscle * (1 + 0.06 * fine) + 0.25 * (tissue.fat - tissue.muscle) * np.clip(
            coarse - 0.9, 0, 1
        )
        around = np.arccos(np.clip(-up, -1.0, 1.0)) / np.pi
        rib = (y + _RIB_FALL_MM * around) / _RIB_PITCH_MM + self._rib_phase
        across_mm = (rib - np.round(rib)) * _RIB_PITCH_MM
        bone = np.hypot(across_mm / 5.5, (beyond_mm - 5.0) / 4.0) + 9.0 * (y < _LOWEST_RIB_MM)
        # in front ribs are of cartilage
        cortex = tissue.muscle * (0.25 + 0.6 * (1 - back))
        signal = np.where(bone < 1.3, cortex, signal)
        signal = np.where(bone < 0.75, tissue.marrow, signal)
        spine = grid.coverage(self._spine_mm(x, y, z))
        signal = signal + spine * (self._spine(x, y, z, tissue) * (1 + 0.06 * fine) - signal)
        fat = tissue.fat * (1 + 0.06 * fine - 0.25 * np.clip(coarse, 0.0, 1.5) * (1 - back))
        signal = signal + grid.coverage(muscle_mm - outside_mm) * (fat - signal)
        signal = signal * grid.coverage(outside_mm - muscle_mm - fat_mm)
        share = np.maximum(grid.coverage(-beyond_mm), spine)
        return signal * share, share

    def _thickness_mm(self, y: Array, back: Array) -> tuple[Array, Array]:
        """Return the thickness of muscle and fat at heights; ``back`` is 1 at the back and 0 in front."""
        slow, quick = self._unevenness
        uneven = 1 + 0.07 * np.sin(y / 41.0 + slow) + 0.03 * np.sin(y / 17.0 + quick)
        muscle_mm = 9.0 + (self._muscle_mm * uneven - 9.0) * back
        height_mm, reach_mm = _BREAST_MM
        breast = (
            0.7 + 0.8 * np.exp(-(((y - height_mm) / reach_mm) ** 2)) - 0.5 * np.clip((y - 90.0) / 60.0, 0, 1)
        )
        front_mm = self._front_fat_mm * breast * uneven
        return muscle_mm, front_mm + (self._back_fat_mm * uneven - front_mm) * back

    def _beyond_mm(self, x: Array, y: Array, z: Array, up_to_mm: float) -> Array:
        """Return how far outside of the inner chest wall, or straight above a height of it, points are."""
        height = np.minimum(y, up_to_mm)
        forward = z - self._middle_mm(height)
        rho = np.hypot(x / self._half_width_mm(height), forward / self._half_depth_mm(height))
        beyond: Array = np.hypot(x, forward) * (1.0 - 1.0 / np.maximum(rho, 0.05))
        return beyond + np.maximum(y - 172.0, 0.0) if up_to_mm == np.inf else beyond

    def _spine(self, x: Array, y: Array, z: Array, tissue: Tissue) -> Array:
        """Return the signal of vertebrae, discs, canal and the muscle around."""
        behind_mm = self._behind_spine_mm(y, z)
        level = y / _VERTEBRA_PITCH_MM
        off_level = np.abs(level - np.round(level))
        bone = np.where(off_level > 0.38, 0.7 * tissue.muscle, tissue.marrow)
        bone = np.where(np.abs(off_level - 0.37) < 0.03, 0.4 * tissue.muscle, bone)
        from_canal = np.hypot(x, behind_mm - _CANAL_MM)
        canal = np.where(from_canal < 4.5, 0.5 * tissue.fluid, tissue.fluid)
        around = np.where(np.hypot(x / 22.0, behind_mm / 17.0) < 1.0, bone, tissue.muscle)
        return np.asarray(np.where(from_canal < 8.0, canal, around))

    def _spine_mm(self, x: Array, y: Array, z: Array) -> Array:
        """Return how far outside of the spine, open to the back, points are, about, mm."""
        outside: Array = np.hypot(x / 1.3, np.minimum(self._behind_spine_mm(y, z), 0.0)) - 19.0
        return outside

    def _behind_spine_mm(self, y: Array, z: Array) -> Array:
        height = np.minimum(y, _SHOULDERS_MM)
        behind: Array = self._middle_mm(height) - self._half_depth_mm(height) + 20.0 - z
        return behind


def _profile(values_mm: Sequence[float], scale: float) -> Callable[[Array], Array]:
    """Return a smooth function of the height that passes through values at the heights, scaled."""
    through = PchipInterpolator(_HEIGHT_MM, np.array(values_mm) * scale)

    def at(height_mm: Array) -> Array:
        within = np.clip(height_mm, _HEIGHT_MM[0], _HEIGHT_MM[-1])
        return np.asarray(through(within), dtype=height_mm.dtype)

    return at

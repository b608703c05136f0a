"""The womb round a fetus: abdominal wall, placenta, amniotic fluid, and what lies behind."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from lmtrack_ros.core.frames import Array
from lmtrack_ros.phantoms.volume_ultrasound.swept_probe import SweptProbe
from lmtrack_ros.phantoms.volume_ultrasound.tissue import Grid, noise, speckle

_MARGIN_MM = 12.0
_FLUID = 0.05
_LAYERS = (
    (0.00, 4.0),
    (0.06, 1.2),
    (0.20, 0.9),
    (0.23, 3.2),
    (0.27, 0.8),
    (0.44, 0.9),
    (0.47, 3.2),
    (0.50, 0.45),
    (0.66, 0.5),
    (0.69, 3.0),
    (0.73, 1.2),
    (1.00, 1.4),
    (2.50, 1.0),
)
"""Amplitudes at parts of the way from the probe to the fluid: skin, fat, fascia, muscle, womb."""
_STREAKED = 0.66
# standard deviation
_BAND_LIMIT_MM = 0.65


@dataclass(frozen=True, eq=False)
class Uterus:
    """Echoes round the fetus on a grid in isocenter, the couch at zero and the breath at its mean.

    Attributes:
        origin_mm: (3,) position of the first grid point.
        spacing_mm: of the grid.
        echo_field: (X, Y, Z) complex64.
    """

    origin_mm: Array
    spacing_mm: float
    echo_field: NDArray[np.complex64]

    @classmethod
    def draw(
        cls, rng: np.random.Generator, probe: SweptProbe, wall_mm: float, head_mm: float, spacing_mm: float
    ) -> "Uterus":
        """Return the womb of one mother.

        Args:
            rng: of the mother.
            probe: what sees it.
            wall_mm: thickness of what lies between probe and fluid.
            head_mm: depth of the middle of the fetal head.
            spacing_mm: of the grid.
        """
        depth, rows, columns = probe.shape
        half_mm = np.array([columns, depth, rows]) * probe.spacing_mm / 2 + _MARGIN_MM
        axes = [np.arange(-h, h, spacing_mm, dtype=np.float32) for h in half_mm]
        x, y, z = np.meshgrid(*axes, indexing="ij")
        down = np.float32(probe.depth_mm / 2) - z
        shape = x.shape
        # the sac reaches from the wall as far behind the head as before it
        behind_mm = min(2 * head_mm - wall_mm + rng.uniform(-2.0, 8.0), probe.depth_mm - 2.0)
        half_sac_mm = (behind_mm - wall_mm) / 2
        uneven_mm = 2.5 * noise(rng, shape, 11.0 / spacing_mm)
        across_mm, along_mm = rng.uniform(55.0, 80.0, 2)
        sac = np.abs(x / across_mm) ** 3 + np.abs(y / along_mm) ** 3
        sac = (sac + np.abs((down - wall_mm - half_sac_mm) / half_sac_mm) ** 3) ** (1 / 3)
        outside_mm = (sac - 1) * half_sac_mm + uneven_mm
        tissue = 1.1 * (1 + 0.25 * noise(rng, shape, 2.5 / spacing_mm))
        part = (down + 0.25 * uneven_mm) / wall_mm
        streaks = 1 + 0.6 * np.sin(2 * np.pi * part * wall_mm / 2.3) * (part < _STREAKED)
        tissue *= np.interp(part, *np.transpose(_LAYERS)).astype(np.float32) * streaks
        tissue += 2.5 * np.exp(-0.5 * ((outside_mm - 0.8) / 0.9) ** 2)
        fluid = np.clip(0.5 - outside_mm / 1.2, 0, 1)
        amplitude = fluid * _FLUID + (1 - fluid) * tissue
        field = speckle(rng, shape, _BAND_LIMIT_MM / spacing_mm)
        field *= amplitude.astype(np.float32)
        return cls(-half_mm, spacing_mm, field)

    def echo(self, points_mm: Grid, moved_mm: Array) -> NDArray[np.complex64]:
        """Return the echo at (3, ...) points in isocenter, the womb moved by (3,) mm."""
        offset = ((self.origin_mm + moved_mm) / self.spacing_mm).astype(np.float32)
        index = points_mm / np.float32(self.spacing_mm) - offset.reshape(3, *(1,) * (points_mm.ndim - 1))
        return np.asarray(
            map_coordinates(self.echo_field, index, order=1, mode="nearest", output=np.complex64)
        )

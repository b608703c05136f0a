"""From echoes along the beams of a swept probe to what its display shows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.phantoms.volume_ultrasound.swept_probe import SweptProbe
from lmtrack_ros.phantoms.volume_ultrasound.tissue import Grid, blur

_DYNAMIC_RANGE_DB = (52.0, 62.0)
# tissue's mean echo lies this far below white
_WHITE_DB = (22.5, 27.5)
_NOISE = 0.022
_NOISE_DB_PER_MM = 0.12


@dataclass(frozen=True, eq=False)
class Display:
    """From echoes to grey levels.

    Attributes:
        gain: (R, 1) of the depths, as the time gain compensation leaves it.
        noise: (R, 1) amplitude of the receiver's noise.
        white_db: this far above the mean power of tissue's echoes is white.
        range_db: from black to white.
    """

    gain: Grid
    noise: Grid
    white_db: float
    range_db: float

    @classmethod
    def draw(cls, rng: np.random.Generator, probe: SweptProbe) -> "Display":
        """Return the setting of one recording."""
        _, range_mm, _ = probe.axes()
        slow, slower = rng.normal(0.0, 1.2, 2)
        gain_db = slow * np.sin(range_mm / 14.0) + slower * np.cos(range_mm / 21.0)
        noise = _NOISE * 10 ** (_NOISE_DB_PER_MM * (range_mm - 60.0) / 20)
        gain = 10 ** (gain_db / 20)
        return cls(
            gain[:, None].astype(np.float32),
            noise[:, None].astype(np.float32),
            rng.uniform(*_WHITE_DB),
            rng.uniform(*_DYNAMIC_RANGE_DB),
        )

    def shown(self, echo: NDArray[np.complex64], probe: SweptProbe, rng: np.random.Generator) -> Grid:
        """Return the grey levels, from 0 to 255, of an echo along the beams.

        Args:
            echo: (P, R, B) before the point spread.
            probe: that received it.
            rng: of the receiver's noise.
        """
        power = np.zeros(echo.shape, dtype=np.float32)
        for part in (echo.real, echo.imag):
            received = blur(np.ascontiguousarray(part), probe.psf)
            received *= self.gain
            received += self.noise * rng.standard_normal(echo.shape, dtype=np.float32)
            power += np.square(received)
        return self._grey(power)

    def _grey(self, power: Grid) -> Grid:
        grey = np.log10(power + np.float32(1e-9))
        grey *= np.float32(10 * 255 / self.range_db)
        grey += np.float32(255 * (1 - self.white_db / self.range_db))
        return np.asarray(np.clip(grey, 0, 255, out=grey))

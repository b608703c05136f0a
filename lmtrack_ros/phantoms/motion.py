"""What moves a phantom."""

from dataclasses import dataclass
from math import comb

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.parameters import parameter


@dataclass(frozen=True)
class BreathingParameters:
    """Regular breathing."""

    peak_to_peak_mm: float = parameter(
        15.0, "motion along the patient's length, mm", minimum=0.0, maximum=60.0
    )
    anterior_mm: float = parameter(
        3.0, "motion to the front while the target moves to the feet, mm", minimum=0.0, maximum=60.0
    )
    period_s: float = parameter(4.0, "duration of one breath, s", minimum=0.5, maximum=60.0)
    power: int = parameter(
        2, "n in cos^2n: how much longer the exhale lasts than the inhale", minimum=1, maximum=10
    )


class Breathing:
    """Displacement of the target by regular breathing, about its mean over time.

    The position along the body follows z0 - b cos^2n(π t / τ) (Lujan et al. 1999, Medical Physics
    26(5), eq. 1), with end-inhale at t = 0.
    """

    def __init__(self, parameters: BreathingParameters) -> None:
        self._parameters = parameters
        n = parameters.power
        self._mean = comb(2 * n, n) / 4**n

    def inhaled(self, time_s: float) -> float:
        """Return how far the breath is drawn, from 0 (end-exhale) to 1 (end-inhale)."""
        p = self._parameters
        return float(np.cos(np.pi * time_s / p.period_s) ** (2 * p.power))

    def displacement_mm(self, time_s: float) -> Array:
        """Return the (3,) displacement in isocenter of a head-first supine patient, mm."""
        p = self._parameters
        drawn = self.inhaled(time_s) - self._mean
        return np.array([0.0, -p.peak_to_peak_mm * drawn, p.anterior_mm * drawn])

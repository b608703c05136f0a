"""Constant-velocity prediction with a Kalman filter."""

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.records import NS_PER_S
from lmtrack_ros.gating.intake import Intake, Verdict

_READY_S = 0.5
_READY_FRAMES = 3


class ConstantVelocity:
    """Extrapolates along the filtered velocity of each axis.

    The continuous white-noise-acceleration model, discretised for the time dt since the last frame
    (Bar-Shalom, Li & Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001,
    section 6.2.2): F = [[1, dt], [0, 1]], Q = q [[dt³/3, dt²/2], [dt²/2, dt]]. The covariance depends
    on the stamps alone, so all axes and landmarks share one.

    Args:
        acceleration_noise_mm2_s3: power spectral density q of the acceleration, mm²/s³.
        measurement_noise_mm: standard deviation of a measured coordinate, mm.
    """

    def __init__(self, acceleration_noise_mm2_s3: float = 50.0, measurement_noise_mm: float = 0.1) -> None:
        self._q = acceleration_noise_mm2_s3
        self._r = measurement_noise_mm**2
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.intake = Intake()
        self._start_ns = self._stamp_ns = 0
        self._frames = 0

    @property
    def ready(self) -> bool:
        """Whether the velocity is known, and the newest frame was taken in."""
        long_enough = self._stamp_ns - self._start_ns >= _READY_S * NS_PER_S
        return self.intake.verdict is not Verdict.SKIP and self._frames >= _READY_FRAMES and long_enough

    def add(self, stamp_ns: int, positions_mm: Array) -> None:
        """Take in one frame's (N, 3) positions."""
        measured = self.intake.take(stamp_ns, positions_mm)
        if self.intake.verdict is Verdict.SKIP:
            return
        if self.intake.verdict is Verdict.RESTART:
            self._start_ns = self._stamp_ns = stamp_ns
            self._frames = 1
            self._position, self._velocity = measured, np.zeros_like(measured)
            # any velocity an organ may have
            self._p = (self._r, 0.0, 100.0**2)
            return
        dt = (stamp_ns - self._stamp_ns) / NS_PER_S
        self._stamp_ns = stamp_ns
        self._frames += 1
        pp, pv, vv = self._p
        pp += dt * (2 * pv + dt * vv) + self._q * dt**3 / 3
        pv += dt * vv + self._q * dt**2 / 2
        vv += self._q * dt
        gain_p, gain_v = pp / (pp + self._r), pv / (pp + self._r)
        predicted = self._position + dt * self._velocity
        innovation = measured - predicted
        self._position = predicted + gain_p * innovation
        self._velocity = self._velocity + gain_v * innovation
        self._p = ((1 - gain_p) * pp, (1 - gain_p) * pv, vv - gain_v * pv)

    def predict(self, horizon_ns: int) -> Array:
        """Return the (N, 3) positions at the newest stamp + horizon; the newest ones until ready."""
        if not self.ready:
            return self.intake.newest_mm
        predicted: Array = self._position + horizon_ns / NS_PER_S * self._velocity + self.intake.unseen
        return predicted

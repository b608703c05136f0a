"""Motion traces that a gate is judged on: recorded ones from files, or generated ones."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.phantoms.motion import read_trace

MIN_DURATION_S = 60.0
_SEED = 20240501
_RATE_HZ = 10.0
_GENERATED_S = 120.0
_SINE_PERIODS_S = (3.0, 4.0, 5.0, 6.0)
# main axis first scaled to one: lateral, along the body, up
_DIRECTION = np.array([0.05, -1.0, 0.3])


@dataclass(frozen=True, eq=False)
class MotionTrace:
    """Where a target was, sample by sample.

    Attributes:
        name: of the file without its suffix.
        time_s: (N,) times that grow.
        position_mm: (N, 3) positions in isocenter.
    """

    name: str
    time_s: Array
    position_mm: Array

    @property
    def peak_to_peak_mm(self) -> float:
        """The largest extent along an axis."""
        return float(np.ptp(self.position_mm, axis=0).max())

    @property
    def interval_s(self) -> float:
        """The median time between samples."""
        return float(np.median(np.diff(self.time_s)))

    @property
    def fast_mm_s(self) -> float:
        """The 99th percentile of the speed between samples."""
        steps_mm = np.linalg.norm(np.diff(self.position_mm, axis=0), axis=1)
        return float(np.percentile(steps_mm / np.diff(self.time_s), 99))

    def at(self, time_s: Array) -> Array:
        """Return the (T, 3) positions at (T,) times, on straight lines between the samples.

        For judging only: what lies between two samples is not known at the first of them.
        """
        return np.stack([np.interp(time_s, self.time_s, axis) for axis in self.position_mm.T], axis=1)


def read_traces(folder: Path) -> tuple[MotionTrace, ...]:
    """Return the traces of all CSV files in a folder, by name.

    Raises:
        UserError: there is no such folder or no trace in it, or one is broken or too short.
    """
    if not folder.is_dir():
        raise UserError(f"no folder with traces at '{folder}'")
    traces = []
    for path in sorted(folder.glob("*.csv")):
        time_s, position_mm = read_trace(path)
        if time_s[-1] - time_s[0] < MIN_DURATION_S:
            raise UserError(f"'{path}' is too short: a trace needs {MIN_DURATION_S:g} s or more")
        traces.append(MotionTrace(path.stem, time_s - time_s[0], position_mm))
    if not traces:
        raise UserError(f"'{folder}' holds no traces: expected CSV files with time_s, x_mm, y_mm, z_mm")
    return tuple(traces)


def generated_traces() -> tuple[MotionTrace, ...]:
    """Return regular breathing of several periods, and one irregular trace; always the same."""
    time_s = np.arange(0.0, _GENERATED_S, 1.0 / _RATE_HZ)
    traces = [
        MotionTrace(
            f"generated_sine_{period_s:g}s",
            time_s,
            _along_body(7.5 * (1 - np.cos(2 * np.pi * time_s / period_s))),
        )
        for period_s in _SINE_PERIODS_S
    ]
    irregular_mm = irregular_breathing_mm(time_s, np.random.default_rng(_SEED))
    return (*traces, MotionTrace("generated_irregular", time_s, _along_body(irregular_mm)))


def irregular_breathing_mm(time_s: Array, rng: np.random.Generator) -> Array:
    """Return how far (T,) a breath is drawn whose length, depth and resting position change.

    Args:
        time_s: (T,) times from zero on, growing.
        rng: chance.
    """
    starts_s, depths_mm = [0.0], []
    while starts_s[-1] <= time_s[-1]:
        starts_s.append(starts_s[-1] + float(np.clip(rng.normal(4.0, 0.7), 2.4, 6.5)))
        depths_mm.append(float(np.clip(rng.normal(12.0, 2.5), 5.0, 18.0)))
    cycle = np.searchsorted(starts_s, time_s, side="right") - 1
    starts, depths = np.array(starts_s), np.array(depths_mm)
    phase = (time_s - starts[cycle]) / np.diff(starts)[cycle]
    drift_mm = 0.015 * time_s + 0.8 * np.sin(2 * np.pi * time_s / 47.0)
    # at rest at both ends of a cycle, so that cycles of any depth and length join smoothly
    drawn_mm: Array = depths[cycle] * np.sin(np.pi * phase) ** 4 + drift_mm
    return drawn_mm


def _along_body(drawn_mm: Array) -> Array:
    return drawn_mm[:, None] * _DIRECTION

"""What moves a phantom."""

from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Protocol

import numpy as np

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.parameters import parameter

TRACE_COLUMNS = ("time_s", "x_mm", "y_mm", "z_mm")


class Motion(Protocol):
    """Where breathing carries the target."""

    def inhaled(self, time_s: float) -> float:
        """Return how far the breath is drawn, from 0 (end-exhale) to 1 (end-inhale)."""

    def displacement_mm(self, time_s: float) -> Array:
        """Return the (3,) displacement in isocenter of a head-first supine patient, mm."""


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


class Trace:
    """Displacement of the target along a trace, about the trace's first position.

    Between its samples the position follows cubics with a continuous velocity; it stands still
    before the first sample and after the last one.

    Args:
        time_s: (N,) times that grow, N at least 2.
        position_mm: (N, 3) positions in isocenter.
    """

    def __init__(self, time_s: Array, position_mm: Array) -> None:
        self._time_s = time_s
        self._displacement_mm = position_mm - position_mm[0]
        self._velocity_mm_s: Array = np.gradient(position_mm, time_s, axis=0)
        self._velocity_mm_s[[0, -1]] = 0.0
        self._exhaled_mm = float(self._displacement_mm[:, 1].max())
        self._range_mm = float(np.ptp(position_mm[:, 1]))

    def inhaled(self, time_s: float) -> float:
        """Return how far towards the feet of all the trace the target is, from 0 to 1."""
        if self._range_mm == 0.0:
            return 0.0
        drawn_mm = self._exhaled_mm - float(self.displacement_mm(time_s)[1])
        return float(np.clip(drawn_mm / self._range_mm, 0.0, 1.0))

    def displacement_mm(self, time_s: float) -> Array:
        """Return the (3,) displacement in isocenter, mm."""
        after = int(np.clip(np.searchsorted(self._time_s, time_s, side="right"), 1, len(self._time_s) - 1))
        left, right = after - 1, after
        step_s = self._time_s[right] - self._time_s[left]
        u = float(np.clip((time_s - self._time_s[left]) / step_s, 0.0, 1.0))
        p, v = self._displacement_mm, self._velocity_mm_s * step_s
        # cubic Hermite basis
        position: Array = (
            (1 + 2 * u) * (1 - u) ** 2 * p[left]
            + u * (1 - u) ** 2 * v[left]
            + u**2 * (3 - 2 * u) * p[right]
            + u**2 * (u - 1) * v[right]
        )
        return position


def read_trace(path: Path) -> tuple[Array, Array]:
    """Return the (N,) times, s, and (N, 3) positions, mm, of a CSV file with the TRACE_COLUMNS.

    Raises:
        UserError: it cannot be read, or does not describe a motion.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the trace '{path}': {' '.join(str(error).split())}") from error
    heading = [name.strip() for name in lines[0].split(",")] if lines else []
    if not set(TRACE_COLUMNS) <= set(heading):
        raise UserError(f"'{path}' is no trace: its first line must name {', '.join(TRACE_COLUMNS)}")
    columns = [heading.index(name) for name in TRACE_COLUMNS]
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split(",")
        try:
            rows.append([float(cells[column]) for column in columns])
        except (ValueError, IndexError) as error:
            raise UserError(f"'{path}' line {number}: expected {', '.join(TRACE_COLUMNS)}") from error
    table = np.array(rows).reshape(-1, len(TRACE_COLUMNS))
    if len(table) < 2 or not np.isfinite(table).all() or not (np.diff(table[:, 0]) > 0).all():
        raise UserError(f"'{path}' is no trace: it needs two or more finite samples whose times grow")
    return table[:, 0], table[:, 1:]


def write_trace(path: Path, time_s: Array, position_mm: Array) -> None:
    """Write (N,) times and (N, 3) positions as :func:`read_trace` reads them."""
    rows = (
        ",".join([f"{t:.4f}", *(f"{v:.4f}" for v in p)]) for t, p in zip(time_s, position_mm, strict=True)
    )
    path.write_text("\n".join([",".join(TRACE_COLUMNS), *rows]) + "\n", encoding="utf-8")

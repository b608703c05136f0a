"""What moves a phantom: breathing, the heart, coughs and the like, or a recorded trace."""

from bisect import bisect_right
from dataclasses import dataclass, replace
from enum import Enum
from math import comb
from pathlib import Path
from typing import Protocol

import numpy as np

from lmtrack_ros.core.errors import UserError, unknown_name
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.parameters import parameter

TRACE_COLUMNS = ("time_s", "x_mm", "y_mm", "z_mm")

EVENTS = ("cough", "sneeze", "deep_breath", "breath_hold")
"""What may interrupt quiet breathing."""

_WHOLE_BREATHS = ("deep_breath", "breath_hold")
# of the heart's period, how long it contracts
_SYSTOLE = 0.4
_HOLD_S = 12.0
# beyond, tissue would fold
_FARTHEST_MM = 80.0
_S_PER_MIN = 60.0


class Motion(Protocol):
    """Where breathing and heart carry the anatomy."""

    def inhaled(self, time_s: float) -> float:
        """Return how far the breath is drawn: 0 at end-exhale, 1 at the end of a usual inhale."""

    def displacement_mm(self, time_s: float) -> Array:
        """Return the (3,) displacement of the diaphragm in isocenter of a head-first supine patient, mm."""

    def contracted(self, time_s: float) -> float:
        """Return how far the heart is contracted, from 0 to 1."""


class MotionKind(str, Enum):
    """Where the motion comes from."""

    PRESET = "preset"
    BREATHING = "breathing"
    TRACE = "trace"


@dataclass(frozen=True)
class MotionParameters:
    """The motion of the diaphragm and of the heart."""

    kind: str = parameter(
        MotionKind.PRESET.value,
        "drawn by the seed from what the preset allows, the breathing below, or a recorded trace",
        choices=[kind.value for kind in MotionKind],
    )
    trace: str = parameter(
        "",
        "CSV file (time_s, x_mm, y_mm, z_mm in isocenter) of the motion about its first position, "
        "held at its end",
    )
    peak_to_peak_mm: float = parameter(
        15.0, "motion along the patient's length, mm", minimum=0.0, maximum=60.0
    )
    anterior_mm: float = parameter(
        3.0, "motion to the front while the target moves to the feet, mm", minimum=0.0, maximum=60.0
    )
    left_mm: float = parameter(0.0, "motion to the patient's left likewise, mm", minimum=-60.0, maximum=60.0)
    period_s: float = parameter(4.0, "duration of one breath, s", minimum=0.5, maximum=60.0)
    power: int = parameter(
        2, "n in cos^2n: how much longer the exhale lasts than the inhale", minimum=1, maximum=10
    )
    lag_s: float = parameter(
        0.0, "hysteresis: how long front and left lag behind the length, s", minimum=0.0, maximum=5.0
    )
    amplitude_variation: float = parameter(
        0.0, "standard deviation of a breath's depth, of the mean depth", minimum=0.0, maximum=0.5
    )
    period_variation: float = parameter(
        0.0, "standard deviation of a breath's duration, of the mean duration", minimum=0.0, maximum=0.5
    )
    baseline_mm: float = parameter(
        0.0, "standard deviation of the end-exhale position between breaths, mm", minimum=0.0, maximum=20.0
    )
    drift_mm_min: float = parameter(
        0.0, "slow drift along the patient's length, to the head, mm/min", minimum=-60.0, maximum=60.0
    )
    heart_rate_hz: float = parameter(1.1, "heart beats per second", minimum=0.2, maximum=4.0)
    events: tuple[str, ...] = parameter(
        (), f"what interrupts quiet breathing, as NAME@SECONDS: {', '.join(EVENTS)}"
    )

    def __post_init__(self) -> None:
        if (self.kind == MotionKind.TRACE) != bool(self.trace):
            raise ValueError("a trace needs both kind 'trace' and the file's name")
        if self.trace and self.events:
            raise ValueError("a trace moves as it was recorded: leave out the events")
        _parse(self.events)


@dataclass(frozen=True)
class MotionRange:
    """Within what the breathing of a group of patients lies; units as in :class:`MotionParameters`."""

    peak_to_peak_mm: tuple[float, float] = (10.0, 20.0)
    anterior_mm: tuple[float, float] = (1.0, 5.0)
    left_mm: tuple[float, float] = (-1.0, 1.0)
    period_s: tuple[float, float] = (3.2, 5.0)
    power: tuple[int, int] = (1, 3)
    lag_s: tuple[float, float] = (0.0, 0.4)
    amplitude_variation: tuple[float, float] = (0.05, 0.2)
    period_variation: tuple[float, float] = (0.03, 0.12)
    baseline_mm: tuple[float, float] = (0.2, 1.0)
    drift_mm_min: tuple[float, float] = (-1.5, 1.5)
    heart_rate_hz: tuple[float, float] = (0.9, 1.5)

    @classmethod
    def exactly(cls, peak_to_peak_mm: float, anterior_mm: float, period_s: float) -> "MotionRange":
        """Return the range that holds one regular breathing only."""
        still = (0.0, 0.0)
        return cls(
            peak_to_peak_mm=(peak_to_peak_mm, peak_to_peak_mm),
            anterior_mm=(anterior_mm, anterior_mm),
            left_mm=still,
            period_s=(period_s, period_s),
            power=(2, 2),
            lag_s=still,
            amplitude_variation=still,
            period_variation=still,
            baseline_mm=still,
            drift_mm_min=still,
        )

    def draw(self, rng: np.random.Generator) -> MotionParameters:
        """Return the breathing of one patient."""
        return MotionParameters(
            kind=MotionKind.BREATHING.value,
            peak_to_peak_mm=rng.uniform(*self.peak_to_peak_mm),
            anterior_mm=rng.uniform(*self.anterior_mm),
            left_mm=rng.uniform(*self.left_mm),
            period_s=rng.uniform(*self.period_s),
            power=int(rng.integers(self.power[0], self.power[1] + 1)),
            lag_s=rng.uniform(*self.lag_s),
            amplitude_variation=rng.uniform(*self.amplitude_variation),
            period_variation=rng.uniform(*self.period_variation),
            baseline_mm=rng.uniform(*self.baseline_mm),
            drift_mm_min=rng.uniform(*self.drift_mm_min),
            heart_rate_hz=rng.uniform(*self.heart_rate_hz),
        )


def open_motion(parameters: MotionParameters, usual: MotionRange, seed: int) -> Motion:
    """Return the motion that the parameters ask for.

    Args:
        parameters: of the motion.
        usual: what the preset allows.
        seed: of the patient.

    Raises:
        UserError: the trace cannot be read.
    """
    if parameters.kind == MotionKind.TRACE:
        time_s, position_mm = read_trace(Path(parameters.trace))
        if np.abs(position_mm - position_mm[0]).max() > _FARTHEST_MM:
            raise UserError(
                f"'{parameters.trace}' leads more than {_FARTHEST_MM:g} mm away: no body moves so far"
            )
        return Trace(time_s, position_mm, heart_rate_hz=parameters.heart_rate_hz)
    if parameters.kind == MotionKind.PRESET:
        parameters = replace(usual.draw(np.random.default_rng((seed, 1))), events=parameters.events)
    return Breathing(parameters, seed)


@dataclass(frozen=True)
class _Breath:
    """One breath, from end-exhale to end-exhale."""

    start_s: float
    period_s: float
    depth: float
    hold_s: float
    baseline_mm: float
    next_baseline_mm: float


class Breathing:
    """Displacement of the diaphragm by breathing, about its mean over a usual breath.

    Within one breath the position along the body follows z0 - b cos^2n(π t / τ) (Lujan et al. 1999,
    Medical Physics 26(5), eq. 1), with end-inhale of the first at t = 0. Depth, duration and end-exhale
    position differ from breath to breath; breaths meet at end-exhale, where the velocity is zero.

    Args:
        parameters: of the breathing.
        seed: of what differs from breath to breath.
    """

    def __init__(self, parameters: MotionParameters, seed: int = 0) -> None:
        self._parameters = parameters
        n = parameters.power
        self._mean = comb(2 * n, n) / 4**n
        self._rng = np.random.default_rng((seed, 2))
        events = _parse(parameters.events)
        self._pending = sorted((at_s, name) for name, at_s in events if name in _WHOLE_BREATHS)
        self._bursts = [(at_s, name) for name, at_s in events if name not in _WHOLE_BREATHS]
        self._breaths: list[_Breath] = []
        self._starts_s: list[float] = []
        self._end_s = -parameters.period_s / 2
        self._baseline_mm = 0.0

    def inhaled(self, time_s: float) -> float:
        """Return how far the breath is drawn: 0 at end-exhale, 1 at the end of a usual inhale."""
        breath = self._breath(time_s)
        return breath.depth * _profile(breath, time_s, self._parameters.power)

    def displacement_mm(self, time_s: float) -> Array:
        """Return the (3,) displacement of the diaphragm in isocenter of a head-first supine patient, mm."""
        p = self._parameters
        breath = self._breath(time_s)
        u = min(max((time_s - breath.start_s) / breath.period_s, 0.0), 1.0)
        baseline_mm = breath.baseline_mm + (breath.next_baseline_mm - breath.baseline_mm) * _smooth(u)
        drawn = self.inhaled(time_s) - self._mean
        lagging = self.inhaled(time_s - p.lag_s) - self._mean
        headwards_mm = baseline_mm + p.drift_mm_min * time_s / _S_PER_MIN
        headwards_mm += sum(_burst_mm(name, time_s - at_s) for at_s, name in self._bursts)
        return np.array(
            [p.left_mm * lagging, headwards_mm - p.peak_to_peak_mm * drawn, p.anterior_mm * lagging]
        )

    def contracted(self, time_s: float) -> float:
        """Return how far the heart is contracted, from 0 to 1."""
        return _contracted(time_s, self._parameters.heart_rate_hz)

    def _breath(self, time_s: float) -> _Breath:
        while self._end_s <= time_s or not self._breaths:
            self._breathe()
        return self._breaths[max(bisect_right(self._starts_s, time_s) - 1, 0)]

    def _breathe(self) -> None:
        """Add the next breath."""
        p = self._parameters
        depth, duration, baseline = self._rng.standard_normal(3)
        depth = max(0.3, 1.0 + p.amplitude_variation * depth)
        period_s = p.period_s * max(0.5, 1.0 + p.period_variation * duration)
        hold_s = 0.0
        if self._pending and self._end_s >= self._pending[0][0]:
            _, name = self._pending.pop(0)
            depth, period_s = (2.0, 1.5 * period_s) if name == "deep_breath" else (1.4, 1.2 * period_s)
            hold_s = _HOLD_S if name == "breath_hold" else 0.0
        breath = _Breath(
            self._end_s, period_s + hold_s, depth, hold_s, self._baseline_mm, p.baseline_mm * baseline
        )
        self._breaths.append(breath)
        self._starts_s.append(breath.start_s)
        self._end_s = breath.start_s + breath.period_s
        self._baseline_mm = breath.next_baseline_mm


class Trace:
    """Displacement of the diaphragm along a trace, about the trace's first position.

    Between its samples the position follows cubics with a continuous velocity; it stands still
    before the first sample and after the last one.

    Args:
        time_s: (N,) times that grow, N at least 2.
        position_mm: (N, 3) positions in isocenter.
        heart_rate_hz: heart beats per second.
    """

    def __init__(self, time_s: Array, position_mm: Array, heart_rate_hz: float = 1.1) -> None:
        self._time_s = time_s
        self._heart_rate_hz = heart_rate_hz
        self._displacement_mm = position_mm - position_mm[0]
        self._velocity_mm_s: Array = np.gradient(position_mm, time_s, axis=0)
        self._velocity_mm_s[[0, -1]] = 0.0
        self._exhaled_mm = float(self._displacement_mm[:, 1].max())
        self._range_mm = float(np.ptp(position_mm[:, 1]))

    def inhaled(self, time_s: float) -> float:
        """Return how far towards the feet of all the trace the diaphragm is, from 0 to 1."""
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

    def contracted(self, time_s: float) -> float:
        """Return how far the heart is contracted, from 0 to 1."""
        return _contracted(time_s, self._heart_rate_hz)


def _parse(events: tuple[str, ...]) -> list[tuple[str, float]]:
    parsed = []
    for text in events:
        name, _, at_s = text.partition("@")
        if name not in EVENTS:
            raise unknown_name("event", name, EVENTS)
        try:
            parsed.append((name, float(at_s)))
        except ValueError:
            raise UserError(f"an event is NAME@SECONDS, for one {name}@20, not '{text}'") from None
        if not 0 <= parsed[-1][1] < np.inf:
            raise UserError(f"an event is NAME@SECONDS with seconds of at least 0, not '{text}'")
    return parsed


def _profile(breath: _Breath, time_s: float, power: int) -> float:
    """Return cos^2n(π t / τ) of one breath, standing still at end-inhale while it is held."""
    moving_s = breath.period_s - breath.hold_s
    into_s = min(max(time_s - breath.start_s, 0.0), breath.period_s)
    if into_s > moving_s / 2:
        into_s = max(into_s - breath.hold_s, moving_s / 2)
    return float(np.sin(np.pi * into_s / moving_s) ** (2 * power))


def _smooth(u: float) -> float:
    return u * u * (3 - 2 * u)


def _burst_mm(name: str, after_s: float) -> float:
    """Return how far a cough or a sneeze throws the diaphragm to the head, mm."""
    if name == "cough":
        return sum(6.0 * 0.8**i * float(np.exp(-0.5 * ((after_s - 0.4 * i) / 0.07) ** 2)) for i in range(3))
    drawn_in = -7.0 * float(np.exp(-0.5 * ((after_s + 0.5) / 0.3) ** 2))
    return drawn_in + 11.0 * float(np.exp(-0.5 * ((after_s - 0.15) / 0.09) ** 2))


def _contracted(time_s: float, rate_hz: float) -> float:
    # respiratory sinus arrhythmia, a few per cent
    phase = (rate_hz * time_s + 0.03 * np.sin(2 * np.pi * 0.25 * time_s)) % 1.0
    return float(np.sin(np.pi * phase / _SYSTOLE) ** 2) if phase < _SYSTOLE else 0.0


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

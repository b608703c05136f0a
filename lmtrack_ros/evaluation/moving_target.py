"""The gating latency by the moving-target method: where a target is when the beam switches, by its speed.

A target that crosses an edge of the window at speed v is v·τ past it when the beam has followed after the
latency τ. Over crossings at many speeds the slope of that distance is the latency; what does not grow with
the speed, such as a radius that is kept free inside the window, is the intercept. A breathing target is
not equally fast all along: the speed is the mean of that at the edge and that at the switch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lmtrack_ros.core.frames import Array

_MATCH_S = 1.0
MIN_CROSSINGS = 4


@dataclass(frozen=True)
class Crossing:
    """One switch of the beam as the target crossed an edge.

    Attributes:
        entering: whether the target came in, and the beam went on.
        speed_mm_s: of the target along its way, mean of that at the edge and that at the switch.
        past_mm: how far past the edge it was by then, negative before it.
        late_ms: time since it had crossed.
    """

    entering: bool
    speed_mm_s: float
    past_mm: float
    late_ms: float


@dataclass(frozen=True)
class Latency:
    """The line through crossings of one direction.

    Attributes:
        count: of crossings.
        latency_ms: slope.
        latency_interval_ms: its 95 % confidence interval.
        intercept_mm: distance past the edge at no speed.
        intercept_interval_mm: its 95 % confidence interval.
        scatter_mm: RMS distance of the crossings from the line.
        median_late_ms: median time from crossing to switch, which holds the intercept as well.
    """

    count: int
    latency_ms: float
    latency_interval_ms: tuple[float, float]
    intercept_mm: float
    intercept_interval_mm: tuple[float, float]
    scatter_mm: float
    median_late_ms: float


def find_crossings(
    time_s: Array,
    position_mm: Array,
    window_mm: tuple[float, float],
    switch_s: Array,
    switched_on: NDArray[np.bool_],
) -> list[Crossing]:
    """Match each crossing of an edge with the nearest switch of the beam in its direction.

    Args:
        time_s: (T,) fine times, evenly spaced.
        position_mm: (T,) true position along the axis of motion.
        window_mm: lower and upper edge.
        switch_s: (S,) when the beam switched.
        switched_on: (S,) whether on.
    """
    lower, upper = window_mm
    inside = (position_mm >= lower) & (position_mm <= upper)
    velocity = np.gradient(position_mm, time_s)
    crossings = []
    for index in np.flatnonzero(np.diff(inside.astype(int))):
        entering = bool(inside[index + 1])
        candidates = switch_s[switched_on == entering]
        if not len(candidates):
            continue
        switch = float(candidates[np.abs(candidates - time_s[index]).argmin()])
        if abs(switch - time_s[index]) > _MATCH_S or not time_s[0] <= switch <= time_s[-1]:
            continue
        edge = upper if abs(position_mm[index] - upper) < abs(position_mm[index] - lower) else lower
        way = np.sign(velocity[index])
        share = (edge - position_mm[index]) / (position_mm[index + 1] - position_mm[index])
        crossed_s = time_s[index] + share * (time_s[index + 1] - time_s[index])
        crossings.append(
            Crossing(
                entering,
                float(way * np.interp([crossed_s, switch], time_s, velocity).mean()),
                float(way * (np.interp(switch, time_s, position_mm) - edge)),
                float(1e3 * (switch - crossed_s)),
            )
        )
    return crossings


def fit(crossings: Sequence[Crossing]) -> Latency | None:
    """Return the line through crossings of one direction; None of too few or of all the same speed."""
    speed = np.array([c.speed_mm_s for c in crossings])
    past = np.array([c.past_mm for c in crossings])
    if len(crossings) < MIN_CROSSINGS or np.ptp(speed) < 1.0:
        return None
    line = stats.linregress(speed, past)
    wide = float(stats.t.ppf(0.975, len(crossings) - 2))

    def interval(value: float, error: float) -> tuple[float, float]:
        return value - wide * error, value + wide * error

    low, high = interval(line.slope, line.stderr)
    return Latency(
        count=len(crossings),
        latency_ms=float(1e3 * line.slope),
        latency_interval_ms=(float(1e3 * low), float(1e3 * high)),
        intercept_mm=float(line.intercept),
        intercept_interval_mm=interval(float(line.intercept), float(line.intercept_stderr)),
        scatter_mm=float(np.sqrt(np.mean((past - line.intercept - line.slope * speed) ** 2))),
        median_late_ms=float(np.median([c.late_ms for c in crossings])),
    )

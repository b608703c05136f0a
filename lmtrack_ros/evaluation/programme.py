"""The motion that the phantom plays for a quality check: sines of several speeds, irregular, as recorded."""

from dataclasses import dataclass

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.evaluation.motion_traces import MotionTrace, irregular_breathing_mm

_RATE_HZ = 50.0
LEAD_S = 8.0
# amplitude, mm, and period, s: speeds across an edge 3 mm off the middle from 4 to 24 mm/s
_SINES = ((5.0, 6.0), (8.0, 5.0), (10.0, 4.0), (12.0, 3.0), (7.0, 4.0), (12.0, 4.5))
_SINE_SHARE, _IRREGULAR_SHARE = 0.5, 0.2
_BLEND_S = 1.5
_UP_PER_ALONG = -0.2
_EXCERPT_MM = 15.0
_SEED = 11


@dataclass(frozen=True, eq=False)
class Programme:
    """A motion in parts.

    Attributes:
        time_s: (N,) from zero.
        position_mm: (N, 3) in isocenter, zero at first: along the body (y) and up (z).
        sines_s: start and end of the part for the moving-target method.
        irregular_s: of the irregular part.
        recorded_s: of the recorded excerpt.
        excerpt: where that is from.
    """

    time_s: Array
    position_mm: Array
    sines_s: tuple[float, float]
    irregular_s: tuple[float, float]
    recorded_s: tuple[float, float]
    excerpt: str


def make_programme(duration_s: float, excerpt: MotionTrace) -> Programme:
    """Return a programme: a calm start, then half sines, a fifth irregular, the rest recorded.

    Args:
        duration_s: without the calm start.
        excerpt: its largest axis becomes the motion along the body, scaled to at most 15 mm, exhale at
            zero and inhale towards the feet; its second largest, to the same scale, up and down.
    """
    sines_end = LEAD_S + _SINE_SHARE * duration_s
    irregular_end = sines_end + _IRREGULAR_SHARE * duration_s
    end = LEAD_S + duration_s
    time_s = np.arange(0.0, end, 1.0 / _RATE_HZ)
    along_mm = _sines_mm(time_s, sines_end) * _envelope(time_s, 0.0, sines_end)
    irregular_mm = irregular_breathing_mm(
        np.maximum(time_s - sines_end, 0.0), np.random.default_rng(_SEED)
    ) * _envelope(time_s, sines_end, irregular_end)
    excerpt_mm = _excerpt_mm(excerpt, time_s - irregular_end)
    excerpt_mm *= _envelope(time_s, irregular_end, end + 2 * _BLEND_S)[:, None]
    along_mm -= irregular_mm
    position_mm = np.stack([np.zeros_like(time_s), along_mm, _UP_PER_ALONG * along_mm], axis=1)
    position_mm[:, 1:] += excerpt_mm
    return Programme(
        time_s,
        position_mm,
        (LEAD_S, sines_end - _BLEND_S),
        (sines_end, irregular_end - _BLEND_S),
        (irregular_end + _BLEND_S, end),
        excerpt.name,
    )


def _sines_mm(time_s: Array, end_s: float) -> Array:
    """Return one sine whose amplitude and period go smoothly from each setting to the next."""
    starts_s = np.linspace(LEAD_S, end_s, len(_SINES) + 1)[:-1]
    amplitude = np.full_like(time_s, _SINES[0][0])
    frequency = np.full_like(time_s, 1.0 / _SINES[0][1])
    for start_s, before, after in zip(starts_s[1:], _SINES, _SINES[1:], strict=False):
        blend = _smooth_step((time_s - start_s) / _BLEND_S)
        amplitude += blend * (after[0] - before[0])
        frequency += blend * (1.0 / after[1] - 1.0 / before[1])
    sines: Array = amplitude * np.sin(2 * np.pi * np.cumsum(frequency) / _RATE_HZ)
    return sines


def _excerpt_mm(trace: MotionTrace, time_s: Array) -> Array:
    """Return (T, 2) motion along the body and up from a recorded trace, on straight lines."""
    order = np.argsort(-np.ptp(trace.position_mm, axis=0))
    used = trace.position_mm[trace.time_s <= max(time_s[-1], trace.interval_s)][:, order[:2]]
    low, high = used.min(axis=0), used.max(axis=0)
    scale = min(1.0, _EXCERPT_MM / max(float((high - low)[0]), 1e-9))
    at = np.clip(time_s, 0.0, trace.time_s[-1])
    first, second = (np.interp(at, trace.time_s, trace.position_mm[:, axis]) for axis in order[:2])
    resting_low = np.median(used[:, 0]) < (low[0] + high[0]) / 2
    drawn = first - low[0] if resting_low else high[0] - first
    return scale * np.stack([-drawn, second - np.median(used[:, 1])], axis=1)


def _envelope(time_s: Array, start_s: float, end_s: float) -> Array:
    """Return a factor that is one inside a part, zero outside, and smooth."""
    rise = _smooth_step((time_s - start_s) / _BLEND_S)
    fall = _smooth_step((end_s - time_s) / _BLEND_S)
    return rise * fall


def _smooth_step(u: Array) -> Array:
    u = np.clip(u, 0.0, 1.0)
    step: Array = u * u * (3 - 2 * u)
    return step

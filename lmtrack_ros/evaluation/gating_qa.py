"""What prediction does for the beam gate, in lock-step on motion traces, as late as a real system is.

Each sample of a trace is one frame and is decided on :data:`DECISION_MS` after it; the beam follows
:data:`BEAM_MS` later. Nothing between two samples is shown to the gate, for it would tell of the next one.
The window is set from the first :data:`LEARN_S` seconds, by one rule for all traces; those are not scored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.records import (
    NS_PER_MS,
    NS_PER_S,
    Estimate,
    GateState,
    LandmarkSet,
    LatencyStamps,
    Reason,
    Status,
)
from lmtrack_ros.evaluation.motion_traces import MotionTrace
from lmtrack_ros.gating.parameters import GatingParameters
from lmtrack_ros.gating.prediction import PredictorParameters
from lmtrack_ros.gating.session import Session

KINDS = ("none", "constant_velocity", "adaptive_linear")
DECISION_MS = 200.0
BEAM_MS = 100.0
LEARN_S = 30.0
WINDOW_SHARES = (0.2, 0.3, 0.4)
MAIN_SHARE = 0.3
MIN_HALF_WIDTH_MM = 1.5
POOLED_FROM_MM = 5.0

_GRID_S = 0.01
_MAX_AGE_MS = 1000.0
_EPOCH_NS = 1000 * NS_PER_S  # a stamp of zero would mean "not set"
_SESSION = 1
_TARGET = "target"
# a crossing counts where the target stays that long on either side, and a switch within that time of it
_LASTING_S = 0.5
_MATCH_S = 1.0
_EXHALE_SHARE = 0.2
# recordings come in steps of a tenth of a millimetre
_STEP_MM = 0.1
_ROUNDING = 1e-6
_ACKNOWLEDGE_S = 2.0
_RESAMPLES = 4000
_SEED = 7


@dataclass(frozen=True, eq=False)
class ExhaleWindow:
    """A box about the exhale position.

    Attributes:
        planned_mm: (3,) exhale position in isocenter.
        half_width_mm: (3,) from it to the faces.
    """

    planned_mm: Array
    half_width_mm: Array

    def contains(self, position_mm: Array) -> NDArray[np.bool_]:
        """Return which of (T, 3) positions lie inside."""
        inside: NDArray[np.bool_] = (np.abs(position_mm - self.planned_mm) <= self.half_width_mm).all(axis=1)
        return inside


def exhale_window(trace: MotionTrace, share: float) -> ExhaleWindow:
    """Return the window that the first seconds of a trace give.

    Exhale is the end of the principal axis of motion that the target stays longer near, judged by its
    median; its position is the median of the samples in the nearest fifth of the range. The faces lie
    midway between the steps in which recordings come: a target that seems to rest exactly on a face
    would be inside or outside by rounding, and only for the gate that does not predict.

    Args:
        trace: of which only the first LEARN_S are used.
        share: half the width as a share of each axis' range, at least MIN_HALF_WIDTH_MM.
    """
    learned = trace.position_mm[trace.time_s < LEARN_S]
    centered = learned - learned.mean(axis=0)
    along = centered @ np.linalg.svd(centered, full_matrices=False)[2][0]
    low, high = along.min(), along.max()
    if np.median(along) > (low + high) / 2:
        along, low, high = -along, -high, -low
    resting = learned[along <= low + _EXHALE_SHARE * (high - low)]
    half_steps = np.maximum(MIN_HALF_WIDTH_MM, share * np.ptp(learned, axis=0)) / _STEP_MM
    return ExhaleWindow(
        _STEP_MM * np.round(np.median(resting, axis=0) / _STEP_MM),
        _STEP_MM * (np.floor(half_steps + _ROUNDING) + 0.5),
    )


@dataclass(frozen=True, eq=False)
class GateRun:
    """What a gate decided along a trace.

    Attributes:
        frame_s: (N,) times of the frames.
        beam_on: (N,) whether each decision opens the beam.
        predicted_mm: (N, 3) where each says the target will be; NaN where it does not.
        horizon_s: (N,) how long after the frame.
        diverged: how often the gate latched that its prediction cannot be trusted.
    """

    frame_s: Array
    beam_on: NDArray[np.bool_]
    predicted_mm: Array
    horizon_s: Array
    diverged: int

    def beam(self, time_s: Array) -> NDArray[np.bool_]:
        """Return whether the beam is on at each of (T,) times: the newest decision that has reached it."""
        newest = np.searchsorted(self.frame_s + (DECISION_MS + BEAM_MS) / 1e3, time_s, side="right") - 1
        on: NDArray[np.bool_] = (newest >= 0) & self.beam_on[np.maximum(newest, 0)]
        return on


def landmark_set(position_mm: Array, frame_ns: int, decided_ns: int) -> LandmarkSet:
    """Return what a perfect tracker says of one frame: the (3,) position of the only landmark."""
    estimate = Estimate(
        _TARGET,
        Status.TRACKED,
        position_mm=position_mm,
        covariance_mm2=np.zeros((3, 3)),
        observed=(True, True, True),
        confidence=1.0,
        radius_mm=0.0,
    )
    return LandmarkSet(frame_ns, (estimate,), stamps=LatencyStamps(frame_ns, decided_ns, decided_ns))


def run_gate(trace: MotionTrace, window: ExhaleWindow, kind: str) -> GateRun:
    """Let a gate decide on every sample of a trace.

    Where it latches that its prediction diverged, an operator acknowledges two seconds later.

    Args:
        trace: true positions.
        window: where the beam may be on.
        kind: of the predictor.
    """
    parameters = GatingParameters(
        landmarks=(_TARGET,),
        references_mm=tuple(window.planned_mm.tolist()),
        window_lower_mm=tuple((-window.half_width_mm).tolist()),
        window_upper_mm=tuple(window.half_width_mm.tolist()),
        max_age_ms=_MAX_AGE_MS,
        resume_frames=1,
        beam_latency_ms=BEAM_MS,
        predictor=PredictorParameters(kind=kind),
    )
    session = Session(parameters, _SESSION)
    session.operate("arm", _EPOCH_NS)
    on, predicted, horizon = [], [], []
    diverged, acknowledge_ns = 0, 0
    for time_s, position_mm in zip(trace.time_s, trace.position_mm, strict=True):
        frame_ns = _EPOCH_NS + round(time_s * NS_PER_S)
        decided_ns = frame_ns + int(DECISION_MS * NS_PER_MS)
        if acknowledge_ns and decided_ns >= acknowledge_ns:
            session.operate("acknowledge", decided_ns)
            acknowledge_ns = 0
        decision = session.landmarks(landmark_set(position_mm, frame_ns, decided_ns), decided_ns).decision
        if decision.reasons & Reason.PREDICTOR_DIVERGED and not acknowledge_ns:
            diverged += 1
            acknowledge_ns = decided_ns + int(_ACKNOWLEDGE_S * NS_PER_S)
        on.append(decision.state is GateState.BEAM_ON)
        predicted.append(decision.target_mm)
        horizon.append(decision.horizon_ms / 1e3)
    return GateRun(trace.time_s, np.array(on), np.array(predicted), np.array(horizon), diverged)


@dataclass(frozen=True, eq=False)
class Score:
    """How well a gate did, in a form that can be pooled.

    Attributes:
        scored_s: time judged.
        inside_s: of it, the target was inside the window.
        beam_on_s: of it, the beam was on.
        outside_s: of that, the target was outside.
        error_mm: (K,) distances of predicted from true positions.
        on_errors_ms: (A,) switch-on minus true entry.
        off_errors_ms: (B,) switch-off minus true exit.
        missed: crossings without a switch near them.
        diverged: times that the gate latched a diverged prediction.
    """

    scored_s: float
    inside_s: float
    beam_on_s: float
    outside_s: float
    error_mm: Array
    on_errors_ms: Array
    off_errors_ms: Array
    missed: int
    diverged: int


def score(trace: MotionTrace, window: ExhaleWindow, run: GateRun) -> Score:
    """Judge a run by the true motion, on a grid of 10 ms, from LEARN_S on.

    The prediction is judged at the end of all latency: half a frame interval past the beam's, for on
    average a decision stands that much longer. Without a predictor it is the last position.
    """
    time_s = np.arange(LEARN_S, trace.time_s[-1], _GRID_S)
    inside = window.contains(trace.at(time_s))
    beam = run.beam(time_s)
    due_s = run.frame_s + total_latency_s(trace)
    judged = (due_s >= LEARN_S) & (due_s <= trace.time_s[-1]) & np.isfinite(run.predicted_mm).all(axis=1)
    error_mm = np.linalg.norm(run.predicted_mm[judged] - trace.at(due_s[judged]), axis=1)
    errors_ms, missed = {}, 0
    for entering in (True, False):
        crossings_s = _crossings_s(time_s, inside, entering, _LASTING_S)
        switches_s = _crossings_s(time_s, beam, entering, 0.0)
        late_s = np.array([_nearest(switches_s, c) - c for c in crossings_s])
        near = np.abs(late_s) <= _MATCH_S
        errors_ms[entering] = 1e3 * late_s[near]
        missed += int((~near).sum())
    return Score(
        scored_s=len(time_s) * _GRID_S,
        inside_s=float(inside.sum() * _GRID_S),
        beam_on_s=float(beam.sum() * _GRID_S),
        outside_s=float((beam & ~inside).sum() * _GRID_S),
        error_mm=error_mm,
        on_errors_ms=errors_ms[True],
        off_errors_ms=errors_ms[False],
        missed=missed,
        diverged=run.diverged,
    )


def total_latency_s(trace: MotionTrace) -> float:
    """Return how long after a frame its decision acts in the middle, s."""
    return (DECISION_MS + BEAM_MS) / 1e3 + trace.interval_s / 2


def _crossings_s(time_s: Array, state: NDArray[np.bool_], rising: bool, lasting_s: float) -> Array:
    """Return when a state rises or falls, for good for a while, and was so before."""
    changes = np.flatnonzero(np.diff(state.astype(int))) + 1
    edges_s = np.concatenate([[time_s[0]], time_s[changes], [time_s[-1]]])
    lasting = (np.diff(edges_s)[:-1] >= lasting_s) & (np.diff(edges_s)[1:] >= lasting_s)
    return time_s[changes[lasting & (state[changes] == rising)]]


def _nearest(candidates: Array, value: float) -> float:
    return float(candidates[np.abs(candidates - value).argmin()]) if len(candidates) else np.inf


def pool(scores: Sequence[Score]) -> Score:
    """Return one score for several traces."""

    def joined(name: str) -> Array:
        return np.concatenate([getattr(s, name) for s in scores])

    return Score(
        scored_s=sum(s.scored_s for s in scores),
        inside_s=sum(s.inside_s for s in scores),
        beam_on_s=sum(s.beam_on_s for s in scores),
        outside_s=sum(s.outside_s for s in scores),
        error_mm=joined("error_mm"),
        on_errors_ms=joined("on_errors_ms"),
        off_errors_ms=joined("off_errors_ms"),
        missed=sum(s.missed for s in scores),
        diverged=sum(s.diverged for s in scores),
    )


def figures(s: Score) -> dict[str, Any]:
    """Return a score as plain values."""
    return {
        "scored_s": s.scored_s,
        "target_inside_share": s.inside_s / s.scored_s,
        "duty_cycle": s.beam_on_s / s.scored_s,
        "beam_on_s": s.beam_on_s,
        "beam_on_outside_s": s.outside_s,
        "beam_on_outside_percent": 100.0 * s.outside_s / s.beam_on_s if s.beam_on_s else None,
        "prediction_rmse_mm": _rms(s.error_mm),
        "switch_on_error_ms": _spread(s.on_errors_ms),
        "switch_off_error_ms": _spread(s.off_errors_ms),
        "crossings_missed": s.missed,
        "prediction_diverged": s.diverged,
    }


def _rms(values: Array) -> float | None:
    return float(np.sqrt(np.mean(values**2))) if len(values) else None


def _spread(errors_ms: Array) -> dict[str, Any]:
    if not len(errors_ms):
        return {"count": 0, "median": None, "median_absolute": None, "p95_absolute": None}
    return {
        "count": len(errors_ms),
        "median": float(np.median(errors_ms)),
        "median_absolute": float(np.median(np.abs(errors_ms))),
        "p95_absolute": float(np.percentile(np.abs(errors_ms), 95)),
    }


def ratios(scores: Sequence[Score], others: Sequence[Score]) -> dict[str, Any]:
    """Return pooled figures over those of other runs of the same traces, with intervals.

    Args:
        scores: one for each trace.
        others: what to divide by, in the same order.

    Returns:
        For beam_on_outside, duty_cycle and prediction_rmse the ratio and its 95 % interval over
        resampled traces (percentile bootstrap); None where it is not defined.
    """
    picks = np.random.default_rng(_SEED).integers(0, len(scores), (_RESAMPLES, len(scores)))
    parts = {
        "beam_on_outside": lambda s: s.outside_s,
        "duty_cycle": lambda s: s.beam_on_s,
        "prediction_rmse": lambda s: float((s.error_mm**2).sum()),
    }
    result = {}
    for name, part in parts.items():
        above, below = np.array([part(s) for s in scores]), np.array([part(s) for s in others])
        power = 0.5 if name == "prediction_rmse" else 1.0
        if not below.sum() > 0:
            result[name] = None
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            resampled = (above[picks].sum(axis=1) / below[picks].sum(axis=1)) ** power
        low, high = np.nanpercentile(resampled, (2.5, 97.5)).tolist()
        result[name] = {"ratio": float((above.sum() / below.sum()) ** power), "low": low, "high": high}
    return result

"""The lock-step half of the quality check: every trace, predictor and window, and the goals for them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmtrack_ros.evaluation.couch_qa import DEAD_TIME_MS, IMAGING_MS, SPEED_MM_S, CouchRun, run_couch
from lmtrack_ros.evaluation.gating_qa import (
    BEAM_MS,
    DECISION_MS,
    KINDS,
    LEARN_S,
    MAIN_SHARE,
    MIN_HALF_WIDTH_MM,
    POOLED_FROM_MM,
    WINDOW_SHARES,
    ExhaleWindow,
    GateRun,
    Score,
    exhale_window,
    figures,
    pool,
    ratios,
    run_gate,
    score,
)
from lmtrack_ros.evaluation.motion_traces import MotionTrace

NONE, CONSTANT_VELOCITY, ADAPTIVE = KINDS
SLOW_IMAGING_MS = DECISION_MS


@dataclass(frozen=True)
class Goal:
    """What is asked for, and what came out.

    Attributes:
        text: the goal in words.
        value: what came out, in words.
        passed: whether it is met.
    """

    text: str
    value: str
    passed: bool


@dataclass(frozen=True, eq=False)
class LockStep:
    """All runs in lock-step.

    Attributes:
        traces: all of them.
        windows: by window share, one for each trace.
        runs: by window share and predictor, one for each trace.
        scores: likewise.
        couch: by imaging latency, ms, one for each trace, with the adaptive predictor.
    """

    traces: tuple[MotionTrace, ...]
    windows: Mapping[float, Sequence[ExhaleWindow]]
    runs: Mapping[tuple[float, str], Sequence[GateRun]]
    scores: Mapping[tuple[float, str], Sequence[Score]]
    couch: Mapping[float, Sequence[CouchRun]]

    @property
    def pooled(self) -> list[int]:
        """Which traces move enough for a gate to matter."""
        return [i for i, t in enumerate(self.traces) if t.peak_to_peak_mm >= POOLED_FROM_MM]

    @property
    def followable(self) -> list[int]:
        """Which traces the couch is fast enough for, and move enough to matter."""
        return [i for i, t in enumerate(self.traces) if t.fast_mm_s < SPEED_MM_S]

    def pooled_scores(self, share: float, kind: str) -> list[Score]:
        """Return the scores of the pooled traces."""
        return [self.scores[share, kind][i] for i in self.pooled]

    def compared(self, share: float, kind: str, other: str) -> dict[str, Any]:
        """Return the pooled ratios of one predictor to another."""
        return ratios(self.pooled_scores(share, kind), self.pooled_scores(share, other))


def run_lock_step(traces: Sequence[MotionTrace], say: Callable[[str], None]) -> LockStep:
    """Run gate and couch on every trace.

    Args:
        traces: at least one of which moves by POOLED_FROM_MM.
        say: told what is being done.
    """
    windows = {share: [exhale_window(t, share) for t in traces] for share in WINDOW_SHARES}
    runs: dict[tuple[float, str], list[GateRun]] = {(s, k): [] for s in WINDOW_SHARES for k in KINDS}
    scores: dict[tuple[float, str], list[Score]] = {key: [] for key in runs}
    couch: dict[float, list[CouchRun]] = {IMAGING_MS: [], SLOW_IMAGING_MS: []}
    for index, trace in enumerate(traces):
        say(f"lock-step {index + 1} of {len(traces)}: {trace.name}")
        for share, kind in runs:
            window = windows[share][index]
            run = run_gate(trace, window, kind)
            runs[share, kind].append(run)
            scores[share, kind].append(score(trace, window, run))
        for imaging_ms, done in couch.items():
            done.append(run_couch(trace, ADAPTIVE, imaging_ms))
    return LockStep(tuple(traces), windows, runs, scores, couch)


def goals(done: LockStep) -> list[Goal]:
    """Return the goals for prediction and couch, at the main window."""
    to_none = done.compared(MAIN_SHARE, ADAPTIVE, NONE)
    to_velocity = done.compared(MAIN_SHARE, ADAPTIVE, CONSTANT_VELOCITY)

    def goal(text: str, compared: Mapping[str, Any], name: str, limit: float, *, below: bool = True) -> Goal:
        found = compared[name]
        if found is None:
            return Goal(text, "not defined: nothing to compare with", False)
        ratio = found["ratio"]
        words = f"{ratio:.2f} of it (95 % interval {found['low']:.2f} to {found['high']:.2f})"
        return Goal(text, words, bool(ratio <= limit if below else ratio >= limit))

    result = [
        goal(
            "Beam-on time with the target outside at most 40 % of the unpredicted gate's",
            to_none,
            "beam_on_outside",
            0.4,
        ),
        goal("at a duty cycle of at least 95 % of its", to_none, "duty_cycle", 0.95, below=False),
        goal(
            "Position error at the total latency at most half of it unpredicted",
            to_none,
            "prediction_rmse",
            0.5,
        ),
        goal("Less beam-on time outside than with constant velocity", to_velocity, "beam_on_outside", 1.0),
        goal("Smaller position error than with constant velocity", to_velocity, "prediction_rmse", 1.0),
    ]
    ratio = couch_ratio(done, IMAGING_MS)
    text = (
        f"Residual motion at least 3 times smaller with the couch following ({DEAD_TIME_MS:g} ms dead time)"
    )
    each = [np.divide(*done.couch[IMAGING_MS][i].residual_mm) for i in done.followable]
    words = "no trace is slow enough"
    if ratio is not None:
        enough = sum(r >= 3 for r in each)
        words = f"{ratio:.1f} times smaller pooled; at least 3 on {enough} of {len(each)} traces"
    return [*result, Goal(text, words, ratio is not None and ratio >= 3.0)]


def couch_ratio(done: LockStep, imaging_ms: float, *, about_own_mean: bool = False) -> float | None:
    """Return still over following residual motion, pooled as RMS over the time of the followable traces.

    Args:
        done: the runs.
        imaging_ms: which of them.
        about_own_mean: judge the still couch by the distance from the target's own mean, not from plan.
    """
    runs = [done.couch[imaging_ms][i] for i in done.followable]
    if not runs:
        return None
    still = [r.still_mm - r.still_mm.mean(axis=0) if about_own_mean else r.still_mm for r in runs]
    squares = (float((np.concatenate(part) ** 2).sum()) for part in (still, [r.following_mm for r in runs]))
    return float(np.sqrt(np.divide(*squares)))


def summary(done: LockStep) -> dict[str, Any]:
    """Return all figures as plain values."""
    return {
        "settings": {
            "latency_to_decision_ms": DECISION_MS,
            "beam_latency_ms": BEAM_MS,
            "learned_s": LEARN_S,
            "window_half_width": f"max({MIN_HALF_WIDTH_MM:g} mm, share of each axis' range while learned)",
            "pooled_from_mm": POOLED_FROM_MM,
            "couch_dead_time_ms": DEAD_TIME_MS,
            "couch_speed_mm_s": SPEED_MM_S,
        },
        "gate": {f"{share:g}": _gate_summary(done, share) for share in WINDOW_SHARES},
        "couch": [
            {
                "imaging_latency_ms": imaging_ms,
                "pooled_ratio": couch_ratio(done, imaging_ms),
                "pooled_ratio_about_own_mean": couch_ratio(done, imaging_ms, about_own_mean=True),
                "per_trace": {t.name: _couch_summary(t, r) for t, r in zip(done.traces, runs, strict=True)},
            }
            for imaging_ms, runs in done.couch.items()
        ],
    }


def _gate_summary(done: LockStep, share: float) -> dict[str, Any]:
    return {
        "pooled": {kind: figures(pool(done.pooled_scores(share, kind))) for kind in KINDS},
        "to_none": {kind: done.compared(share, kind, NONE) for kind in KINDS[1:]},
        "adaptive_to_constant_velocity": done.compared(share, ADAPTIVE, CONSTANT_VELOCITY),
        "per_trace": {
            trace.name: {
                "peak_to_peak_mm": trace.peak_to_peak_mm,
                "pooled": index in done.pooled,
                "half_width_mm": done.windows[share][index].half_width_mm.tolist(),
                **{kind: figures(done.scores[share, kind][index]) for kind in KINDS},
            }
            for index, trace in enumerate(done.traces)
        },
    }


def _couch_summary(trace: MotionTrace, run: CouchRun) -> dict[str, Any]:
    still_mm, following_mm = run.residual_mm
    return {
        "speed_p99_mm_s": trace.fast_mm_s,
        "pooled": trace.fast_mm_s < SPEED_MM_S,
        "residual_rms_mm_still": still_mm,
        "residual_rms_mm_following": following_mm,
        "ratio": still_mm / following_mm if following_mm else None,
        "ratio_about_own_mean": run.spread_mm / following_mm if following_mm else None,
        "held_by": list(run.held),
    }

"""What a recorded live run of the phantom shows of gate, prediction, couch and latency."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from lmtrack_ros import interface
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S, GateDecision, LandmarkSet, Reason
from lmtrack_ros.evaluation.moving_target import Crossing, Latency, find_crossings, fit
from lmtrack_ros.evaluation.programme import Programme
from lmtrack_ros.gating.latency import percentiles
from lmtrack_ros.recording import Recording

TOPICS = ("truth", "landmarks", "gate", "couch_status", "couch_shift", "initial_landmarks", "image_geometry")
HOLD_LIMIT_MS = 100.0
LOOP_LIMIT_MS = 500.0
AXIS = 1
"""Of isocenter that the target moves along: y, along the body."""

_GRID_S = 0.001
_SETTLE_S = 4.0
_STAGES = ("imaging", "tracking", "deciding", "total")


@dataclass(frozen=True, eq=False)
class BeamLine:
    """When the reference consumer of the decisions let the beam on and off.

    Attributes:
        changed_ns: (S,) on the clock of the frames' stamps.
        on: (S,) what it changed to.
        latency_ms: how long after that the simulated beam follows.
    """

    changed_ns: NDArray[np.int64]
    on: NDArray[np.bool_]
    latency_ms: float


@dataclass(frozen=True, eq=False)
class LiveRun:
    """A live run, on the phantom's own time.

    Attributes:
        time_s: (T,) fine, evenly spaced, while the gate was armed.
        true_mm: (T, 3) true displacement of the target from plan, the couch's part in it.
        couch_mm: (T, 3) couch position.
        window_mm: edges of the window along y.
        line_s: (S,) when the beam-enable line changed, the first one to off.
        line_on: (S,) to what.
        beam_latency_s: after which the beam follows.
        decided: one row for each frame decided on: acquired, received, tracked, decided, s.
        predicted_mm: (D, 3) target's displacement from plan as predicted with each; NaN where not.
        horizon_s: (D,) how far ahead.
        frames: how many the phantom published while armed.
        held_by: reasons for which decisions held, by name, and how many did.
    """

    time_s: Array
    true_mm: Array
    couch_mm: Array
    window_mm: tuple[float, float]
    line_s: Array
    line_on: NDArray[np.bool_]
    beam_latency_s: float
    decided: Array
    predicted_mm: Array
    horizon_s: Array
    frames: int
    held_by: Mapping[str, int]

    def beam(self, time_s: Array) -> NDArray[np.bool_]:
        """Return whether the beam is on at (T,) times."""
        newest = np.searchsorted(self.line_s + self.beam_latency_s, time_s, side="right") - 1
        on: NDArray[np.bool_] = (newest >= 0) & self.line_on[np.maximum(newest, 0)]
        return on

    def due_s(self) -> Array:
        """Return when each decision acts: as the gate predicts for, or on average where it does not."""
        exposed_s, decided_s = self.decided[:, 0], self.decided[:, 3]
        latency_s = np.median(decided_s - exposed_s) + self.beam_latency_s + np.median(np.diff(exposed_s)) / 2
        due_s: Array = exposed_s + np.where(self.horizon_s > 0, self.horizon_s, latency_s)
        return due_s

    def inside(self) -> NDArray[np.bool_]:
        """Return whether the target is within the window's edges along y, at each time."""
        lower, upper = self.window_mm
        along = self.true_mm[:, AXIS]
        inside: NDArray[np.bool_] = (along >= lower) & (along <= upper)
        return inside

    def crossings(self, part_s: tuple[float, float]) -> list[Crossing]:
        """Return the beam's switches at crossings of an edge within a part of the programme."""
        part = (self.time_s >= part_s[0]) & (self.time_s < part_s[1])
        return find_crossings(
            self.time_s[part],
            self.true_mm[part, AXIS],
            self.window_mm,
            self.line_s + self.beam_latency_s,
            self.line_on,
        )


def read_live_run(
    path: Path, planned_mm: Array, window_mm: tuple[float, float], line: BeamLine, armed_ns: int
) -> LiveRun:
    """Read the recording of a run.

    Args:
        path: the recording.
        planned_mm: (3,) planned position of the target in isocenter.
        window_mm: edges of the window along y.
        line: what the consumer did.
        armed_ns: when the gate had been armed.

    Raises:
        UserError: it holds no run.
    """
    with Recording(path) as recording:
        truth: list[LandmarkSet] = []
        decisions: list[GateDecision] = []
        couch, marked_ns = [], 0
        topics = [t for t in ("truth", "gate", "couch_status", "initial_landmarks") if recording.has(t)]
        for topic, message, _ in recording.messages(topics):
            if topic == "truth":
                truth.append(interface.read_landmark_array(message))
            elif topic == "gate":
                decisions.append(interface.read_gate_decision(message))
            elif topic == "couch_status":
                couch.append(interface.read_couch_status(message))
            else:
                marked_ns = marked_ns or interface.stamp_ns(message.header.stamp)
    decided = [d for d in decisions if d.stamps.received_ns and d.stamps.decided_ns >= armed_ns]
    if len(truth) < 2 or len(decided) < 2 or len(couch) < 2 or not marked_ns:
        raise UserError(f"{path} was stopped too early to say anything")

    armed = [d for d in decisions if d.stamps.decided_ns >= armed_ns and not d.reasons & Reason.NOT_ARMED]

    # the phantom marks its landmarks on its very first frame
    def seconds(stamps_ns: Sequence[int] | NDArray[np.int64]) -> Array:
        return (np.asarray(stamps_ns, dtype=np.int64) - marked_ns) / NS_PER_S

    true_s = seconds([t.stamp_ns for t in truth])
    true_mm = np.array([np.mean([e.position_mm for e in t.estimates], axis=0) for t in truth]) - planned_mm
    stamps = np.array(
        [[d.stamp_ns, d.stamps.received_ns, d.stamps.tracked_ns, d.stamps.decided_ns] for d in decided]
    )
    time_s = np.arange(seconds([armed_ns])[0], min(true_s[-1], seconds(stamps[-1:, 3])[0]), _GRID_S)
    if not len(time_s):
        raise UserError(f"{path}: no frame came in time after the gate was armed; the machine is too slow")
    couch_s = seconds([c.stamp_ns for c in couch])
    couch_mm = np.array([c.position_mm for c in couch])
    return LiveRun(
        time_s=time_s,
        true_mm=CubicSpline(true_s, true_mm)(time_s),
        couch_mm=np.stack([np.interp(time_s, couch_s, axis) for axis in couch_mm.T], axis=1),
        window_mm=window_mm,
        line_s=seconds(line.changed_ns),
        line_on=line.on,
        beam_latency_s=line.latency_ms / 1e3,
        decided=seconds(stamps),
        predicted_mm=np.array([d.target_mm for d in decided]) - planned_mm,
        horizon_s=np.array([d.horizon_ms for d in decided]) / 1e3,
        frames=int(((true_s >= time_s[0]) & (true_s <= time_s[-1])).sum()),
        held_by=dict(Counter(str(r.name) for d in armed for r in Reason if r & d.reasons)),
    )


def latency_figures(run: LiveRun, programme: Programme) -> dict[str, Any]:
    """Return what the sines say of the latency from the target's motion to the beam, and of the stages."""
    crossings = run.crossings(programme.sines_s)
    on, off = (fit([c for c in crossings if c.entering is entering]) for entering in (True, False))
    return {
        "on": _plain(on),
        "off": _plain(off),
        "simulated_beam_latency_ms": 1e3 * run.beam_latency_s,
        "stages_ms": _stages_ms(run),
        "hold_ms": _percentiles(hold_latencies_ms(run, programme.sines_s)),
        "frames_published": run.frames,
        "frames_decided": len(run.decided),
        "held_by": dict(run.held_by),
    }


def hold_latencies_ms(run: LiveRun, part_s: tuple[float, float]) -> Array:
    """Return how long after the exposure of the first frame outside the consumer read HOLD, each time.

    Negative where it held before that exposure, as prediction makes it.
    """
    frame_s = run.decided[:, 0]
    frame_s = frame_s[(frame_s >= max(part_s[0], run.time_s[0])) & (frame_s < min(part_s[1], run.time_s[-1]))]
    along = np.interp(frame_s, run.time_s, run.true_mm[:, AXIS])
    inside = (along >= run.window_mm[0]) & (along <= run.window_mm[1])
    leaving_s = frame_s[1:][inside[:-1] & ~inside[1:]]
    held_s = run.line_s[~run.line_on]
    if not len(held_s):
        return np.zeros(0)
    late_ms = np.array([1e3 * (held_s[np.abs(held_s - t).argmin()] - t) for t in leaving_s])
    return late_ms[np.abs(late_ms) < NS_PER_S / NS_PER_MS]


def beam_figures(run: LiveRun, part_s: tuple[float, float]) -> dict[str, Any]:
    """Return duty cycle, beam-on time outside and prediction error over a part of the programme."""
    part = (run.time_s >= part_s[0]) & (run.time_s < part_s[1])
    beam, inside = run.beam(run.time_s)[part], run.inside()[part]
    due_s = run.due_s()
    judged = (due_s >= part_s[0]) & (due_s < min(part_s[1], run.time_s[-1]))
    judged &= np.isfinite(run.predicted_mm[:, 1:]).all(axis=1)
    at_mm = np.stack([np.interp(due_s[judged], run.time_s, axis) for axis in run.true_mm[:, 1:].T], axis=1)
    error_mm = np.linalg.norm(run.predicted_mm[judged, 1:] - at_mm, axis=1)
    outside_s = float((beam & ~inside).sum() * _GRID_S)
    return {
        "seconds": float(part.sum() * _GRID_S),
        "target_inside_share": float(inside.mean()) if part.any() else None,
        "duty_cycle": float(beam.mean()) if part.any() else None,
        "beam_on_outside_s": outside_s,
        "beam_on_outside_percent": 100.0 * outside_s / (beam.sum() * _GRID_S) if beam.any() else None,
        "prediction_rmse_mm": float(np.sqrt((error_mm**2).mean())) if len(error_mm) else None,
        "horizon_ms_median": float(1e3 * np.median((due_s - run.decided[:, 0])[judged]))
        if judged.any()
        else None,
    }


def couch_figures(run: LiveRun, part_s: tuple[float, float]) -> dict[str, Any]:
    """Return the target's residual motion with the couch following, and what it would be without.

    Without the couch the target would be off its true place by the couch's way; the still couch gets
    no blame for a constant offset.
    """
    part = (run.time_s >= part_s[0] + _SETTLE_S) & (run.time_s < part_s[1])
    if not part.any():
        return {"residual_rms_mm_following": None, "residual_rms_mm_still": None, "ratio": None}
    following = run.true_mm[part, 1:]
    still = following - run.couch_mm[part, 1:]
    following_mm = float(np.sqrt((following**2).sum(axis=1).mean()))
    still_mm = float(np.sqrt(((still - still.mean(axis=0)) ** 2).sum(axis=1).mean()))
    return {
        "residual_rms_mm_following": following_mm,
        "residual_rms_mm_still": still_mm,
        "ratio": still_mm / following_mm,
        "fastest_mm_s": float(np.percentile(np.linalg.norm(np.diff(still, axis=0), axis=1), 99) / _GRID_S),
    }


def _plain(latency: Latency | None) -> dict[str, Any] | None:
    return None if latency is None else asdict(latency)


def _stages_ms(run: LiveRun) -> dict[str, dict[str, float]]:
    durations_ms = 1e3 * np.column_stack(
        [np.diff(run.decided, axis=1), run.decided[:, 3] - run.decided[:, 0]]
    )
    return {name: _percentiles(column) for name, column in zip(_STAGES, durations_ms.T, strict=True)}


def _percentiles(values: Array) -> dict[str, Any]:
    if not len(values):
        return {"count": 0, "p50": None, "p95": None, "p99": None, "max": None}
    return {"count": len(values), **percentiles(values)}

"""What a recorded run of the closed loop shows: counts, latency, duty cycle, residual motion."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros import interface
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.records import (
    NS_PER_MS,
    NS_PER_S,
    CouchMode,
    Frame,
    GateDecision,
    GateState,
    LandmarkSet,
    Reason,
)
from lmtrack_ros.gating.latency import percentiles
from lmtrack_ros.recording import Recording

# an armed gate that is about to end says so; what follows is not part of the run
_NOT_RUNNING = Reason.NOT_ARMED | Reason.SHUTDOWN


@dataclass(frozen=True, eq=False)
class ClosedLoop:
    """One armed run, from its recording.

    Attributes:
        time_s: (N,) times of the true positions since arming, s.
        true_mm: (N, 3) true position of the target (mean of all landmarks) in isocenter, about its
            planned one.
        tracked_time_s: (M,) times of the tracked frames, s.
        tracked_mm: (M, 3) the same of the tracked landmarks; NaN where one was not TRACKED.
        error_mm: (M,) distance of the tracked from the true target over the observed axes.
        couch_time_s: (C,) times of the couch's reports, s.
        couch_mm: (C, 3) couch position in isocenter.
        decisions: of the run, in order.
        decided_s: (D,) when each was made, s.
        following_from_s: when the couch began to follow; inf if it never did.
        end_s: end of the run, s.
        frames_published: in the run.
        last_decision: the very last of the recording, after the run.
        frame: a frame of the run and its landmarks and truth, for a picture.
    """

    time_s: Array
    true_mm: Array
    tracked_time_s: Array
    tracked_mm: Array
    error_mm: Array
    couch_time_s: Array
    couch_mm: Array
    decisions: tuple[GateDecision, ...]
    decided_s: Array
    following_from_s: float
    end_s: float
    frames_published: int
    last_decision: GateDecision
    frame: tuple[Frame, LandmarkSet, LandmarkSet]

    def beam_on(self, time_s: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return whether the beam was on at each time (T,): the newest decision says so and is valid."""
        newest = np.searchsorted(self.decided_s, time_s, side="right") - 1
        states = np.array([d.state is GateState.BEAM_ON for d in self.decisions])
        valid_s = np.array([(d.valid_until_ns - d.stamps.decided_ns) / NS_PER_S for d in self.decisions])
        known = newest >= 0
        newest = np.maximum(newest, 0)
        on: NDArray[np.bool_] = known & states[newest] & (time_s < self.decided_s[newest] + valid_s[newest])
        return on


def read_closed_loop(path: Path, planned_mm: Array) -> ClosedLoop:
    """Read the recording of a closed loop.

    Args:
        path: the recording; needs image, truth, landmarks, gate, couch_status and couch_shift.
        planned_mm: (3,) planned position of the target in isocenter.

    Raises:
        UserError: a topic is missing, or the gate was never armed.
    """
    with Recording(path) as recording:
        truth = [interface.read_landmark_array(m) for _, m, _ in recording.messages(["truth"])]
        tracked = [interface.read_landmark_array(m) for _, m, _ in recording.messages(["landmarks"])]
        decisions = [interface.read_gate_decision(m) for _, m, _ in recording.messages(["gate"])]
        couch = [interface.read_couch_status(m) for _, m, _ in recording.messages(["couch_status"])]
        shifts = [interface.read_couch_shift(m) for _, m, _ in recording.messages(["couch_shift"])]
        armed = [d for d in decisions if not d.reasons & _NOT_RUNNING]
        if not armed:
            raise UserError(f"{path} holds no armed run")
        start_ns, end_ns = armed[0].stamps.decided_ns, armed[-1].stamps.decided_ns
        if not any(d.stamps.received_ns for d in armed) or not any(
            start_ns <= t.stamp_ns <= end_ns for t in truth
        ):
            raise UserError(f"{path} was stopped too early to say anything")
        frame = _pictured_frame(recording, tracked, truth, (start_ns + end_ns) // 2)
    following = [s.stamp_ns for s in shifts if s.mode is CouchMode.TRACKING]

    def seconds(stamps_ns: list[int]) -> Array:
        return (np.array(stamps_ns, dtype=np.int64) - start_ns) / NS_PER_S

    truth = [t for t in truth if start_ns <= t.stamp_ns <= end_ns]
    tracked = [t for t in tracked if start_ns <= t.stamp_ns <= end_ns]
    true_of = {t.stamp_ns: _center_mm(t) for t in truth}
    tracked_mm = np.array([_center_mm(t) for t in tracked])
    observed = np.array([np.all([e.observed for e in t.estimates], axis=0) for t in tracked])
    true_mm = np.array([true_of.get(t.stamp_ns, np.full(3, np.nan)) for t in tracked])
    return ClosedLoop(
        time_s=seconds([t.stamp_ns for t in truth]),
        true_mm=np.array([_center_mm(t) for t in truth]) - planned_mm,
        tracked_time_s=seconds([t.stamp_ns for t in tracked]),
        tracked_mm=tracked_mm - planned_mm,
        error_mm=np.linalg.norm(np.where(observed, tracked_mm - true_mm, 0.0), axis=1),
        couch_time_s=seconds([c.stamp_ns for c in couch]),
        couch_mm=np.array([c.position_mm for c in couch]),
        decisions=tuple(armed),
        decided_s=seconds([d.stamps.decided_ns for d in armed]),
        following_from_s=float(seconds(following[:1])[0]) if following else np.inf,
        end_s=(end_ns - start_ns) / NS_PER_S,
        frames_published=len(truth),
        last_decision=decisions[-1],
        frame=frame,
    )


def summarize(loop: ClosedLoop, breath_s: float) -> dict[str, Any]:
    """Return the figures of a run as plain values.

    Residual motion is the RMS distance of the true target from its planned position, which is
    also its mean over a breath, so that the still couch gets no blame for a constant offset. The
    couch's first breath of following is left out as settling.
    """
    following_s = loop.following_from_s
    still = loop.time_s < following_s
    settled = loop.time_s >= following_s + breath_s
    frame_decisions = [d for d in loop.decisions if d.stamps.received_ns]
    latency_ms = np.array([(d.stamps.decided_ns - d.stamps.acquired_ns) / NS_PER_MS for d in frame_decisions])
    still_mm, tracking_mm = (_rms_mm(loop.true_mm[phase]) for phase in (still, settled))
    return {
        "frames_published": loop.frames_published,
        "frames_tracked": len(loop.tracked_time_s),
        "frames_skipped": loop.frames_published - len(loop.tracked_time_s),
        "latency_ms": percentiles(latency_ms),
        "duty_cycle": _duty_cycle(loop, 0.0, loop.end_s),
        "duty_cycle_couch_still": _duty_cycle(loop, 0.0, min(following_s, loop.end_s)),
        "duty_cycle_couch_tracking": _duty_cycle(loop, min(following_s + breath_s, loop.end_s), loop.end_s),
        "residual_rms_mm_couch_still": still_mm,
        "residual_rms_mm_couch_tracking": tracking_mm,
        "residual_ratio": None if tracking_mm is None or not still_mm else tracking_mm / still_mm,
        "tracking_error_mm": {
            "mean": float(np.nanmean(loop.error_mm)),
            "p95": float(np.nanpercentile(loop.error_mm, 95)),
            "max": float(np.nanmax(loop.error_mm)),
        },
        "ended_in": loop.last_decision.state.name,
    }


def _center_mm(landmarks: LandmarkSet) -> Array:
    center: Array = np.mean([e.position_mm for e in landmarks.estimates], axis=0)
    return center


def _rms_mm(offset_mm: Array) -> float | None:
    return float(np.sqrt((offset_mm**2).sum(axis=1).mean())) if len(offset_mm) else None


def _duty_cycle(loop: ClosedLoop, start_s: float, end_s: float) -> float | None:
    times = np.arange(start_s, end_s, 0.001)
    return float(loop.beam_on(times).mean()) if len(times) else None


def _pictured_frame(
    recording: Recording, tracked: list[LandmarkSet], truth: list[LandmarkSet], wanted_ns: int
) -> tuple[Frame, LandmarkSet, LandmarkSet]:
    """Return the frame nearest to a time that has both landmarks and truth."""
    tracked_of = {t.stamp_ns: t for t in tracked}
    true_of = {t.stamp_ns: t for t in truth}
    candidates = (f for f in recording.frames() if f.stamp_ns in tracked_of and f.stamp_ns in true_of)
    frame = min(candidates, key=lambda f: abs(f.stamp_ns - wanted_ns), default=None)
    if frame is None:
        raise UserError(f"{recording.path} has no frame with landmarks and truth")
    return frame, tracked_of[frame.stamp_ns], true_of[frame.stamp_ns]

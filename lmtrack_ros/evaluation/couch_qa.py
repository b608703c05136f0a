"""What a slow simulated couch that follows the target leaves of its motion, in lock-step on motion traces."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S, Reason
from lmtrack_ros.evaluation.gating_qa import LEARN_S, landmark_set
from lmtrack_ros.evaluation.motion_traces import MotionTrace
from lmtrack_ros.gating.couch_controller import CouchParameters
from lmtrack_ros.gating.parameters import GatingParameters
from lmtrack_ros.gating.prediction import PredictorParameters
from lmtrack_ros.gating.session import Session
from lmtrack_ros.phantoms.couch import CouchSimulator, CouchSimulatorParameters

DEAD_TIME_MS = 300.0
SPEED_MM_S = 12.0
IMAGING_MS = 50.0
"""From exposure to the decision."""

_REPORT_NS = 20 * NS_PER_MS
_RANGE_MM = 60.0
_VALIDITY_MS = 1000.0
_MAX_AGE_MS = 1000.0
_EPOCH_NS = 1000 * NS_PER_S
_SESSION = 1
_COUCH_FAULTS = (
    Reason.COUCH_FAULT
    | Reason.COUCH_TIMEOUT
    | Reason.COUCH_OFF_PATH
    | Reason.COUCH_MOVING
    | Reason.PREDICTOR_DIVERGED
)


@dataclass(frozen=True, eq=False)
class CouchRun:
    """How far a target was from plan with and without the couch following, from LEARN_S on.

    Attributes:
        time_s: (T,) every 20 ms.
        still_mm: (T, 3) displacement from plan without.
        following_mm: (T, 3) with.
        held: faults of couch or prediction that stopped the couch, by name.
    """

    time_s: Array
    still_mm: Array
    following_mm: Array
    held: tuple[str, ...]

    @property
    def residual_mm(self) -> tuple[float, float]:
        """RMS distance from plan without the couch and with it."""
        still, following = (
            float(np.sqrt((d**2).sum(axis=1).mean())) for d in (self.still_mm, self.following_mm)
        )
        return still, following

    @property
    def spread_mm(self) -> float:
        """RMS distance without the couch from the mean, as if planned there."""
        about_mean = self.still_mm - self.still_mm.mean(axis=0)
        return float(np.sqrt((about_mean**2).sum(axis=1).mean()))


def run_couch(trace: MotionTrace, kind: str, imaging_ms: float = IMAGING_MS) -> CouchRun:
    """Let a couch with 300 ms dead time and 12 mm/s follow a trace on all axes.

    Planned is where the target is on average in the first LEARN_S.

    Args:
        trace: where the target would be without the couch.
        kind: of the predictor.
        imaging_ms: from exposure to the decision.
    """
    planned_mm = trace.position_mm[trace.time_s < LEARN_S].mean(axis=0)
    session = Session(_parameters(planned_mm, kind), _SESSION)
    couch = CouchSimulator(CouchSimulatorParameters(DEAD_TIME_MS, SPEED_MM_S), _EPOCH_NS)
    session.couch(couch.advance(_EPOCH_NS), _EPOCH_NS)
    session.operate("arm", _EPOCH_NS)
    session.operate("track", _EPOCH_NS)
    frames_ns = _EPOCH_NS + np.round(trace.time_s * NS_PER_S).astype(np.int64)
    seen: dict[int, Array] = {}
    report_s, carried_mm = [], []
    held = Reason(0)
    for now_ns, what, index in _events(frames_ns, int(imaging_ms * NS_PER_MS)):
        if what == "expose":
            seen[index] = trace.position_mm[index] + couch.advance(now_ns).position_mm
        elif what == "report":
            status = couch.advance(now_ns)
            session.couch(status, now_ns)
            report_s.append((now_ns - _EPOCH_NS) / NS_PER_S)
            carried_mm.append(status.position_mm)
        else:
            answer = session.landmarks(landmark_set(seen.pop(index), int(frames_ns[index]), now_ns), now_ns)
            couch.command(answer.shift, now_ns)
            held |= answer.decision.reasons & _COUCH_FAULTS
    time_s = np.array(report_s)
    scored = (time_s >= LEARN_S) & (time_s <= trace.time_s[-1])
    still_mm = trace.at(time_s[scored]) - planned_mm
    names = tuple(str(r.name) for r in Reason if r & held)
    return CouchRun(time_s[scored], still_mm, still_mm + np.array(carried_mm)[scored], names)


def _parameters(planned_mm: Array, kind: str) -> GatingParameters:
    return GatingParameters(
        landmarks=("target",),
        references_mm=tuple(planned_mm.tolist()),
        window_lower_mm=(-2.0, -2.0, -2.0),
        window_upper_mm=(2.0, 2.0, 2.0),
        max_age_ms=_MAX_AGE_MS,
        resume_frames=1,
        predictor=PredictorParameters(kind=kind),
        couch=CouchParameters(
            axes=(True, True, True),
            response_ms=DEAD_TIME_MS,
            speed_limit_mm_s=SPEED_MM_S,
            range_mm=_RANGE_MM,
            validity_ms=_VALIDITY_MS,
        ),
    )


def _events(frames_ns: Array, latency_ns: int) -> Iterator[tuple[int, str, int]]:
    """Yield (time, what, frame) in order; at one time expose, report, then_decide."""
    reports = range(int(frames_ns[0]) + _REPORT_NS, int(frames_ns[-1]) + _REPORT_NS, _REPORT_NS)
    return heapq.merge(
        ((int(t), "expose", i) for i, t in enumerate(frames_ns)),
        ((t, "report", -1) for t in reports),
        ((int(t) + latency_ns, "then_decide", i) for i, t in enumerate(frames_ns)),
    )

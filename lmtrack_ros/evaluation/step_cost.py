"""What one frame costs the gate and the couch controller, beside a bare box test in the same run."""

import time
from typing import Any

import numpy as np

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.records import (
    NS_PER_MS,
    NS_PER_S,
    Estimate,
    GateState,
    LandmarkSet,
    LatencyStamps,
    Status,
)
from lmtrack_ros.gating.couch_controller import CouchParameters
from lmtrack_ros.gating.parameters import GatingParameters
from lmtrack_ros.gating.prediction import PredictorParameters
from lmtrack_ros.gating.session import Session
from lmtrack_ros.phantoms.couch import CouchSimulator, CouchSimulatorParameters

_FRAMES = 900
_INTERVAL_NS = NS_PER_S // 30
_LATENCY_NS = 40 * NS_PER_MS
_LANDMARKS = ("first", "second")
_PLANNED_MM = (0.0, 0.0, 0.0, 0.0, 0.0, 40.0)
_LIMITS_MM = (12.0, 12.0, 12.0)


def measure_step_cost() -> dict[str, Any]:
    """Time every frame of half a minute of breathing, at 30 Hz, two landmarks, the couch following.

    Returns:
        Median and 99th percentile, ms, of gate and couch controller together by kind of predictor, and of
        a bare box test of the same positions; the medians' ratios to that; the setting.

    Raises:
        UserError: the gate never opened, so that nothing worth timing was timed.
    """
    plain = _percentiles(_box_test_ms())
    steps = {
        kind: _percentiles(_gate_and_couch_ms(kind))
        for kind in ("none", "constant_velocity", "adaptive_linear")
    }
    return {
        "setting": f"{len(_LANDMARKS)} landmarks, box window, 30 Hz, couch tracking",
        "plain_box_test_ms": plain,
        "gate_and_couch_ms": steps,
        "ratio_p50": {kind: step["p50"] / plain["p50"] for kind, step in steps.items()},
    }


def _percentiles(milliseconds: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(milliseconds, (50, 99))
    return {"p50": float(p50), "p99": float(p99)}


def _landmarks(index: int, couch_mm: Array) -> LandmarkSet:
    stamp_ns = NS_PER_S + index * _INTERVAL_NS
    phase = 2 * np.pi * index / 120
    estimates = tuple(
        Estimate(
            name,
            Status.TRACKED,
            (10.0, 20.0),
            couch_mm + np.array([0.2 * np.sin(phase), 5.0 * np.cos(phase), 40.0 * i + np.sin(phase)]),
            np.eye(3),
            (True, True, True),
            confidence=0.9,
            radius_mm=0.5,
        )
        for i, name in enumerate(_LANDMARKS)
    )
    stamps = LatencyStamps(stamp_ns, stamp_ns + _LATENCY_NS // 2, stamp_ns + _LATENCY_NS - NS_PER_MS)
    return LandmarkSet(stamp_ns, estimates, stamps=stamps)


def _gate_and_couch_ms(kind: str) -> list[float]:
    parameters = GatingParameters(
        landmarks=_LANDMARKS,
        references_mm=_PLANNED_MM,
        window_lower_mm=tuple(-v for v in _LIMITS_MM),
        window_upper_mm=_LIMITS_MM,
        predictor=PredictorParameters(kind=kind),
        couch=CouchParameters(axes=(True, True, True), response_ms=50.0),
    )
    session = Session(parameters, session=1)
    couch = CouchSimulator(CouchSimulatorParameters(), NS_PER_S)
    session.operate("arm", NS_PER_S)
    session.operate("track", NS_PER_S)
    taken, opened = [], 0
    for index in range(_FRAMES):
        stamp_ns = NS_PER_S + index * _INTERVAL_NS
        status = couch.advance(stamp_ns)
        session.couch(status, stamp_ns)
        landmarks = _landmarks(index, status.position_mm)
        began_ns = time.perf_counter_ns()
        answer = session.landmarks(landmarks, stamp_ns + _LATENCY_NS)
        taken.append((time.perf_counter_ns() - began_ns) / NS_PER_MS)
        assert answer.decision is not None
        opened += answer.decision.state is GateState.BEAM_ON
        couch.command(answer.shift, stamp_ns + _LATENCY_NS)
    if opened < _FRAMES // 2:
        raise UserError(f"the gate was open for {opened} of {_FRAMES} frames only: this times nothing")
    return taken


def _box_test_ms() -> list[float]:
    """Time the least that any gate does: are these positions in that box?"""
    limits = np.array(_LIMITS_MM)
    planned = np.array(_PLANNED_MM).reshape(-1, 3)
    taken = []
    for index in range(_FRAMES):
        landmarks = _landmarks(index, np.zeros(3))
        began_ns = time.perf_counter_ns()
        displacements = np.array([e.position_mm for e in landmarks.estimates]) - planned
        bool((np.abs(displacements) < limits).all())
        taken.append((time.perf_counter_ns() - began_ns) / NS_PER_MS)
    return taken

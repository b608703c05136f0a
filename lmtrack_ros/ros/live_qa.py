"""Plays a programme to the live graph with a simulated beam on its decisions, and records it."""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmtrack_ros import interface
from lmtrack_ros.configuration import find_config, load
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.records import NS_PER_S
from lmtrack_ros.evaluation.live_gating import TOPICS, BeamLine
from lmtrack_ros.gating.consumer import BeamEnable
from lmtrack_ros.graph import describe
from lmtrack_ros.ros.operator import Operator
from lmtrack_ros.ros.processes import Processes

BEAM_MS = 100.0
WINDOW_MM = (-3.0, 3.0)
"""Along the body; up and down it is so wide that the motion never leaves it."""

CONFIG = "demo"
"""Whose settings the live graph has, but for the window and what is measured."""
_WIDE_MM = 10.0
_START_TIMEOUT_S = 60.0
_CALL_TIMEOUT_S = 10.0
_SETTLE_S = 1.0
# decisions wake the consumer; between them it only looks for ones that have lapsed
_POLL_S = 0.02
_CHECK_S = 0.5


@dataclass(frozen=True, eq=False)
class LiveRecord:
    """What a live run leaves.

    Attributes:
        recording: of its topics.
        line: what the reference consumer did.
        armed_ns: when the gate had been armed.
        planned_mm: (3,) planned position of the target in isocenter.
    """

    recording: Path
    line: BeamLine
    armed_ns: int
    planned_mm: Array


def play(
    folder: Path,
    trace: Path,
    kind: str,
    end_s: float,
    follow_from_s: float | None,
    say: Callable[[str], None],
) -> LiveRecord:
    """Start the graph of the demo with a phantom that follows a trace, and listen until it ends.

    Args:
        folder: for recording and logs; what an earlier run left there is replaced.
        trace: the phantom's motion.
        kind: of the predictor.
        end_s: when to stop, on the phantom's time.
        follow_from_s: when to let the couch follow; None: never.
        say: told what is being done.

    Raises:
        UserError: a node ends, or nothing comes in time.
    """
    recording = folder / "recording"
    for old in (recording, folder / "recording.partial"):
        shutil.rmtree(old, ignore_errors=True)
    config = find_config(CONFIG)
    sections = load(config)
    nodes = describe(config, _overrides(sections, trace, kind, recording))
    with Processes(nodes, log_directory=folder / "log") as processes, Operator() as operator:
        say(f"live, predictor {kind}: starting {len(nodes)} processes")
        began_ns = _await_start(folder, processes, operator)
        operator.spin(_SETTLE_S)
        operator.arm(_CALL_TIMEOUT_S)
        assert operator.decision is not None
        beam = _Beam(operator, operator.decision.session, sections["gating"]["max_age_ms"])
        armed_ns = time.time_ns()
        say(f"live, predictor {kind}: playing {end_s:.0f} s")
        beam.watch(processes, began_ns + int((follow_from_s or end_s) * NS_PER_S))
        if follow_from_s is not None:
            operator.set_couch_tracking(True, _CALL_TIMEOUT_S)
            beam.watch(processes, began_ns + int(end_s * NS_PER_S))
        operator.disarm(_CALL_TIMEOUT_S)
    references = np.array(sections["gating"]["references_mm"]).reshape(-1, 3)
    return LiveRecord(recording, beam.line(), armed_ns, references.mean(axis=0))


def _overrides(
    sections: Mapping[str, Mapping[str, Any]], trace: Path, kind: str, recording: Path
) -> dict[str, dict[str, Any]]:
    source, gating = sections["image_source"], sections["gating"]
    return {
        "image_source": {
            "phantom": {**source["phantom"], "motion": {"kind": "trace", "trace": str(trace.resolve())}}
        },
        "gating": {
            "window_lower_mm": [0.0, WINDOW_MM[0], -_WIDE_MM],
            "window_upper_mm": [0.0, WINDOW_MM[1], _WIDE_MM],
            "resume_frames": 1,
            "beam_latency_ms": BEAM_MS,
            "predictor": {"kind": kind},
            "couch": {
                **gating["couch"],
                "response_ms": sections["couch_simulator"]["dead_time_ms"],
            },
        },
        "recorder": {"path": str(recording.resolve()), "topics": list(TOPICS)},
    }


def _await_start(folder: Path, processes: Processes, operator: Operator) -> int:
    """Return the time of the phantom's first frame once everyone is heard."""
    until = time.monotonic() + _START_TIMEOUT_S
    began_ns = 0
    while not began_ns or operator.couch is None or operator.decision is None:
        processes.check()
        if time.monotonic() > until:
            raise UserError(f"no landmarks within {_START_TIMEOUT_S:g} s; see {folder / 'log'}")
        operator.spin_once()
        if operator.landmarks is not None:
            began_ns = began_ns or operator.landmarks.stamp_ns
    return began_ns


class _Beam:
    """The reference consumer on the live decisions, with a log of its line.

    Args:
        operator: to listen with.
        session: of the gate that was armed.
        validity_ms: longest time since a decision arrived.
    """

    def __init__(self, operator: Operator, session: int, validity_ms: float) -> None:
        self._operator = operator
        self._enable = BeamEnable(session, validity_ms)
        self._changes: list[tuple[int, bool]] = [(time.time_ns(), False)]
        operator.listen("gate", self._on_decision)

    def _on_decision(self, msg: Any) -> None:
        self._enable.receive(interface.read_gate_decision(msg), time.monotonic_ns())
        self._look()

    def _look(self) -> None:
        now_ns = time.time_ns()
        on = self._enable.beam_on(now_ns, time.monotonic_ns())
        if on != self._changes[-1][1]:
            self._changes.append((now_ns, on))

    def watch(self, processes: Processes, until_ns: int) -> None:
        """Keep the line up to date until a time."""
        check_s = 0.0
        while time.time_ns() < until_ns:
            self._operator.spin(_POLL_S)
            self._look()
            if time.monotonic() > check_s:
                processes.check()
                check_s = time.monotonic() + _CHECK_S

    def line(self) -> BeamLine:
        """Return what the line did."""
        changed, on = zip(*self._changes, strict=True)
        return BeamLine(np.array(changed, dtype=np.int64), np.array(on), BEAM_MS)

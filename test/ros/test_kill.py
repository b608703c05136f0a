"""Whatever process dies while the beam is on, the beam goes off in time."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lmtrack_ros import graph, interface
from lmtrack_ros.configuration import find_config
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import NS_PER_MS, GateDecision, GateState, Reason
from lmtrack_ros.gating.consumer import BeamEnable
from lmtrack_ros.gating.parameters import GatingParameters
from lmtrack_ros.ros.operator import Operator
from lmtrack_ros.ros.processes import Processes

MAX_AGE_MS = 300.0
# what the scheduler of a busy test machine may add to a deadline of the gate
SCHEDULING_MS = 100.0


@pytest.fixture
def graph_in_beam_on(domain: int, tmp_path: Path) -> Iterator[tuple[Processes, Operator]]:
    """The demo's graph as processes, with a window that the whole breath stays in, beam on."""
    nodes = yaml.safe_load(find_config("demo").read_text())
    gating = nodes["gating"]["ros__parameters"]
    gating |= {"window_lower_mm": [0.0, -20.0, -20.0], "window_upper_mm": [0.0, 20.0, 20.0]}
    gating["max_age_ms"] = MAX_AGE_MS
    config = tmp_path / "wide.yaml"
    config.write_text(yaml.safe_dump(nodes))
    with Processes(graph.live(config), log_directory=tmp_path) as processes, Operator() as operator:
        wait(processes, operator, lambda: operator.landmarks is not None)
        operator.arm(10.0)
        wait(processes, operator, lambda: newest(operator).state is GateState.BEAM_ON)
        yield processes, operator


def newest(operator: Operator) -> GateDecision:
    assert operator.decision is not None
    return operator.decision


def wait(processes: Processes | None, operator: Operator, condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 40.0
    while not condition():
        assert time.monotonic() < until, f"timed out; {operator.decision}"
        if processes is not None:
            processes.check()
        operator.spin_once()


def test_killed_tracker_holds_within_age_limit_and_tick(graph_in_beam_on: Any) -> None:
    processes, operator = graph_in_beam_on
    os.kill(processes.process_id("tracker"), signal.SIGKILL)
    wait(None, operator, lambda: newest(operator).state is GateState.HOLD)
    hold = newest(operator)
    assert Reason.TRACKER_SILENT in hold.reasons
    # a tick's decision carries the stamp of the last frame as its acquisition
    age_ms = (hold.stamp_ns - hold.stamps.acquired_ns) / NS_PER_MS
    assert MAX_AGE_MS < age_ms <= MAX_AGE_MS + GatingParameters().tick_ms + SCHEDULING_MS


def test_killed_gate_reads_as_hold_after_valid_until(graph_in_beam_on: Any) -> None:
    processes, operator = graph_in_beam_on
    beam = BeamEnable(newest(operator).session, validity_ms=MAX_AGE_MS)
    wait(processes, operator, lambda: newest(operator).state is GateState.BEAM_ON)
    beam.receive(newest(operator), time.monotonic_ns())
    assert beam.beam_on(time.time_ns(), time.monotonic_ns())

    os.kill(processes.process_id("gating"), signal.SIGKILL)
    operator.spin(0.1)
    beam.receive(newest(operator), time.monotonic_ns())
    last = newest(operator)
    while time.time_ns() < last.valid_until_ns + 200 * NS_PER_MS:
        operator.spin_once()
        beam.receive(newest(operator), time.monotonic_ns())
        now_ns = time.time_ns()
        if now_ns >= newest(operator).valid_until_ns:
            assert not beam.beam_on(now_ns, time.monotonic_ns())
    assert newest(operator).sequence == last.sequence, "the killed gate still decides"


def test_stopping_the_graph_ends_in_a_last_hold(graph_in_beam_on: Any) -> None:
    processes, operator = graph_in_beam_on
    os.kill(processes.process_id("gating"), signal.SIGINT)
    wait(None, operator, lambda: Reason.SHUTDOWN in newest(operator).reasons)
    assert newest(operator).state is GateState.HOLD


def test_a_source_that_breaks_is_named(domain: int, tmp_path: Path) -> None:
    """A node that ends by itself is reported with the last line that it said."""
    nodes = graph.live(find_config("liver_ultrasound"), uri=str(tmp_path / "nowhere"))
    with Processes(nodes, log_directory=tmp_path) as processes:
        message = failure(processes)
    assert "node 'image_source' ended with exit code 2" in message
    assert "nowhere does not exist" in message


def failure(processes: Processes) -> str:
    until = time.monotonic() + 30.0
    while time.monotonic() < until:
        try:
            processes.check()
        except UserError as error:
            return str(error)
        time.sleep(0.05)
    return "no node has ended"


def test_messages_default_to_hold(domain: int) -> None:
    """Default-constructed messages read as records that move nothing."""
    from lmtrack_ros.msg import CouchShift, GateDecision, LandmarkEstimate

    assert interface.read_gate_decision(GateDecision()).state is GateState.HOLD
    assert interface.read_couch_shift(CouchShift()).mode == 0
    assert LandmarkEstimate().status == LandmarkEstimate.LOST

"""Runs faults against a live graph and sees how it answers."""

import os
import resource
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from lmtrack_ros.configuration import load
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.parameters import build
from lmtrack_ros.core.records import LATCHING, NS_PER_MS, NS_PER_S, GateState, Reason
from lmtrack_ros.evaluation.faults import Fault, Reaction, Run, budget_ms
from lmtrack_ros.gating.parameters import GatingParameters
from lmtrack_ros.graph import START_ORDER, NodeDescription, describe
from lmtrack_ros.phantoms import open_phantom
from lmtrack_ros.recording import PARTIAL_SUFFIX, recover
from lmtrack_ros.ros.fault_injector import CLOCK, REMAPPINGS, FaultInjector
from lmtrack_ros.ros.processes import Processes
from lmtrack_ros.sources.parameters import SourceParameters

FOLDERS = ("log_", "recording_")
"""How the names of the folders begin that the bench leaves."""

_URI = "phantom:ultrasound"
# the whole breath, and a couch that has gone astray, stay inside
_WINDOW_MM = 30.0
_START_TIMEOUT_S = 60.0
_CALL_TIMEOUT_S = 10.0
_BEAM_TIMEOUT_S = 30.0
_RESUME_TIMEOUT_S = 4.0
_FIRST_MESSAGE_TIMEOUT_S = 5.0
_STEADY_S = 0.4
_POLL_S = 0.02
_FOLLOWING_S = 1.0
_STILL_HELD_S = 1.0
_REMARK_S = 1.0
_ATTEMPTS = 3
_JUMP_S = 1.0
_STOPPED_S, _RUNNING_S = 0.4, 0.1
_ROOM_BYTES = 64 * 1024
_SECOND_GATE = "second_gating"
_RECORDED = ("image", "image_geometry", "landmarks", "gate", "couch_status", "couch_shift")


class FaultBench:
    """The live graph, with a relay between its nodes; a context manager.

    In a namespace of its own: no other graph on the network hears of it.

    Args:
        config: parameter file of a graph with the ultrasound phantom.
        out: folder for logs and recordings.

    Raises:
        UserError: the configuration is wrong, or not of such a graph.
    """

    def __init__(self, config: Path, out: Path) -> None:
        sections = load(config)
        for name in START_ORDER:
            if name not in sections and name != "recorder":
                raise UserError(f"{config}: faults need a section '{name}'")
        source = build(SourceParameters, sections["image_source"], "image_source")
        if source.uri != _URI:
            raise UserError(f"{config}: faults need the image source '{_URI}', not '{source.uri}'")
        gating = build(GatingParameters, sections["gating"], "gating")
        self.rate_hz = open_phantom("ultrasound", source.phantom).info.rate_hz
        self.max_age_ms = gating.max_age_ms
        self._out = out
        self._graphs = 0
        self._tried = False
        self._recordings = 0
        self._namespace = f"faults_{os.getpid()}"
        overrides = {
            "gating": {
                "window_lower_mm": [-_WINDOW_MM] * 3,
                "window_upper_mm": [_WINDOW_MM] * 3,
                "couch": {**sections["gating"].get("couch", {}), "tracking": False},
            },
            "recorder": {"path": "recording", "topics": list(_RECORDED)},
        }
        self._nodes = {
            node.name: replace(node, remappings=REMAPPINGS.get(node.name, {}))
            for node in describe(config, overrides)
        }
        self._gate_on_simulated_time = False
        self._strikes: Mapping[str, Callable[[Fault], int]] = {
            "clock-forward": lambda fault: self._jump(fault, _JUMP_S),
            "clock-back": lambda fault: self._jump(fault, -_JUMP_S),
            "tracker-slow": self._slow_down_tracker,
            "tracker-killed": self._kill_tracker,
            "gate-killed": self._kill_gate,
            "two-gates": self._start_second_gate,
            "disk-full": self._fill_disk,
        }

    @property
    def budget_ms(self) -> float:
        """The longest time from a fault to the hold."""
        return budget_ms(self.rate_hz, self.max_age_ms)

    @property
    def setting(self) -> str:
        """What is injected into, in words."""
        return f"the ultrasound phantom at {self.rate_hz:g} Hz, age limit {self.max_age_ms:g} ms"

    # the graph -----------------------------------------------------------------------------------

    def __enter__(self) -> "FaultBench":
        with ExitStack() as stack:
            self.injector = stack.enter_context(FaultInjector(self._namespace, self.max_age_ms))
            self._gate_on_simulated_time = False
            self._graphs += 1
            self.processes = stack.enter_context(
                Processes(
                    [self._description(n) for n in self._nodes if n != "recorder"],
                    self._namespace,
                    self._log_directory,
                )
            )
            self._stack = stack.pop_all()
        try:
            self._await(lambda: self.injector.heard_ns("landmarks") > 0, _START_TIMEOUT_S, "no landmarks")
            self._await(lambda: self.injector.watch.newest is not None, _START_TIMEOUT_S, "no gate")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _restart_all(self) -> None:
        self.__exit__()
        self.__enter__()

    @property
    def _log_directory(self) -> Path:
        return self._out / f"{FOLDERS[0]}{self._graphs}"

    def _description(self, name: str) -> NodeDescription:
        node = self._nodes[name]
        if name == "recorder":
            # it refuses to write where an earlier one has
            self._recordings += 1
            path = self._out / f"{FOLDERS[1]}{self._recordings}"
            return replace(node, parameters={**node.parameters, "path": str(path)})
        if name == "gating" and self._gate_on_simulated_time:
            return replace(
                node, parameters={**node.parameters, "use_sim_time": True}, remappings={"/clock": CLOCK}
            )
        return node

    def start_again(self, name: str) -> None:
        """Start a node that does not run."""
        self.processes.start(self._description(name))

    def _require_gate(self, simulated: bool) -> None:
        """Have the gate on simulated time or on the machine's."""
        if simulated != self._gate_on_simulated_time:
            self.processes.end("gating")
            self._gate_on_simulated_time = simulated
            self.injector.set_clock(0.0 if simulated else None)
            self._await_new_gate(lambda: self.start_again("gating"))

    def _await_new_gate(self, start: Callable[[], None]) -> None:
        before = self.injector.watch.newest
        old = before.session if before else 0
        start()

        def decides() -> bool:
            decision = self.injector.watch.newest
            return decision is not None and decision.session != old

        self._await(decides, _START_TIMEOUT_S, "no decision of the new gate")

    def _await(self, condition: Callable[[], bool], timeout_s: float, otherwise: str) -> None:
        until = time.monotonic() + timeout_s
        marked_s = time.monotonic()
        while not condition():
            self.processes.check()
            if time.monotonic() > until:
                raise UserError(f"{otherwise} within {timeout_s:g} s; see {self._log_directory}")
            if time.monotonic() - max(self.injector.heard_ns("landmarks") / NS_PER_S, marked_s) > _REMARK_S:
                marked_s = time.monotonic()
                self.injector.mark_landmarks()
            time.sleep(_POLL_S)

    def wait(self, seconds: float) -> None:
        """Let time pass, as long as every node runs.

        Raises:
            UserError: one has ended by itself.
        """
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.processes.check()
            time.sleep(min(left, _POLL_S))

    # the beam ------------------------------------------------------------------------------------

    def bring_beam_on(self) -> None:
        """Do what an operator does until the beam is on and stays on.

        Raises:
            UserError: it does not come on.
        """
        until = time.monotonic() + _BEAM_TIMEOUT_S
        said = ""
        while not self._steady():
            self.wait(0.05)
            if time.monotonic() > until:
                raise UserError(f"the beam does not come on: {said or self._standing()}")
            if self._lacks_landmarks():
                self.injector.mark_landmarks()
                self.wait(_REMARK_S)
            try:
                self._attend()
                said = ""
            except UserError as error:
                said = str(error)

    def _lacks_landmarks(self) -> bool:
        """Whether frames come and nothing is found in them, as after a restart of the tracker."""
        since_ns = time.monotonic_ns() - int(_REMARK_S * NS_PER_S)
        return self.injector.heard_ns("landmarks") < since_ns < self.injector.heard_ns("image")

    def _attend(self) -> None:
        """Acknowledge and arm where that is asked for."""
        decision = self.injector.watch.newest
        if decision is None or decision.state is GateState.BEAM_ON:
            return
        if decision.reasons & LATCHING:
            self.injector.acknowledge(_CALL_TIMEOUT_S)
        if decision.reasons & Reason.NOT_ARMED:
            self.injector.arm(_CALL_TIMEOUT_S)
        if decision.session != self.injector.watch.session:
            self.injector.watch.arm(decision.session)

    def _steady(self) -> bool:
        since_ns = self.injector.watch.on_since_ns()
        return since_ns is not None and time.monotonic_ns() - since_ns > _STEADY_S * NS_PER_S

    def _standing(self) -> str:
        decision = self.injector.watch.newest
        return "no decision" if decision is None else str(decision.reasons.name or decision.reasons)

    # one run -------------------------------------------------------------------------------------

    def run(self, fault: Fault) -> Run:
        """Inject a fault once, and bring the beam back; the graph is started anew where that fails."""
        self._tried = False
        try:
            return self._run(fault)
        except UserError as error:
            self._restart_all()
            note = str(error) if self._tried else f"not tried: {error}"
            return Run(None, Reason(0), resumed_by_itself=False, recovered=False, note=note)

    def _run(self, fault: Fault) -> Run:
        watch = self.injector.watch
        self._require_gate(simulated=fault.where == "clock")
        for _ in range(_ATTEMPTS):
            self.bring_beam_on()
            if fault.couch_tracking:
                self.injector.set_couch_tracking(True, _CALL_TIMEOUT_S)
                self.wait(_FOLLOWING_S)
                self.bring_beam_on()
            watch.forget()
            self._tried = True
            injected_ns = self._strike(fault)
            held_ns = watch.off_after_ns(injected_ns)
            # on a busy machine the beam may have been held just before
            if held_ns != injected_ns or fault.name == "two-gates":
                break
            self.bring_beam_on()
        else:
            raise UserError("the beam was not on at the time of the fault")
        ended_ns = time.monotonic_ns()
        resumed = self._settle(fault, held_ns, ended_ns)
        diagnosed = fault.reaction is Reaction.DIAGNOSE and self._was_told(fault)
        held_ns = watch.off_after_ns(injected_ns)
        reasons = watch.reasons_after(injected_ns)
        if fault.couch_tracking:
            self.injector.set_couch_tracking(False, _CALL_TIMEOUT_S)
        note = ""
        try:
            self.bring_beam_on()
        except UserError as error:
            note = str(error)
            self._restart_all()
        return Run(
            hold_ms=None if held_ns is None else (held_ns - injected_ns) / NS_PER_MS,
            reasons=reasons,
            resumed_by_itself=resumed,
            recovered=not note,
            diagnosed=diagnosed,
            note=note,
        )

    def _settle(self, fault: Fault, held_ns: int | None, ended_ns: int) -> bool:
        """Wait, the fault having ended, and return whether the beam has come back by itself."""
        watch = self.injector.watch
        if fault.reaction is Reaction.HOLD:
            until = time.monotonic() + _RESUME_TIMEOUT_S
            while watch.on_since_ns() is None and time.monotonic() < until:
                self.wait(0.02)
            return watch.on_since_ns() is not None
        self.wait(_STILL_HELD_S)
        return held_ns is not None and watch.on_after_ns(held_ns) is not None

    # striking ------------------------------------------------------------------------------------

    def _strike(self, fault: Fault) -> int:
        """Have the fault begin and end; returns when it began, on the monotonic clock, ns."""
        if fault.transformation is None:
            return self._strikes[fault.name](fault)
        self.injector.inject(fault.where, fault.transformation)
        try:
            self._await(
                lambda: self.injector.injected_ns is not None,
                _FIRST_MESSAGE_TIMEOUT_S,
                f"nothing on '{fault.where}'",
            )
            self.wait(fault.duration_s)
        finally:
            self.injector.clear()
        assert self.injector.injected_ns is not None
        return self.injector.injected_ns

    def _jump(self, fault: Fault, offset_s: float) -> int:
        injected_ns = self.injector.set_clock(offset_s)
        self.wait(fault.duration_s)
        self.injector.set_clock(0.0)
        return injected_ns

    def _slow_down_tracker(self, fault: Fault) -> int:
        process = self.processes.process_id("tracker")
        injected_ns = time.monotonic_ns()
        while time.monotonic_ns() - injected_ns < fault.duration_s * NS_PER_S:
            os.kill(process, signal.SIGSTOP)
            try:
                self.wait(_STOPPED_S)
            finally:
                os.kill(process, signal.SIGCONT)
            self.wait(_RUNNING_S)
        return injected_ns

    def kill(self, name: str) -> int:
        """Kill a node; returns when, on the monotonic clock, ns."""
        killed_ns = time.monotonic_ns()
        self.processes.kill(name)
        return killed_ns

    def restart(self, name: str) -> None:
        """Start a node that was killed, and wait until it is heard of.

        Raises:
            UserError: it is not, in time.
        """
        if name == "gating":
            self._await_new_gate(lambda: self.start_again(name))
            return
        self.start_again(name)
        started_ns = time.monotonic_ns()
        topic = {"tracker": "landmarks", "image_source": "image"}.get(name, "couch_status")
        heard = self.injector.heard_ns
        self._await(lambda: heard(topic) > started_ns, _START_TIMEOUT_S, f"nothing on '{topic}'")

    def _kill_tracker(self, fault: Fault) -> int:
        return self._kill_and_restart("tracker", fault)

    def _kill_gate(self, fault: Fault) -> int:
        return self._kill_and_restart("gating", fault)

    def _kill_and_restart(self, name: str, fault: Fault) -> int:
        injected_ns = self.kill(name)
        self.wait(fault.duration_s)
        self.restart(name)
        return injected_ns

    def _start_second_gate(self, fault: Fault) -> int:
        node = replace(self._description("gating"), remappings={"__node": _SECOND_GATE})
        self.processes.start(node, _SECOND_GATE)
        try:
            foreign = self.injector.watch.foreign_ns
            self._await(lambda: foreign() is not None, _START_TIMEOUT_S, "the second gate says nothing")
            self.wait(fault.duration_s)
        finally:
            self.processes.end(_SECOND_GATE)
        began_ns = foreign()
        assert began_ns is not None
        return began_ns

    def _fill_disk(self, fault: Fault) -> int:
        """Start a recorder and let it write only so much more, as a full disk would."""
        self.start_again("recorder")

        def storage() -> Path | None:
            return next(self._partial.glob("*/*.mcap"), None)

        def records() -> bool:
            file = storage()
            return file is not None and file.stat().st_size > _ROOM_BYTES

        self._await(records, _START_TIMEOUT_S, "nothing is recorded")
        self.bring_beam_on()
        file = storage()
        assert file is not None
        room = file.stat().st_size + _ROOM_BYTES
        injected_ns = time.monotonic_ns()
        resource.prlimit(self.processes.process_id("recorder"), resource.RLIMIT_FSIZE, (room, room))
        self.wait(fault.duration_s)
        return injected_ns

    @property
    def _partial(self) -> Path:
        return self._out / f"{FOLDERS[1]}{self._recordings}{PARTIAL_SUFFIX}"

    def _was_told(self, fault: Fault) -> bool:
        """Return whether the recorder has said that it cannot write, and what it wrote can be read."""
        self.processes.end("recorder")
        partial = self._partial
        try:
            saved = recover(partial, partial.with_suffix(".saved")) if partial.is_dir() else 0
        except UserError:
            saved = 0
        said = self.processes.log_file("recorder").read_text(errors="replace")
        return saved > 0 and "File too large" in said

"""``lmtrack demo``: the whole job on a phantom, as live processes."""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.text import Text

from lmtrack_ros.configuration import find_config, load
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.parameters import build
from lmtrack_ros.core.records import NS_PER_MS, GateState, names
from lmtrack_ros.gating.gate import Gate
from lmtrack_ros.gating.parameters import GatingParameters
from lmtrack_ros.graph import describe
from lmtrack_ros.ros.operator import Operator
from lmtrack_ros.ros.processes import Processes

_CONFIG = "demo"
_START_TIMEOUT_S = 60.0
_CALL_TIMEOUT_S = 10.0
_PLAIN_PERIOD_S = 2.0
_SETTLE_S = 1.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for recording and picture")
    parser.add_argument("--still", type=float, default=12.0, metavar="S", help="seconds with the couch still")
    parser.add_argument(
        "--tracking",
        type=float,
        default=24.0,
        metavar="S",
        help="seconds with the couch following the target",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo and print its summary."""
    if not (arguments.still > 0 and arguments.tracking > 0):
        raise UserError("--still and --tracking must be positive, in seconds")
    config = find_config(_CONFIG)
    parameters = load(config)
    planned_mm = _planned_mm(parameters)
    recording = _fresh_recording(arguments.out)
    nodes = describe(config, {"recorder": {"path": str(recording)}})
    status = _StatusLine(planned_mm)
    armed = False
    try:
        with (
            status,
            Processes(nodes, log_directory=arguments.out / "log") as processes,
            Operator() as operator,
        ):
            _await_landmarks(arguments.out, processes, operator, status)
            operator.arm(_CALL_TIMEOUT_S)
            armed = True
            _watch("couch still", arguments.still, processes, operator, status)
            operator.set_couch_tracking(True, _CALL_TIMEOUT_S)
            _watch("couch tracking", arguments.tracking, processes, operator, status)
    except KeyboardInterrupt:
        if not armed:
            sys.stderr.write("stopped before the gate was armed\n")
            return 0
        sys.stderr.write("stopped; the gate has said HOLD\n")
    return _report(arguments, parameters, planned_mm, recording)


def _await_landmarks(out: Path, processes: Processes, operator: Operator, status: "_StatusLine") -> None:
    status.say("starting 5 processes")
    until = time.monotonic() + _START_TIMEOUT_S
    while operator.landmarks is None or operator.couch is None or operator.decision is None:
        processes.check()
        if time.monotonic() > until:
            raise UserError(f"no landmarks within {_START_TIMEOUT_S:g} s; see {out / 'log'}")
        operator.spin_once()
    operator.spin(_SETTLE_S)


def _watch(
    phase: str, seconds: float, processes: Processes, operator: Operator, status: "_StatusLine"
) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        processes.check()
        operator.spin_once()
        status.show(phase, left, operator)


class _StatusLine:
    """One line that follows the run on a terminal; a plain line now and then elsewhere.

    Args:
        planned_mm: (3,) planned position of the target in isocenter.
    """

    def __init__(self, planned_mm: Array) -> None:
        self._planned_mm = planned_mm
        console = Console(stderr=True)
        self._live = (
            Live(console=console, refresh_per_second=8, transient=True) if console.is_terminal else None
        )
        self._next_s = 0.0

    def __enter__(self) -> "_StatusLine":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """Show a line."""
        if self._live:
            self._live.update(Text(text))
        else:
            sys.stderr.write(text + "\n")

    def show(self, phase: str, left_s: float, operator: Operator) -> None:
        """Show the state of the loop."""
        if not self._live and time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + _PLAIN_PERIOD_S
        decision, couch = operator.decision, operator.couch
        assert decision is not None
        assert couch is not None
        on = decision.state is GateState.BEAM_ON
        why = "" if on else names(decision.reasons)
        line = Text(f"{phase} {left_s:4.0f} s  ")
        line.append("BEAM ON" if on else "HOLD   ", style="bold green" if on else "bold red")
        if decision.stamps.received_ns:
            off_plan_mm = decision.target_mm[1] - self._planned_mm[1]
            latency_ms = (decision.stamps.decided_ns - decision.stamps.acquired_ns) / NS_PER_MS
            line.append(f"  target y {off_plan_mm:+6.1f} mm off plan  {latency_ms:4.0f} ms")
        line.append(f"  couch y {couch.position_mm[1]:+6.1f} mm  {why}")
        if self._live:
            self._live.update(line)
        else:
            self.say(line.plain)


def _fresh_recording(out: Path) -> Path:
    """Return the path to record to, with what an earlier demo left there removed."""
    if (out / "recording").exists() and not (out / "log").is_dir():
        raise UserError(f"{out / 'recording'} is not of an earlier demo: name another folder with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for old in (out / "recording", out / "recording.partial"):
            if old.is_dir():
                shutil.rmtree(old)
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}") from error
    return out / "recording"


def _planned_mm(parameters: Mapping[str, Any]) -> Array:
    """Return the (3,) planned position of the target in isocenter."""
    gate = Gate(build(GatingParameters, parameters["gating"], "gating"), session=1)
    planned: Array = np.mean(list(gate.references_mm.values()), axis=0)
    return planned


def _report(
    arguments: argparse.Namespace, parameters: Mapping[str, Any], planned_mm: Array, recording: Path
) -> int:
    # imported here: matplotlib would delay the start
    from lmtrack_ros.evaluation.closed_loop import read_closed_loop, summarize
    from lmtrack_ros.evaluation.closed_loop_picture import draw_closed_loop

    breathing = parameters["image_source"]["phantom"]["motion"]
    settings = {
        "breathing_peak_to_peak_mm": breathing["peak_to_peak_mm"],
        "breathing_period_s": breathing["period_s"],
        "imaging_latency_ms": parameters["image_source"]["imaging_latency_ms"],
        "couch_dead_time_ms": parameters["couch_simulator"]["dead_time_ms"],
        "couch_speed_mm_s": parameters["couch_simulator"]["speed_mm_s"],
        "frame_rate_hz": parameters["image_source"]["phantom"]["rate_hz"],
        "tracker": parameters["tracker"]["tracker"],
    }
    loop = read_closed_loop(recording, planned_mm)
    summary = {"settings": settings, **summarize(loop, breathing["period_s"])}
    picture = arguments.out / "demo.png"
    setting = (
        f"{settings['breathing_peak_to_peak_mm']:g} mm in {settings['breathing_period_s']:g} s, "
        f"frames {settings['imaging_latency_ms']:g} ms after exposure, "
        f"couch {settings['couch_dead_time_ms']:g} ms dead time, {settings['couch_speed_mm_s']:g} mm/s"
    )
    draw_closed_loop(loop, f"Simulated breathing ultrasound phantom: {setting}", picture)
    summary["recording"], summary["picture"] = str(recording), str(picture)
    if arguments.json:
        sys.stdout.write(json.dumps(summary, allow_nan=False) + "\n")
    else:
        sys.stdout.write(_text(summary, setting))
    return 0


def _text(summary: Mapping[str, Any], setting: str) -> str:
    def number(name: str) -> str:
        return "none" if summary[name] is None else f"{summary[name]:.2f}"

    latency, error = summary["latency_ms"], summary["tracking_error_mm"]
    return f"""
Simulated phantom: {setting}
frames           published {summary["frames_published"]}, tracked {summary["frames_tracked"]}, \
skipped {summary["frames_skipped"]}
latency          p50 {latency["p50"]:.1f}, p95 {latency["p95"]:.1f}, p99 {latency["p99"]:.1f}, \
max {latency["max"]:.1f} ms, acquisition to decision
tracking error   mean {error["mean"]:.2f}, p95 {error["p95"]:.2f}, max {error["max"]:.2f} mm
duty cycle       {number("duty_cycle")} (couch still {number("duty_cycle_couch_still")}, \
tracking {number("duty_cycle_couch_tracking")})
residual motion  RMS {number("residual_rms_mm_couch_still")} mm with the couch still, \
{number("residual_rms_mm_couch_tracking")} mm with it tracking ({number("residual_ratio")} of it)
ended in         {summary["ended_in"]}
recording        {summary["recording"]}
picture          {summary["picture"]}
"""

"""``lmtrack qa``: how well gate, prediction and couch do on a phantom, in lock-step and live."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lmtrack_ros
from lmtrack_ros.configuration import find_config, load
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.evaluation.gating_qa import POOLED_FROM_MM
from lmtrack_ros.evaluation.live_gating import (
    HOLD_LIMIT_MS,
    LOOP_LIMIT_MS,
    LiveRun,
    beam_figures,
    couch_figures,
    latency_figures,
    read_live_run,
)
from lmtrack_ros.evaluation.lock_step_qa import ADAPTIVE, NONE, Goal, goals, run_lock_step, summary
from lmtrack_ros.evaluation.motion_traces import MotionTrace, generated_traces, read_traces
from lmtrack_ros.evaluation.overlay import atomic_file
from lmtrack_ros.evaluation.programme import Programme, make_programme
from lmtrack_ros.phantoms.motion import write_trace

_MIN_LIVE_S = 20.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--traces",
        type=Path,
        metavar="DIR",
        help="folder of CSV files with time_s, x_mm, y_mm, z_mm, 60 s or longer; default: generated traces",
    )
    parser.add_argument("--out", type=Path, default=Path("out/qa"), metavar="DIR", help="default: out/qa")
    parser.add_argument(
        "--live",
        type=float,
        default=90.0,
        metavar="S",
        help="seconds of motion through the live graph, played once and its first half once more; 0: none",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Check, and write the figures and the page."""
    if arguments.live and not arguments.live >= _MIN_LIVE_S:
        raise UserError(f"--live must be 0, or {_MIN_LIVE_S:g} s or more")
    traces = read_traces(arguments.traces) if arguments.traces else generated_traces()
    if not any(t.peak_to_peak_mm >= POOLED_FROM_MM for t in traces):
        raise UserError(f"no trace moves by {POOLED_FROM_MM:g} mm or more: there is nothing to gate")
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to '{arguments.out}': {error.strerror}") from error
    done = run_lock_step(traces, _say)
    result: dict[str, Any] = {
        "version": lmtrack_ros.__version__,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "motion": _what_moves(arguments.traces, len(traces)),
        "lock_step": summary(done),
    }
    reached = goals(done)
    live: dict[str, LiveRun] = {}
    programme = None
    if arguments.live:
        programme = make_programme(arguments.live, _excerpt(traces))
        live, result["live"] = _run_live(arguments.out, programme)
        reached += _live_goals(result["live"]["runs"])
    result["goals"] = [{"goal": g.text, "found": g.value, "passed": g.passed} for g in reached]
    text = json.dumps(result, allow_nan=False)
    with atomic_file(arguments.out / "qa.json") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    # imported here: matplotlib would delay the start
    from lmtrack_ros.evaluation.qa_page import write_page

    write_page(arguments.out / "qa.html", result, reached, done, live, programme)
    if arguments.json:
        sys.stdout.write(text + "\n")
    else:
        for goal in reached:
            sys.stdout.write(f"{'pass' if goal.passed else 'FAIL'}  {goal.text}: {goal.value}\n")
        sys.stdout.write(f"page  {arguments.out / 'qa.html'}\n")
    return 0


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _what_moves(folder: Path | None, count: int) -> str:
    if folder is None:
        return f"The {count} motion traces are generated: sines and one irregular trace, always the same."
    return (
        f"The {count} motion traces are those of '{folder.resolve().name}'; traces of markers on the "
        "skin, such as those of volunteers, are external surface motion, not motion of a tumour."
    )


def _excerpt(traces: tuple[MotionTrace, ...]) -> MotionTrace:
    """Return the pooled trace of median extent, for the live programme."""
    moving = sorted(
        (t for t in traces if t.peak_to_peak_mm >= POOLED_FROM_MM), key=lambda t: t.peak_to_peak_mm
    )
    return moving[len(moving) // 2]


def _run_live(out: Path, programme: Programme) -> tuple[dict[str, LiveRun], dict[str, Any]]:
    """Play the sines without prediction and the whole programme with; return the runs and their figures."""
    from lmtrack_ros.ros.live_qa import BEAM_MS, CONFIG, WINDOW_MM, play

    path = out / "programme.csv"
    write_trace(path, programme.time_s, programme.position_mm)
    loads = [os.getloadavg()[0]]
    runs = {}
    whole_s = programme.recorded_s[1]
    for kind, end_s, follow_s in (
        (NONE, programme.sines_s[1], None),
        (ADAPTIVE, whole_s, programme.recorded_s[0]),
    ):
        record = play(out / f"live_{kind}", path, kind, end_s, follow_s, _say)
        runs[kind] = read_live_run(
            record.recording, record.planned_mm, WINDOW_MM, record.line, record.armed_ns
        )
        loads.append(os.getloadavg()[0])
    source = load(find_config(CONFIG))["image_source"]
    return runs, {
        "beam_latency_ms": BEAM_MS,
        "imaging_latency_ms": source["imaging_latency_ms"],
        "frame_rate_hz": source["phantom"]["rate_hz"],
        "window_mm": list(WINDOW_MM),
        "hold_limit_ms": HOLD_LIMIT_MS,
        "loop_limit_ms": LOOP_LIMIT_MS,
        "load": ", ".join(f"{load_1min:.1f}" for load_1min in loads) + f" on {os.cpu_count()} cores",
        "runs": {kind: _live_figures(run, programme) for kind, run in runs.items()},
    }


def _live_figures(run: LiveRun, programme: Programme) -> dict[str, Any]:
    parts = {"sines": programme.sines_s, "irregular": programme.irregular_s}
    result: dict[str, Any] = {
        "latency": latency_figures(run, programme),
        "beam": {name: beam_figures(run, part) for name, part in parts.items() if part[1] <= run.time_s[-1]},
    }
    if programme.recorded_s[0] < run.time_s[-1]:
        result["couch"] = couch_figures(run, programme.recorded_s)
    return result


def _live_goals(runs: Mapping[str, Mapping[str, Any]]) -> list[Goal]:
    latency = runs[NONE]["latency"]
    hold, fits = latency["hold_ms"], [latency["on"], latency["off"]]
    result = [
        Goal(
            f"Live: HOLD at the consumer within {HOLD_LIMIT_MS:g} ms of the exposure of the first frame "
            "outside, every time",
            f"{hold['p50']:.0f} ms median, {hold['max']:.0f} ms at most, {hold['count']} crossings"
            if hold["count"]
            else "no crossing was seen",
            bool(hold["count"]) and hold["max"] <= HOLD_LIMIT_MS,
        )
    ]
    if all(fits):
        found = f"on {fits[0]['latency_ms']:.0f} ms, off {fits[1]['latency_ms']:.0f} ms without prediction"
        passed = all(f["latency_interval_ms"][1] <= LOOP_LIMIT_MS for f in fits)
    else:
        found, passed = "too few crossings to say", False
    text = f"Live: the whole loop, from motion to beam, within {LOOP_LIMIT_MS:g} ms by the moving target"
    return [*result, Goal(text, found, passed)]

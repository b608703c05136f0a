"""``lmtrack bench``: speed as ratios within one run, for machines are noisy."""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.evaluation.rendering_speed import measure_rendering
from lmtrack_ros.evaluation.step_cost import measure_step_cost
from lmtrack_ros.evaluation.tracking_speed import SETTINGS, measure_tracking
from lmtrack_ros.evaluation.volume_speed import measure_volumes
from lmtrack_ros.evaluation.window_cost import measure_window
from lmtrack_ros.ros.benchmark import measure


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--frames", type=int, default=300, help="how many frames")
    parser.add_argument("--rate-hz", type=float, default=30.0, help="at which rate")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    if arguments.frames < 1 or not arguments.rate_hz > 0:
        raise UserError("--frames and --rate-hz must be positive")
    step_cost = measure_step_cost()
    rendering = measure_rendering()
    tracking = {model: measure_tracking(model) for model in SETTINGS}
    window = measure_window()
    volumes = measure_volumes()
    with tempfile.TemporaryDirectory() as directory:
        transport = measure(arguments.frames, arguments.rate_hz, Path(directory))
    result = {
        "cores": os.cpu_count(),
        **transport,
        "step_cost": step_cost,
        "rendering": rendering,
        "tracking": tracking,
        "stream_beside_window": window,
        "volumes": volumes,
    }
    if arguments.json:
        sys.stdout.write(json.dumps(result) + "\n")
        return 0
    for name in ("plain_rclpy", "acquisition_to_decision_without_tracker"):
        part, latency = result[name], result[name]["latency_ms"]
        sys.stdout.write(
            f"{name:42} {part['received']} of {part['sent']} frames, p50 {latency['p50']:.1f}, "
            f"p95 {latency['p95']:.1f}, p99 {latency['p99']:.1f}, max {latency['max']:.1f} ms\n"
        )
    sys.stdout.write(f"ratio p50 {result['ratio']['p50']:.2f}, p99 {result['ratio']['p99']:.2f}\n")
    sys.stdout.write(
        f"one frame's cost, {step_cost['setting']}; bare box test p50 "
        f"{step_cost['plain_box_test_ms']['p50']:.3f} ms\n"
    )
    for kind, cost in step_cost["gate_and_couch_ms"].items():
        sys.stdout.write(
            f"  predictor {kind:20} p50 {cost['p50']:.3f}, p99 {cost['p99']:.3f} ms, "
            f"{step_cost['ratio_p50'][kind]:.0f} box tests\n"
        )
    sys.stdout.write(
        "phantoms, beside plain ray sampling of 160³ voxels at 128 x 128 px: "
        f"{rendering['plain_ray_sampling_128_ms']:.0f} ms\n"
    )
    for one in rendering["settings"]:
        width, height = one["size_px"]
        goal = f", goal {one['goal_per_s']:g}" if one["goal_per_s"] else ""
        sys.stdout.write(
            f"  {one['phantom']:24} {width} x {height} px: {one['frames_per_s']:.1f} frames/s{goal}, "
            f"{one['warps']:.0f} warps\n"
        )
    for model, of_model in tracking.items():
        _write_tracking(model, of_model)
    _write_window(window)
    _write_volumes(volumes)
    return 0


def _write_tracking(model: str, tracking: dict[str, Any]) -> None:
    if tracking["missing"]:
        sys.stdout.write(f"{model} is not timed: {tracking['missing']}\n")
        return
    size = " x ".join(map(str, tracking["size_px"]))
    sys.stdout.write(f"{model}, weights {tracking['weights']}, frames of {size} px\n")
    for run in tracking["runs"]:
        update, finding = run["update_ms"], run.get("finding_ms")
        alone = (
            f"without refinement p50 {finding['p50']:.2f}, p99 {finding['p99']:.2f} ms; " if finding else ""
        )
        sys.stdout.write(
            f"  {run['backend']:8} {run['device']:4} {run['landmarks']:2} landmarks: "
            f"p50 {update['p50']:.2f}, p99 {update['p99']:.2f} ms, {alone}"
            f"{run['frames_per_s']:.0f} frames/s, {run['times_eager']:.1f} times eager\n"
        )


def _write_window(window: dict[str, Any]) -> None:
    if window["missing"]:
        sys.stdout.write(f"the stream is not measured: {window['missing']}\n")
        return
    sys.stdout.write("coarse_to_fine_unet, a new frame along a stream beside a window, eager cpu\n")
    for one in window["sizes"]:
        operations, median_ms = one["operations"], one["median_ms"]
        sys.stdout.write(
            f"  {one['side_px']} x {one['side_px']} px, window of {one['frames']}: "
            f"{operations['stream'] / 1e9:.2f} of {operations['window'] / 1e9:.2f} billion operations, "
            f"{one['times_fewer']:.1f} times fewer; "
            f"{median_ms['stream']:.0f} of {median_ms['window']:.0f} ms, "
            f"{one['times_as_fast']:.1f} times as fast\n"
        )


def _write_volumes(volumes: dict[str, Any]) -> None:
    if volumes["missing"]:
        sys.stdout.write(f"patch_iterative is not timed in full-size volumes: {volumes['missing']}\n")
        return
    columns, rows, slices = volumes["size_px"]
    sys.stdout.write(f"patch_iterative, volumes of {columns} x {rows} x {slices} px\n")
    for one in volumes["devices"]:
        stages = ", ".join(f"{name} {taken_ms:.0f}" for name, taken_ms in one["stages_ms"].items())
        sys.stdout.write(
            f"  {one['runs_by']}, {one['landmarks']} landmarks: p50 {one['search_ms']:.0f} ms ({stages}), "
            f"going on from the last volume {one['going_on_ms']:.0f} ms; gathers "
            f"{one['times_scipy']:.1f} times as fast as scipy's\n"
        )

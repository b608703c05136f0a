"""``lmtrack bench``: speed as ratios within one run, for machines are noisy."""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from lmtrack_ros.core.errors import UserError
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
    with tempfile.TemporaryDirectory() as directory:
        result = {"cores": os.cpu_count(), **measure(arguments.frames, arguments.rate_hz, Path(directory))}
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
    return 0

"""``lmtrack replay RECORDING --config CONFIG``: the core in lock-step, no ROS, no clock."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from lmtrack_ros.configuration import CONFIG_OF_MODALITY, find_config, load
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import NS_PER_MS, GateState, Reason
from lmtrack_ros.parameters import check
from lmtrack_ros.pipeline import Digest, Timing
from lmtrack_ros.replay import make_pipeline, read_material
from lmtrack_ros.sources import Source

_DEFAULT_LATENCY_MS = 50.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("recording", type=Path, help="recording, or any other source that ends")
    parser.add_argument(
        "--config",
        help="name of a configuration that comes with the package, or a YAML file; by default that of the "
        "modality",
    )
    parser.add_argument(
        "--latency-ms",
        type=float,
        metavar="MS",
        help="decide on every frame this long after mid-exposure; by default the stamps of the recorded live "
        f"run are used, and {_DEFAULT_LATENCY_MS:g} ms where there was none",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Replay, with the operator's calls where a live run recorded them, and print what was decided."""
    latency_ms = arguments.latency_ms
    if latency_ms is not None and not 0 <= latency_ms <= 10_000:
        raise UserError("--latency-ms must be between 0 and 10000")
    material = read_material(arguments.recording)
    name = arguments.config or _usual_config(material.source)
    config = find_config(name)
    parameters = load(config)
    check(parameters, config)
    recorded = material.recorded if latency_ms is None else {}
    virtual_ms = _DEFAULT_LATENCY_MS if latency_ms is None else latency_ms
    timing = Timing(int(virtual_ms * NS_PER_MS), recorded, material.shift_sequences)
    # calls are only meaningful at the times of the run that they were made in
    calls = material.calls if recorded else ()
    digest = Digest()
    states: Counter[GateState] = Counter()
    reasons: Counter[str] = Counter()
    with closing(material.source) as source:
        steps = track(
            make_pipeline(parameters, material.marked, timing, arm=not calls, session=material.session).run(
                source, material.couch, calls
            ),
            description="replaying",
            total=source.info.frames,
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
            transient=True,
        )
        for step in steps:
            digest.add_step(step)
            states[step.decision.state] += 1
            reasons.update(str(r.name) for r in Reason if r in step.decision.reasons)
    frames = states.total()
    if not frames:
        raise UserError(f"{arguments.recording} has no frame to decide on")
    result = {
        "recording": str(arguments.recording),
        "config": name,
        "timing": "recorded stamps"
        if recorded
        else f"virtual latency {timing.virtual_latency_ns / NS_PER_MS:g} ms",
        "armed": "by the recorded calls" if calls else "from the first frame on",
        "frames": frames,
        "duty_cycle": states[GateState.BEAM_ON] / frames,
        "reasons": dict(reasons.most_common()),
        "digest": digest.hexdigest(),
    }
    sys.stdout.write(json.dumps(result) + "\n" if arguments.json else _text(result))
    return 0


def _usual_config(source: Source) -> str:
    geometry = source.info.geometry
    modality = geometry.modality if geometry else None
    if modality not in CONFIG_OF_MODALITY:
        raise UserError(f"no configuration is the usual one for {source.info.name}: name one (--config)")
    return CONFIG_OF_MODALITY[modality]


def _text(result: Mapping[str, Any]) -> str:
    reasons = ", ".join(f"{name} {count}" for name, count in result["reasons"].items()) or "none"
    return (
        f"recording    {result['recording']} ({result['timing']})\n"
        f"frames       {result['frames']}\n"
        f"armed        {result['armed']}\n"
        f"duty cycle   {result['duty_cycle']:.3f} of the frames\n"
        f"held for     {reasons}\n"
        f"digest       {result['digest']}\n"
    )

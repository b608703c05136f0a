"""``lmtrack phantom``: moving anatomy with exact ground truth, as recordings or folders."""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import track

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.parameters import build
from lmtrack_ros.phantoms import MODALITIES, PhantomParameters, open_phantom, presets
from lmtrack_ros.phantoms.export import frame_count, samples, write
from lmtrack_ros.phantoms.motion import EVENTS

_SECONDS = 20.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    kinds = parser.add_subparsers(dest="kind", metavar="MODALITY", required=True)
    for modality in MODALITIES:
        listed = "\n".join(f"  {name:18} {preset.description}" for name, preset in presets(modality).items())
        one = kinds.add_parser(
            modality,
            help=f"presets: {', '.join(presets(modality))}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            epilog=f"presets, the default first:\n{listed}",
        )
        _add_phantom_arguments(one)


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked for."""
    return _COMMANDS.get(arguments.kind, _write_phantom)(arguments)


def _add_phantom_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", required=True, type=Path, help="NAME.mcap for a recording, anything else for a folder"
    )
    parser.add_argument(
        "--seconds", type=float, default=_SECONDS, metavar="S", help=f"how long; default {_SECONDS:g}"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of patient, motion and noise; default 0"
    )
    parser.add_argument(
        "--preset", default="", metavar="NAME", help="kind of anatomy and imager, from the list below"
    )
    parser.add_argument(
        "--rate-hz", type=float, default=0.0, metavar="HZ", help="frame rate, instead of the preset's"
    )
    parser.add_argument(
        "--trace",
        default="",
        metavar="CSV",
        help="motion to follow (time_s, x_mm, y_mm, z_mm), instead of breathing",
    )
    parser.add_argument(
        "--event",
        action="append",
        default=[],
        metavar="NAME@S",
        help=f"interrupt the breathing at a time: {', '.join(EVENTS)}; may be repeated",
    )


def _write_phantom(arguments: argparse.Namespace) -> int:
    if not 0 < arguments.seconds < float("inf"):
        raise UserError("--seconds must be positive")
    motion = {"kind": "trace", "trace": arguments.trace} if arguments.trace else {"events": arguments.event}
    parameters = build(
        PhantomParameters,
        {
            "preset": arguments.preset,
            "seed": arguments.seed,
            "rate_hz": arguments.rate_hz,
            "motion": motion,
        },
        f"phantom {arguments.kind}",
    )
    phantom = open_phantom(arguments.kind, parameters)
    console = Console(stderr=True)
    shown = track(
        samples(phantom, arguments.seconds),
        description=phantom.info.name,
        total=frame_count(phantom, arguments.seconds),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    count = write(arguments.out, phantom.info, shown)
    names = ", ".join(phantom.positions_mm(0.0))
    sys.stdout.write(f"{arguments.out}: {count} frames, landmarks {names}\n")
    return 0


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {}

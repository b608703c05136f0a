"""``lmtrack calibrate``: make a model's uncertainty mean what it says."""

import argparse
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.progress import Progress, track

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.models import find_model, model_names
from lmtrack_ros.models.description import description_file, find_weights, read_description


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL", help=f"one of: {', '.join(model_names())}")
    parser.add_argument(
        "--weights", required=True, metavar="W", help="a name ('lmtrack models'), a file, or a run's folder"
    )
    parser.add_argument(
        "--data",
        nargs="+",
        type=Path,
        default=[],
        metavar="DIR",
        help="recordings with landmarks.csv, none trained on; default: phantoms set aside for it",
    )


def run(arguments: argparse.Namespace) -> int:
    """Calibrate, and store it beside the weights."""
    model = find_model(arguments.model)
    weights = find_weights(model, arguments.weights)
    for folder in arguments.data:
        if not folder.is_dir():
            raise UserError(f"no recording at '{folder}'")
    # they load torch
    from lmtrack_ros.models.calibration import plain
    from lmtrack_ros.models.tracking import Measuring
    from lmtrack_ros.trackers import create_tracker
    from lmtrack_ros.training.calibration import (
        TrueSequence,
        annotated_sequence,
        calibrate,
        phantom_sequences,
    )

    path = description_file(weights)
    description = read_description(path)
    own = [what for what in description.data if what not in model.calibration]
    if own and not arguments.data:
        raise UserError(
            f"these weights were trained on {own[0]}: give recordings to calibrate them with --data"
        )

    console = Console(stderr=True)
    shown: Iterable[TrueSequence] = (
        map(annotated_sequence, arguments.data)
        if arguments.data
        else chain.from_iterable(phantom_sequences(model.calibration[what]) for what in description.data)
    )
    count = len(arguments.data) or sum(len(model.calibration[what]) for what in description.data)
    sequences = list(track(shown, "reading", count, console=console, transient=True))
    tracker = cast(Measuring, cast(Any, create_tracker(model.name, {"weights": str(weights)})))
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("calibrating", total=len(sequences) * len(tracker.calibrated_in_turn))
        fitted = calibrate(tracker, sequences, lambda: progress.advance(task))
    replace(description, calibration=plain(fitted)).write(path)
    said = ", ".join(f"{kind} {factor:.3g}" for kind, factor in fitted.factors.items())
    Console().print(f"{path}: from {fitted.sequences} sequences, raw σ times: {said}", soft_wrap=True)
    return 0

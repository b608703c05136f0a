"""``lmtrack calibrate``: make a model's uncertainty mean what it says."""

import argparse
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.progress import Progress, track

from lmtrack_ros.core.errors import unknown_name
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
        default=[],
        metavar="WHAT",
        help="phantoms by the name of a data set, or recordings with landmarks.csv that the network was not "
        "trained on; default: phantoms like those it was trained on, of other patients",
    )


def run(arguments: argparse.Namespace) -> int:
    """Calibrate, and store it beside the weights."""
    model = find_model(arguments.model)
    weights = find_weights(model, arguments.weights)
    path = description_file(weights)
    description = read_description(path)
    data = arguments.data or list(description.data)
    for what in data:
        if what not in model.calibration and (not arguments.data or not Path(what).is_dir()):
            raise unknown_name("data to calibrate with (and no such recording)", what, model.calibration)
    # they load torch
    from lmtrack_ros.models.tracking import Measuring
    from lmtrack_ros.trackers import tracker_class
    from lmtrack_ros.training.calibration import (
        TrueSequence,
        annotated_sequence,
        calibrate_weights,
        phantom_sequences,
    )

    def read(what: str) -> Iterable[TrueSequence]:
        known = model.calibration.get(what)
        if known:
            return chain.from_iterable(map(phantom_sequences, known))
        return [annotated_sequence(Path(what))]

    console = Console(stderr=True)
    count = sum(sum(map(len, model.calibration.get(what, ((what,),)))) for what in data)
    shown = chain.from_iterable(map(read, data))
    sequences = list(track(shown, "reading", count, console=console, transient=True))
    turns = len(cast(Measuring, tracker_class(model.name)).calibrated_in_turn)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("calibrating", total=len(sequences) * turns)
        fitted = calibrate_weights(weights, sequences, lambda: progress.advance(task))
    said = ", ".join(
        f"{kind} {' / '.join(f'{factor:.3g}' for factor in by_axes.values()) or 'never occurred'}"
        for kind, by_axes in fitted.factors.items()
    )
    Console().print(f"{path}: from {fitted.sequences} sequences, raw σ times: {said}", soft_wrap=True)
    return 0

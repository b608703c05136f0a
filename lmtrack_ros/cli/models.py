"""``lmtrack models``: what there is of models and weights."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lmtrack_ros.models import Model, find_model, model_names
from lmtrack_ros.models.description import description_file, read_description, shipped_weights
from lmtrack_ros.models.figures import number

_PLAIN_WIDTH = 140


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    what.add_argument(
        "--ship",
        nargs=2,
        metavar=("RUN", "NAME"),
        help="put the best weights of a finished run into the package, in half precision, with their card",
    )


def run(arguments: argparse.Namespace) -> int:
    """List the models, or ship."""
    if arguments.ship:
        # loads torch
        from lmtrack_ros.models.shipping import ship

        sys.stdout.write(f"{ship(Path(arguments.ship[0]), arguments.ship[1])}\n")
        return 0
    models = [_report(find_model(name)) for name in model_names()]
    if arguments.json:
        sys.stdout.write(json.dumps({"models": models}, allow_nan=False) + "\n")
    else:
        Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH).print(_table(models))
    return 0


def _report(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "summary": model.summary,
        "modalities": list(model.modalities),
        "data": dict(model.data),
        "presets": list(model.presets),
        "weights": [_weights(name, path) for name, path in shipped_weights(model).items()],
    }


def _weights(name: str, path: Path) -> dict[str, Any]:
    description = read_description(description_file(path))
    return {
        "name": name,
        "size_bytes": path.stat().st_size,
        "preset": description.preset,
        "data": list(description.data),
        "calibrated": bool(description.calibration),
        "scores": dict(description.scores),
    }


def _table(models: list[dict[str, Any]]) -> Table:
    table = Table(show_lines=True)
    for head in ("model", "modalities", "presets", "data", "weights", "size", "scores on the test set"):
        table.add_column(head)
    for model in models:
        said = [
            f"{model['name']}\n[dim]{model['summary']}[/]",
            *("\n".join(model[part]) for part in ("modalities", "presets", "data")),
        ]
        for weights in model["weights"] or [None]:
            table.add_row(*said, *(_weights_cells(weights) if weights else ("none yet", "", "")))
            said = [""] * len(said)
    return table


def _weights_cells(weights: dict[str, Any]) -> tuple[str, str, str]:
    scores = "\n".join(f"{name} {number(value)}" for name, value in weights["scores"].items())
    uncalibrated = "" if weights["calibrated"] else ", not calibrated"
    return (
        f"{weights['name']}\n[dim]{weights['preset']}, {escape(', '.join(weights['data']))}{uncalibrated}[/]",
        f"{weights['size_bytes'] / 1e6:.1f} MB",
        scores,
    )

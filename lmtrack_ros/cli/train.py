"""``lmtrack train``: train a model on phantoms or on one's own images."""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from lmtrack_ros.cli.training_progress import reporter
from lmtrack_ros.models import model_names
from lmtrack_ros.models.description import CARD
from lmtrack_ros.models.figures import figures
from lmtrack_ros.training.plan import check_same, default_folder, plan, resume_command

_EXIT_INTERRUPTED = 130


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL", help=f"one of: {', '.join(model_names())}")
    parser.add_argument(
        "--mode",
        metavar="NAME",
        help="of a paper with several ways to train: data, preset and start of one",
    )
    parser.add_argument("--preset", metavar="NAME", help="realtime (default), or paper: the paper's sizes")
    parser.add_argument(
        "--data",
        nargs="+",
        default=[],
        metavar="WHAT",
        help="data sets of the model ('lmtrack models' lists them), or folders of your own images",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the run; default: runs/MODEL-PRESET-DATA"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run that is there")
    parser.add_argument("--seed", type=int, metavar="N", help="of all that is drawn by chance; default 0")
    parser.add_argument(
        "--weights", metavar="START", help="begin from these: a name, a file, or the folder of a run"
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="instead of the preset's")


def run(arguments: argparse.Namespace) -> int:
    """Train, and say what there is."""
    planned = plan(
        arguments.model,
        mode=arguments.mode,
        preset=arguments.preset,
        data=arguments.data,
        seed=arguments.seed,
        start=arguments.weights,
        epochs=arguments.epochs,
    )
    path = arguments.out or default_folder(planned)
    # they load torch, which a mistake in the words above need not wait for
    from lmtrack_ros.training.run import train
    from lmtrack_ros.training.run_folder import RunFolder

    if arguments.resume:
        folder = RunFolder.open(path)
        check_same(folder.description, path, _said(arguments))
    else:
        folder = RunFolder.create(path, planned)
    console = Console()
    try:
        with reporter(console) as shown:
            train(folder, shown)
    except KeyboardInterrupt:
        _say(console, f"interrupted; go on with: {resume_command(folder.description, path)}")
        return _EXIT_INTERRUPTED
    _say(console, f"best weights in {folder.best}: {figures(folder.description.scores)}")
    _say(console, f"what they are: {path / CARD}; to ship them: lmtrack models --ship {path} NAME")
    return 0


def _said(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "MODEL": arguments.model,
        "--preset": arguments.preset,
        "--data": arguments.data,
        "--seed": arguments.seed,
        "--weights": arguments.weights,
        "--epochs": arguments.epochs,
    }


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, highlight=False, markup=False)

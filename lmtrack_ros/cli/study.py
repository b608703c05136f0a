"""``lmtrack study``: repeat an experiment of a model's paper on phantoms, and write table and pictures."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.evaluation.studies import STUDIES, Order, conduct, find_study

_EXIT_INTERRUPTED = 130
_LINES_PER_STAGE = 10


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL", help="whose paper")
    known = "; ".join(f"{name} ({study.summary})" for (_, name), study in STUDIES.items())
    parser.add_argument("experiment", metavar="EXPERIMENT", help=known.replace("%", "%%"))
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="for page and pictures; default: docs/results/MODEL"
    )
    parser.add_argument(
        "--weights",
        default="",
        metavar="WHICH",
        help="a name, a file, or the folder of a run; default: the shipped ones",
    )
    parser.add_argument(
        "--recordings",
        nargs="+",
        type=Path,
        default=[],
        metavar="DIR",
        help="real sequences with landmarks, for a study that scores on such too",
    )


def run(arguments: argparse.Namespace) -> int:
    """Conduct the study; an interrupted one goes on where it was when it is called again."""
    study = find_study(arguments.model, arguments.experiment)
    if arguments.recordings and not study.takes_recordings:
        raise UserError(f"{study.name} is of phantoms alone: leave out --recordings")
    out = arguments.out or Path("docs") / "results" / study.model
    work = Path("runs") / f"{study.model}-study-{study.name}"
    for folder in (out, work):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror}") from error
    console = Console()
    command = f"lmtrack study {study.model} {study.name} --out {out}"
    if arguments.weights:
        command += f" --weights {arguments.weights}"
    if arguments.recordings:
        command += f" --recordings {' '.join(map(str, arguments.recordings))}"
    try:
        with _shown(console) as progress:
            order = Order(arguments.weights, out, work, command, progress, tuple(arguments.recordings))
            page = conduct(study, order)
    except KeyboardInterrupt:
        console.print(f"interrupted; go on with: {command}", soft_wrap=True, highlight=False, markup=False)
        return _EXIT_INTERRUPTED
    console.print(f"written: {page}", soft_wrap=True, highlight=False, markup=False)
    return 0


@contextmanager
def _shown(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Return what shows progress: a bar for each stage on a terminal, some plain lines elsewhere."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, int] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(progress.task_ids[tasks[what]], completed=done, total=total)

        yield show


class _Lines:
    """A line at each tenth of a stage."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: dict[str, int] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        tenth = done * _LINES_PER_STAGE // max(total, 1)
        if self._said.get(what) != tenth:
            self._said[what] = tenth
            self._console.print(f"{what}: {done}/{total}", soft_wrap=True, highlight=False, markup=False)

"""Networks that a study trains on the way, kept so that an interrupted study goes on."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.models.description import CARD, RUN_FILE, Description
from lmtrack_ros.training.run import train
from lmtrack_ros.training.run_folder import RunFolder


def trained_run(path: Path, planned: Description, progress: Callable[[str, int, int], None]) -> RunFolder:
    """Return a run, trained to its end.

    Args:
        path: of its folder, whose name is what progress is said of.
        planned: what is trained.
        progress: called with what is being done, how much of it is done, and how much there is to do.

    Raises:
        UserError: something else was trained in that folder, or it cannot be used.
    """
    if (path / RUN_FILE).is_file():
        folder = RunFolder.open(path)
        if _begun_as(folder.description) != _begun_as(planned):
            raise UserError(f"{path} holds a run with another configuration, data, seed or start: remove it")
    else:
        folder = RunFolder.create(path, planned)
    if not (path / CARD).is_file():
        train(folder, _Steps(path.name, progress))
    return folder


def _begun_as(run: Description) -> tuple[str, tuple[str, ...], int, str]:
    return run.digest, run.data, run.seed, run.start


def trained_s(path: Path) -> float:
    """Return how long the run in a folder was trained, s."""
    last = (path / "metrics.jsonl").read_text().splitlines()[-1]
    return float(json.loads(last)["trained_s"])


@dataclass
class _Steps:
    """Shows the steps of one run; a :class:`~lmtrack_ros.training.loop.Reporter`."""

    name: str
    progress: Callable[[str, int, int], None]
    steps: int = 0

    def gather(self, part: str, done: int, total: int) -> None:
        self.progress(f"{part} data", done, total)

    def begin(self, step: int, steps_per_epoch: int, epochs: int) -> None:
        self.steps = steps_per_epoch * epochs
        self.progress(self.name, step, self.steps)

    def step(self, step: int, losses: Mapping[str, float]) -> None:
        self.progress(self.name, step, self.steps)

    def epoch(self, line: Mapping[str, Any], best: bool) -> None:
        pass

    def say(self, line: str) -> None:
        pass

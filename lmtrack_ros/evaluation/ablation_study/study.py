"""Trains and scores every arm, and writes the page; goes on where it was interrupted."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.evaluation.ablation_study.arms import ARMS, Arm
from lmtrack_ros.evaluation.ablation_study.landmarks import LandmarkErrors, landmark_errors, phantom_patients
from lmtrack_ros.evaluation.ablation_study.page import Result, write_page
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.inference.parameters import InferenceParameters
from lmtrack_ros.models.description import CARD, RUN_FILE, Description, plain_values
from lmtrack_ros.models.files import write_whole
from lmtrack_ros.models.template_matching.parameters import TemplateMatchingParameters
from lmtrack_ros.models.template_matching.tracker import TemplateMatchingTracker
from lmtrack_ros.trackers.refinement import RefinementParameters
from lmtrack_ros.training.calibration import TrueSequence, annotated_sequence
from lmtrack_ros.training.run import train
from lmtrack_ros.training.run_folder import RunFolder

DATA = "mr"
SEED = 0
PHANTOMS = "phantoms"
_ERRORS_FILE = "landmark_errors.json"


def conduct(order: Order) -> Path:
    """Train and score all arms; the page is written anew after each.

    Raises:
        UserError: weights were ordered, a recording cannot be scored on, or a folder cannot be used.
    """
    if order.weights:
        raise UserError("the ablations train their own weights: leave out --weights")
    sequences: dict[str, Callable[[], Iterable[TrueSequence]]] = {PHANTOMS: lambda: phantom_patients(DATA)}
    for path in order.recordings:
        sequences[path.resolve().name] = partial(_recorded, path)
    arms = {arm.name: arm for arm in ARMS}
    results: dict[str, Result] = {}
    page = order.out / "ablations.md"
    for number, (name, arm) in enumerate(arms.items()):
        order.progress("arms", number, len(arms))
        folder = trained(order.work / name, arm, (DATA,), order.progress)
        order.progress("arms", number, len(arms))
        results[name] = Result(
            folder.description.scores,
            {what: scored(folder.path, what, of) for what, of in sequences.items()},
            _trained_s(folder.path),
        )
        write_page(page, results, order.command)
    order.progress("arms", len(arms), len(arms))
    return page


def trained(
    path: Path, arm: Arm, data: tuple[str, ...], progress: Callable[[str, int, int], None]
) -> RunFolder:
    """Return the run of an arm, trained to its end.

    Raises:
        UserError: something else was trained in that folder, or it cannot be used.
    """
    planned = Description("template_matching", "realtime", data, SEED, plain_values(arm.configuration))
    if (path / RUN_FILE).is_file():
        folder = RunFolder.open(path)
        if folder.description.digest != planned.digest or folder.description.data != data:
            raise UserError(f"{path} holds a run with another configuration or other data: remove it")
    else:
        folder = RunFolder.create(path, planned)
    if not (path / CARD).is_file():
        train(folder, _Steps(arm.name, progress))
    return folder


def scored(
    path: Path, what: str, sequences: Callable[[], Iterable[TrueSequence]]
) -> tuple[LandmarkErrors, ...]:
    """Return the landmark errors of a run in some sequences, measured once and then kept in its folder."""
    kept_path = path / _ERRORS_FILE
    kept: dict[str, Any] = json.loads(kept_path.read_text()) if kept_path.is_file() else {}
    if what not in kept:
        tracker = TemplateMatchingTracker(
            TemplateMatchingParameters(
                weights=str(path),
                refinement=RefinementParameters(enabled=False),
                inference=InferenceParameters(backend="eager"),
            )
        )
        errors = [landmark_errors(tracker, sequence) for sequence in sequences()]
        kept[what] = [{name: values.tolist() for name, values in vars(e).items()} for e in errors]
        write_whole(kept_path, json.dumps(kept).encode())
    return tuple(LandmarkErrors(**{name: np.array(v) for name, v in e.items()}) for e in kept[what])


@dataclass
class _Steps:
    """Shows the steps of one arm; a :class:`~lmtrack_ros.training.loop.Reporter`."""

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


def _recorded(path: Path) -> list[TrueSequence]:
    return [annotated_sequence(path)]


def _trained_s(path: Path) -> float:
    last = (path / "metrics.jsonl").read_text().splitlines()[-1]
    return float(json.loads(last)["trained_s"])

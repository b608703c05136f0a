"""Trains and scores every arm, and writes the page; goes on where it was interrupted."""

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.evaluation.ablation_study.arms import ARMS
from lmtrack_ros.evaluation.ablation_study.landmarks import LandmarkErrors, landmark_errors, phantom_patients
from lmtrack_ros.evaluation.ablation_study.page import Result, write_page
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.evaluation.trained_run import trained_run, trained_s
from lmtrack_ros.inference.parameters import InferenceParameters
from lmtrack_ros.models.description import Description, plain_values
from lmtrack_ros.models.files import write_whole
from lmtrack_ros.models.template_matching.parameters import TemplateMatchingParameters
from lmtrack_ros.models.template_matching.tracker import TemplateMatchingTracker
from lmtrack_ros.trackers.refinement import RefinementParameters
from lmtrack_ros.training.calibration import TrueSequence, annotated_sequence

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
        planned = Description("template_matching", "realtime", (DATA,), SEED, plain_values(arm.configuration))
        folder = trained_run(order.work / name, planned, order.progress)
        order.progress("arms", number, len(arms))
        results[name] = Result(
            folder.description.scores,
            {what: scored(folder.path, what, of) for what, of in sequences.items()},
            trained_s(folder.path),
        )
        write_page(page, results, order.command)
    order.progress("arms", len(arms), len(arms))
    return page


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


def _recorded(path: Path) -> list[TrueSequence]:
    return [annotated_sequence(path)]

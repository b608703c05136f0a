"""Networks for one patient: trained on his own breaths (section 4.3), or tuned to some (section 4.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.evaluation.lung_study.networks import (
    HEADING,
    SEED,
    WEIGHTS,
    load_generator,
    row,
    trained,
    write_page,
)
from lmtrack_ros.evaluation.lung_study.scoring import Score, score
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.evaluation.trained_run import trained_s
from lmtrack_ros.models.coarse_to_fine_unet import FINETUNED_PATIENTS
from lmtrack_ros.models.coarse_to_fine_unet.agreement import figures
from lmtrack_ros.models.coarse_to_fine_unet.configuration import (
    FINETUNE,
    PATIENT,
    CoarseToFineUnetConfiguration,
)
from lmtrack_ros.models.coarse_to_fine_unet.populations import cases
from lmtrack_ros.models.parts import Part

_AS_IT_IS = "trained on others alone"

_OF_PATIENT = """\
**Simulated fluoroscopy.** One patient and tumour, 100 breaths between 0.4 and 1.6 of his usual one: the 40
shallowest and the 40 deepest to train on, the 20 between to test with, ten phases of each. Figures are of
the paper's window, the mean over the frames seen at once. The paper prints, of its own phantom: IoU 0.98,
centroids 0.3 mm vertically and 0.07 mm horizontally."""

_OF_FINETUNING = """\
**Simulated fluoroscopy.** {patients} patients, 20 breaths of each: the ten shallowest to learn from, the ten
deepest to test with. Each network has the same short schedule, {epochs} epochs of {steps} steps, without a
critic, seed {seed}; *fixed* are the three lowest levels of both U-Nets. Figures are of the paper's window, of
all patients together. The paper fixes the bottom and finds fine-tuning worse than training alone."""


class _Arm(NamedTuple):
    """A way to a network for one patient: what is trained, from which weights on."""

    configuration: CoarseToFineUnetConfiguration
    from_weights: bool


_OF_ONE: Mapping[str, _Arm] = MappingProxyType({"on his own breaths": _Arm(PATIENT, False)})

_OF_SUB_GROUPS: Mapping[str, _Arm] = MappingProxyType(
    {
        "trained alone on the ten": _Arm(replace(FINETUNE, fixed_levels=0, learning_rate=1e-3), False),
        "tuned, bottom fixed": _Arm(FINETUNE, True),
        "tuned, nothing fixed": _Arm(replace(FINETUNE, fixed_levels=0), True),
    }
)


def conduct_patient(order: Order) -> Path:
    """Train a network for one patient and score it on his other breaths; returns the page.

    Raises:
        UserError: recordings were ordered, there are no such weights, or a folder cannot be used.
    """
    rows, _ = _rows(order, _OF_ONE, ["patient"])
    return write_page(order, "patient", "one patient's own network", _OF_PATIENT, rows)


def conduct_finetuning(order: Order) -> Path:
    """Tune networks to some breaths of each of some patients; returns the page.

    Raises:
        UserError: recordings were ordered, there are no such weights, or a folder cannot be used.
    """
    names = [f"finetune-{number}" for number in range(1, FINETUNED_PATIENTS + 1)]
    rows, better = _rows(order, _OF_SUB_GROUPS, names)
    introduction = _OF_FINETUNING.format(
        patients=len(names), epochs=FINETUNE.epochs, steps=FINETUNE.steps_per_epoch, seed=SEED
    )
    rows += ["", f"Patients for whom a network is better than that trained on others alone: {better}."]
    return write_page(order, "finetuning", "tuned to a patient", introduction, rows)


def _rows(order: Order, arms: Mapping[str, _Arm], names: Sequence[str]) -> tuple[list[str], str]:
    """Return the table, and for how many of the patients each arm is better than the weights as they are."""
    if order.recordings:
        raise UserError("this study is of simulated patients: leave out --recordings")
    weights = order.weights or WEIGHTS
    others = load_generator(weights)
    tested = {name: cases(name, Part.TEST) for name in names}
    as_it_is = {name: score(others, of, partial(order.progress, name)) for name, of in tested.items()}
    rows = [*HEADING, row(f"{_AS_IT_IS} (`{weights}`)", _together(as_it_is), None)]
    better = []
    for label, arm in arms.items():
        found, minutes = {}, 0.0
        for name, of in tested.items():
            arm_name, start = f"{label}, {name}", weights if arm.from_weights else ""
            folder = trained(order, arm_name, arm.configuration, name, start)
            minutes += trained_s(folder) / 60
            found[name] = score(load_generator(str(folder)), of, partial(order.progress, arm_name))
        rows.append(row(label, _together(found), minutes / len(tested)))
        count = sum(_iou(found[name]) > _iou(as_it_is[name]) for name in tested)
        better.append(f"{label}: {count} of {len(tested)}")
    return rows, "; ".join(better)


def _together(found: Mapping[str, Sequence[Score]]) -> list[Score]:
    return [one for scores in found.values() for one in scores]


def _iou(scores: Sequence[Score]) -> float:
    return figures([one.window for one in scores]).iou

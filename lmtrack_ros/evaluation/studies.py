"""The experiments of the models' papers that can be repeated on phantoms, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import cast

from lmtrack_ros.core.errors import unknown_name


@dataclass(frozen=True)
class Order:
    """What is asked of a study.

    Attributes:
        weights: of the model: a name, a file, or the folder of a run; empty: what the study names itself.
        out: folder for the page and its pictures; exists.
        work: folder for what is trained on the way, so that an interrupted study goes on; exists.
        command: that repeats it, for the page.
        progress: called with what is being done, how much of it is done, and how much there is to do.
        recordings: folders of real sequences with landmarks, for a study that scores on such too.
    """

    weights: str
    out: Path
    work: Path
    command: str
    progress: Callable[[str, int, int], None]
    recordings: tuple[Path, ...] = ()


Conduct = Callable[[Order], Path]
"""Conducts a study and returns the page it wrote."""


@dataclass(frozen=True)
class Study:
    """An experiment of a model's paper.

    Attributes:
        model: name of the model.
        name: of the experiment.
        summary: one line.
        conduct: ``module:function``, a :data:`Conduct`; imported when it is called.
        takes_recordings: whether it scores on real recordings too.
    """

    model: str
    name: str
    summary: str
    conduct: str
    takes_recordings: bool = False


_ALL = (
    Study(
        "attention_mask_rcnn",
        "clust",
        "five-fold cross-validation and test on ultrasound as in the CLUST challenge, beside usual trackers",
        "lmtrack_ros.evaluation.ultrasound_study.challenge:conduct",
    ),
    Study(
        "attention_mask_rcnn",
        "ablations",
        "attention, LSTM, frame of marking and refinement, each left out by itself",
        "lmtrack_ros.evaluation.ultrasound_study.ablations:conduct",
    ),
    Study(
        "attention_mask_rcnn",
        "jumps",
        "abrupt jumps of 15 mm within two frames, beside usual trackers",
        "lmtrack_ros.evaluation.ultrasound_study.jumps:conduct",
    ),
    Study(
        "attention_mask_rcnn",
        "unseen",
        "structures absent from training: whether what is wrong is said to be",
        "lmtrack_ros.evaluation.ultrasound_study.unseen:conduct",
        takes_recordings=True,
    ),
    Study(
        "coarse_to_fine_unet",
        "group",
        "tumours of other patients by size, overlap and amplitude, live and without a tumour",
        "lmtrack_ros.evaluation.lung_study.group:conduct",
    ),
    Study(
        "coarse_to_fine_unet",
        "ablations",
        "one U-Net, ConvLSTM, GAN and each loss, left out by itself",
        "lmtrack_ros.evaluation.lung_study.ablations:conduct",
    ),
    Study(
        "coarse_to_fine_unet",
        "patient",
        "a network for one patient, trained on his own breaths",
        "lmtrack_ros.evaluation.lung_study.own_patient:conduct_patient",
    ),
    Study(
        "coarse_to_fine_unet",
        "finetuning",
        "networks tuned to some breaths of one patient, with and without fixed levels",
        "lmtrack_ros.evaluation.lung_study.own_patient:conduct_finetuning",
    ),
    Study(
        "coarse_to_fine_unet",
        "inserted",
        "tumours put into real recordings, and the same recordings without",
        "lmtrack_ros.evaluation.lung_study.inserted:conduct",
        takes_recordings=True,
    ),
    Study(
        "landmark_net",
        "landmarks",
        "landmarks in radiographs of other patients, beside DeepLabv3 and template matching",
        "lmtrack_ros.evaluation.radiograph_study.landmarks:conduct",
        takes_recordings=True,
    ),
    Study(
        "landmark_net",
        "setup",
        "set-up shifts from portal images, with wrong landmarks and one vertebra off",
        "lmtrack_ros.evaluation.radiograph_study.setup_trials:conduct",
    ),
    Study(
        "patch_iterative",
        "heads",
        "fetal heads: losses, rules, one landmark and all of them, standard planes",
        "lmtrack_ros.evaluation.volume_study.heads:conduct",
    ),
    Study(
        "patch_iterative",
        "prostates",
        "the gland's centre and outermost points in real volumes, five-fold by case",
        "lmtrack_ros.evaluation.volume_study.prostates:conduct",
        takes_recordings=True,
    ),
    Study(
        "patch_iterative",
        "followed",
        "simulated prostates followed: error, radius, how often certain; and what is no prostate",
        "lmtrack_ros.evaluation.volume_study.followed:conduct",
    ),
    Study(
        "patch_iterative",
        "path",
        "a landmark through the phases of a 4-D CT, from its mark in the first one alone",
        "lmtrack_ros.evaluation.volume_study.path:conduct",
        takes_recordings=True,
    ),
    Study(
        "template_matching",
        "tracking",
        "landmarks and inserted targets in real recordings, beside the correlation tracker",
        "lmtrack_ros.evaluation.tracking_study:conduct",
        takes_recordings=True,
    ),
    Study(
        "template_matching",
        "detection",
        "landmarks of chest radiographs from 1 to 20 examples, beside the paper's baselines",
        "lmtrack_ros.evaluation.detection_study.study:conduct",
    ),
    Study(
        "template_matching",
        "ablations",
        "patch size, depth, distribution of errors and matching, each changed by itself on cine-MR",
        "lmtrack_ros.evaluation.ablation_study.study:conduct",
        takes_recordings=True,
    ),
)

STUDIES: Mapping[tuple[str, str], Study] = MappingProxyType({(s.model, s.name): s for s in _ALL})
"""By model and name."""


def find_study(model: str, name: str) -> Study:
    """Return a study.

    Raises:
        UserError: there is none of that model, or none of that name.
    """
    models = dict.fromkeys(model for model, _ in STUDIES)
    if model not in models:
        raise unknown_name("model with studies", model, models)
    names = [n for m, n in STUDIES if m == model]
    if name not in names:
        raise unknown_name(f"study of {model}", name, names)
    return STUDIES[model, name]


def conduct(study: Study, order: Order) -> Path:
    """Conduct a study and return its page.

    Raises:
        UserError: it cannot be done with what was ordered.
    """
    module, function = study.conduct.split(":")
    return cast(Conduct, getattr(import_module(module), function))(order)

"""The networks of the study: trained and calibrated once, and scored sequence by sequence."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np

import lmtrack_ros
from lmtrack_ros.core.geometry import Modality
from lmtrack_ros.evaluation import baselines, clust
from lmtrack_ros.evaluation.clust import LandmarkScore
from lmtrack_ros.evaluation.fingerprint import fingerprint, is_made_of, say_made_of
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.evaluation.trained_run import trained_run
from lmtrack_ros.models.attention_mask_rcnn import MODEL
from lmtrack_ros.models.attention_mask_rcnn.configuration import AttentionMaskRcnnConfiguration
from lmtrack_ros.models.attention_mask_rcnn.parameters import AttentionMaskRcnnParameters
from lmtrack_ros.models.attention_mask_rcnn.tracker import AttentionMaskRcnnTracker
from lmtrack_ros.models.description import Description, description_file, find_weights, plain_values
from lmtrack_ros.models.files import write_whole
from lmtrack_ros.trackers import Tracker
from lmtrack_ros.trackers.refinement import RefinementParameters
from lmtrack_ros.training.calibration import TrueSequence, calibrate_weights, phantom_sequences

SEED = 0
NETWORK = "attention Mask R-CNN"
WEIGHTS = "ultrasound"
_BESIDE = (baselines.CORRELATION, "OpenCV CSRT", "OpenCV KCF")
_PACKAGE = Path(lmtrack_ros.__file__).parent
_MATCHING_CODE = tuple(_PACKAGE / "trackers" / f"{name}.py" for name in ("patches", "subpixel"))
_USUAL_CODE = (Path(baselines.__file__), _PACKAGE / "trackers" / "correlation.py", *_MATCHING_CODE)
_SHARED = ("calibration", "following", "grey", "matching", "model_tracker", "tracking", "views")
_NETWORK_CODE = (
    *_MATCHING_CODE,
    _PACKAGE / "trackers" / "refinement.py",
    *(_PACKAGE / "models" / f"{name}.py" for name in _SHARED),
    *sorted((_PACKAGE / "models" / MODEL.name).glob("*.py")),
)
"""What scores and calibrations depend on; they are made anew when it changes."""


def usual_trackers() -> dict[str, Callable[[], Tracker]]:
    """Return what makes the trackers that the network is set beside, by name."""
    usual = baselines.usual_trackers(Modality.ULTRASOUND)
    return {name: usual[name] for name in _BESIDE}


def trained(order: Order, name: str, configuration: AttentionMaskRcnnConfiguration, data: str) -> Path:
    """Return the run of a network, trained and calibrated.

    Raises:
        UserError: something else was trained in that folder, or it cannot be used.
    """
    planned = Description(MODEL.name, "realtime", (data,), SEED, plain_values(configuration))
    folder = trained_run(order.work / name, planned, order.progress)
    made_of = fingerprint([folder.best, *_NETWORK_CODE])
    if not (folder.description.calibration and is_made_of(folder.path, made_of)):
        sequences = _others()
        steps = len(sequences) * len(AttentionMaskRcnnTracker.calibrated_in_turn)
        done = iter(range(1, steps + 1))
        calibrate_weights(
            folder.best, sequences, lambda: order.progress(f"{name} calibration", next(done), steps)
        )
        say_made_of(folder.path, made_of)
    return folder.path


def _made_of(weights: str) -> Sequence[Path]:
    if not weights:
        return _USUAL_CODE
    file = find_weights(MODEL, weights)
    return [file, description_file(file), *_NETWORK_CODE]


@cache
def _others() -> Sequence[TrueSequence]:
    """Return the phantoms to calibrate with, on none of which anything is trained or tested."""
    return [sequence for some in MODEL.calibration["clust"] for sequence in phantom_sequences(some)]


def tracker(weights: str, *, refined: bool = True) -> AttentionMaskRcnnTracker:
    """Return a tracker with these weights."""
    usual = AttentionMaskRcnnParameters(weights=weights)
    if refined:
        return AttentionMaskRcnnTracker(usual)
    return AttentionMaskRcnnTracker(
        AttentionMaskRcnnParameters(weights=weights, refinement=RefinementParameters(enabled=False))
    )


def scored(
    order: Order, name: str, folders: Sequence[Path], new_tracker: Callable[[], Tracker], weights: str = ""
) -> list[LandmarkScore]:
    """Return the scores of a tracker on some sequences, each kept until tracker or weights change.

    Args:
        order: what was ordered.
        name: of the tracker, with its weights.
        folders: of the sequences, in which all landmarks are marked on the first frame.
        new_tracker: makes it.
        weights: that it runs with, if any.
    """
    kept = order.work / "scores" / name
    kept.mkdir(parents=True, exist_ok=True)
    made_of = fingerprint(_made_of(weights))
    if not is_made_of(kept, made_of):
        for old in kept.iterdir():
            old.unlink()
        say_made_of(kept, made_of)
    made = cache(new_tracker)
    scores: list[LandmarkScore] = []
    for done, folder in enumerate(folders):
        order.progress(f"{name}, {folder.parent.name}", done, len(folders))
        path = kept / f"{folder.parent.name} {folder.name}.json"
        if not path.is_file():
            found = clust.score([folder], made, name)
            write_whole(path, json.dumps([asdict(one) for one in found], default=np.ndarray.tolist).encode())
        scores += [LandmarkScore.read(said) for said in json.loads(path.read_text())]
    order.progress(f"{name}, {folders[0].parent.name}", len(folders), len(folders))
    return scores

"""Cross-validation and test (sections 3.B and 3.C), beside the usual trackers on the same sequences."""

from functools import partial
from pathlib import Path

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import Modality
from lmtrack_ros.evaluation.baselines import create_baseline
from lmtrack_ros.evaluation.clust import LandmarkScore
from lmtrack_ros.evaluation.clust_study import page
from lmtrack_ros.evaluation.clust_study.networks import scored, tracker, trained
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.evaluation.tracker_settings import tracker_parameters
from lmtrack_ros.models.attention_mask_rcnn.configuration import REALTIME
from lmtrack_ros.models.attention_mask_rcnn.populations import rendered
from lmtrack_ros.models.parts import Part
from lmtrack_ros.phantoms import clust
from lmtrack_ros.trackers import create_tracker

_CORRELATION = "correlation"
_BASELINES = ("OpenCV CSRT", "OpenCV KCF")
_WEIGHTS = "ultrasound"


def conduct(order: Order) -> Path:
    """Train and score all folds, score the weights ordered on the test set; returns the page.

    Raises:
        UserError: there are no such weights, or a folder cannot be used.
    """
    if order.recordings:
        raise UserError("this study is of the study population: leave out --recordings")
    training = rendered(Part.TRAINING, clust.PARTS["training"], order.progress)
    test = rendered(Part.TEST, clust.PARTS["test"], order.progress)
    settings = tracker_parameters(_CORRELATION, Modality.ULTRASOUND)
    others = {
        _CORRELATION: lambda: create_tracker(_CORRELATION, settings),
        **{name: partial(create_baseline, name) for name in _BASELINES},
    }
    beside = {
        name: page.Tables(scored(order, name, training, new), scored(order, name, test, new))
        for name, new in others.items()
    }
    crossed: list[LandmarkScore] = []
    for number, fold in enumerate(clust.FOLDS, 1):
        weights = trained(order, f"fold-{number}", REALTIME, f"clust-without-{number}")
        left_out = [path for path in training if path.name in {patient.name for patient in fold}]
        crossed += scored(order, weights.name, left_out, partial(tracker, str(weights)))
    weights_name = order.weights or _WEIGHTS
    tested = scored(order, f"weights {Path(weights_name).name}", test, partial(tracker, weights_name))
    return page.write(order, page.Tables(crossed, tested), beside)

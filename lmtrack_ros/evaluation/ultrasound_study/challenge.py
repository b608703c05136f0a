"""Cross-validation and test (sections 3.B and 3.C), beside the usual trackers on the same sequences."""

from functools import partial
from pathlib import Path

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.evaluation.clust import LandmarkScore
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.evaluation.ultrasound_study import challenge_page as page
from lmtrack_ros.evaluation.ultrasound_study.networks import WEIGHTS, scored, tracker, trained, usual_trackers
from lmtrack_ros.models.attention_mask_rcnn.configuration import REALTIME
from lmtrack_ros.models.attention_mask_rcnn.populations import rendered
from lmtrack_ros.models.parts import Part
from lmtrack_ros.phantoms import clust


def conduct(order: Order) -> Path:
    """Train and score all folds, score the weights ordered on the test set; returns the page.

    Raises:
        UserError: there are no such weights, or a folder cannot be used.
    """
    if order.recordings:
        raise UserError("this study is of the study population: leave out --recordings")
    training = rendered(Part.TRAINING, clust.PARTS["training"], order.progress)
    test = rendered(Part.TEST, clust.PARTS["test"], order.progress)
    beside = {
        name: page.Tables(scored(order, name, training, new), scored(order, name, test, new))
        for name, new in usual_trackers().items()
    }
    crossed: list[LandmarkScore] = []
    for number, fold in enumerate(clust.FOLDS, 1):
        weights = trained(order, f"fold-{number}", REALTIME, f"clust-without-{number}")
        left_out = [path for path in training if path.name in {patient.name for patient in fold}]
        crossed += scored(order, weights.name, left_out, partial(tracker, str(weights)), str(weights))
    weights_name = order.weights or WEIGHTS
    said = f"weights {Path(weights_name).name}"
    tested = scored(order, said, test, partial(tracker, weights_name), weights_name)
    return page.write(order, page.Tables(crossed, tested), beside)

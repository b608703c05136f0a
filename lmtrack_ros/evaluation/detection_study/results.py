"""What the study measures."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.evaluation.detection_study.plan import Plan
from lmtrack_ros.evaluation.detection_study.radiographs import Radiographs

OURS = "template matching"
MEAN = "mean of the examples"
SUPERVISED = "supervised"
PRETRAINED = "supervised, SimCLR first"
PATCHES_MEAN = "SimCLR patches, mean place"
PATCHES_BEST = "SimCLR patches, best affinity"
BASELINES = (MEAN, SUPERVISED, PRETRAINED, PATCHES_MEAN, PATCHES_BEST)

ON_WHOLE, ON_PATCHES = "SimCLR on whole radiographs", "SimCLR on patches"

Found = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Arm:
    """A method with a number of examples.

    Attributes:
        method: name.
        count: of examples.
        found_px: (draws, patients, landmarks, 2).
        cpu_s: processor time of training for each draw, beyond what all draws share.
        image_ms: median time for one image.
    """

    method: str
    count: int
    found_px: Found
    cpu_s: float
    image_ms: float


@dataclass(frozen=True, eq=False)
class Results:
    """Everything the page is written from.

    Attributes:
        arms: by method and count.
        targets: the patients that landmarks were found in.
        shared_cpu_s: processor time of training what all draws share, by what it is.
        plan: how much of everything.
    """

    arms: Mapping[tuple[str, int], Arm]
    targets: Radiographs
    shared_cpu_s: Mapping[str, float]
    plan: Plan

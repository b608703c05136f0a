"""The parameters of the LandmarkNet tracker."""

from dataclasses import dataclass, field

from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.inference.parameters import InferenceParameters
from lmtrack_ros.models.landmark_net import LEAST_HEIGHT
from lmtrack_ros.models.tracking import Trust


@dataclass(frozen=True)
class LandmarkNetParameters:
    """Which weights find landmarks, and how far they are trusted."""

    weights: str = parameter(
        "chest", "of the network: a name ('lmtrack models' lists them), a file, or the folder of a run"
    )
    least_height: float = parameter(
        LEAST_HEIGHT, "of a peak that is a landmark; of a certain one it is 1", minimum=0.05, maximum=1.0
    )
    clear_height: float = parameter(
        0.6, "of a peak that may be TRACKED; a lower one is UNCERTAIN", minimum=0.05, maximum=1.0
    )
    trust: Trust = field(default_factory=lambda: Trust(tolerance_mm=5.0))
    inference: InferenceParameters = field(default_factory=InferenceParameters)

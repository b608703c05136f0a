"""The parameters of the template matching tracker."""

from dataclasses import dataclass, field

from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.inference.parameters import InferenceParameters
from lmtrack_ros.models.tracking import Trust
from lmtrack_ros.trackers.refinement import RefinementParameters


@dataclass(frozen=True)
class TemplateMatchingParameters:
    """Which weights follow landmarks, and how far they are trusted."""

    weights: str = parameter(
        "mr", "of the network: a name ('lmtrack models' lists them), a file, or the folder of a run"
    )
    batch: int = parameter(
        0,
        "views that go through the network at once; 0: one on a CPU, which gains nothing by more, 8 on a GPU",
        minimum=0,
        maximum=64,
    )
    sure_mm: float = parameter(
        17.0,
        "the network is sure of a landmark while its own 95 % radius is usually no more than this, mm",
        minimum=0.5,
        maximum=100.0,
    )
    step_mm: float = parameter(
        10.0,
        "how far from its last place a landmark is sought where the network's led to nothing, mm",
        minimum=0.5,
        maximum=100.0,
    )
    trust: Trust = field(default_factory=Trust)
    refinement: RefinementParameters = field(default_factory=RefinementParameters)
    inference: InferenceParameters = field(default_factory=InferenceParameters)

"""The parameters of the template matching tracker."""

from dataclasses import dataclass, field

from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.inference.parameters import InferenceParameters
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
    marking_error_mm: float = parameter(
        0.15, "standard deviation that no evidence can reduce, mm: what marking is uncertain by", minimum=0.0
    )
    tolerance_mm: float = parameter(
        3.0, "error that the confidence allows for, mm", minimum=0.1, maximum=100.0
    )
    tracked_confidence: float = parameter(
        0.5, "least confidence of a TRACKED estimate", minimum=0.1, maximum=1.0
    )
    refinement: RefinementParameters = field(default_factory=RefinementParameters)
    inference: InferenceParameters = field(default_factory=InferenceParameters)

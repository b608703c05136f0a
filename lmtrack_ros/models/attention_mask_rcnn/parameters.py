"""The parameters of the attention Mask R-CNN tracker."""

from dataclasses import dataclass, field

from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.models.tracker_parameters import ModelTrackerParameters
from lmtrack_ros.trackers.refinement import RefinementParameters


@dataclass(frozen=True)
class AttentionMaskRcnnParameters(ModelTrackerParameters):
    """Which weights follow landmarks, and how far they are trusted."""

    weights: str = parameter(
        "ultrasound",
        "of the network: a name ('lmtrack models' lists them), a file, or the folder of a run",
    )
    sure_px: float = parameter(
        15.0,
        "the network is sure of a landmark while its own 95 % radius is usually no more than this, px",
        minimum=1.0,
        maximum=100.0,
    )
    step_mm: float = parameter(
        4.0,
        "farther from its last place is a leap; so far round that a landmark is sought again, mm",
        minimum=0.5,
        maximum=100.0,
    )
    refinement: RefinementParameters = field(default_factory=lambda: RefinementParameters(half_width_px=30))

"""The parameters that the trackers of all models have."""

from dataclasses import dataclass, field

from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.inference.parameters import InferenceParameters
from lmtrack_ros.models.tracking import Trust
from lmtrack_ros.trackers.refinement import RefinementParameters


@dataclass(frozen=True)
class ModelTrackerParameters:
    """How far a network is trusted, and what runs it."""

    step_mm: float = parameter(
        10.0,
        "farther from its last place is a leap; so far round that a landmark is sought again, mm",
        minimum=0.5,
        maximum=100.0,
    )
    batch: int = parameter(
        0,
        "views that go through the network at once; 0: one on a CPU, which gains nothing by more, 8 on a GPU",
        minimum=0,
        maximum=64,
    )
    trust: Trust = field(default_factory=Trust)
    refinement: RefinementParameters = field(default_factory=RefinementParameters)
    inference: InferenceParameters = field(default_factory=InferenceParameters)

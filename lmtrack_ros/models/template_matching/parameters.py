"""The parameters of the template matching tracker."""

from dataclasses import dataclass

from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.models.tracker_parameters import ModelTrackerParameters


@dataclass(frozen=True)
class TemplateMatchingParameters(ModelTrackerParameters):
    """Which weights follow landmarks, and how far they are trusted."""

    weights: str = parameter(
        "mr", "of the network: a name ('lmtrack models' lists them), a file, or the folder of a run"
    )
    sure_mm: float = parameter(
        17.0,
        "the network is sure of a landmark while its own 95 % radius is usually no more than this, mm",
        minimum=0.5,
        maximum=100.0,
    )

"""The parameters of the patch-based iterative tracker."""

from dataclasses import dataclass, field

from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.inference.parameters import InferenceParameters
from lmtrack_ros.models.tracking import Trust


@dataclass(frozen=True)
class PatchIterativeParameters:
    """Which weights find landmarks, and how far they are trusted."""

    weights: str = parameter(
        "prostate", "of the network: a name ('lmtrack models' lists them), a file, or the folder of a run"
    )
    settled_mm: float = parameter(
        0.6, "the last step may be so long, mm; else the search begins anew", minimum=0.01, maximum=10.0
    )
    agreed: float = parameter(
        0.3,
        "how far apart the starts may end, as a share of how far apart they began; else the same",
        minimum=0.01,
        maximum=1.0,
    )
    trust: Trust = field(default_factory=lambda: Trust(tolerance_mm=5.0))
    inference: InferenceParameters = field(default_factory=InferenceParameters)

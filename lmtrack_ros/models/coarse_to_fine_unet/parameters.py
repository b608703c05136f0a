"""The parameters of the coarse-to-fine U-Net tracker."""

from dataclasses import dataclass, field

from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.inference.parameters import InferenceParameters
from lmtrack_ros.models.tracking import Trust


@dataclass(frozen=True)
class CoarseToFineUnetParameters:
    """Which weights find the tumour, how late they may say so, and how far they are trusted."""

    weights: str = parameter(
        "lung",
        "of the network: a name ('lmtrack models' lists them), a file, or the folder of a run",
    )
    late_steps: int = parameter(
        0,
        "time steps by which the tumour's place may be late, for the network to see what follows; counts as "
        "latency",
        minimum=0,
        maximum=8,
    )
    steady_s: float = parameter(
        1.0,
        "a tumour is not known before it was found for so long, without a gap, a leap or a rival, s",
        minimum=0.0,
        maximum=10.0,
    )
    fastest_mm_s: float = parameter(
        60.0, "what is farther off than this speed explains has leapt, mm/s", minimum=1.0, maximum=500.0
    )
    least_clarity: float = parameter(
        0.85, "mean output of the tumour's pixels, of a clear outline nearly 1", minimum=0.25, maximum=1.0
    )
    # of an outline in a projection less is known than of a landmark that was marked
    trust: Trust = field(default_factory=lambda: Trust(tolerance_mm=5.0))
    inference: InferenceParameters = field(default_factory=InferenceParameters)

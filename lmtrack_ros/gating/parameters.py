"""The parameters of the ``gating`` section of a configuration."""

from dataclasses import dataclass, field

from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.gating.couch_controller import CouchParameters
from lmtrack_ros.gating.gate import GateParameters


@dataclass(frozen=True)
class GatingParameters(GateParameters):
    """When the beam may be on, and how the couch may be moved."""

    tick_ms: float = parameter(10.0, "how often silence is looked for, ms", minimum=1.0, maximum=1000.0)
    max_clock_jump_ms: float = parameter(
        100.0,
        "a clock that is set by more than this disarms; 0: not watched, for a simulated clock, ms",
        minimum=0.0,
        maximum=5000.0,
    )
    couch: CouchParameters = field(default_factory=CouchParameters)

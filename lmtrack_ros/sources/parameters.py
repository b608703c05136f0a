"""The parameters of the ``image_source`` section of a configuration."""

from dataclasses import dataclass, field

from lmtrack_ros.core.frames import View
from lmtrack_ros.core.geometry import Modality
from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.phantoms.phantom import PhantomParameters


@dataclass(frozen=True)
class SourceParameters:
    """Where frames come from and how they are played."""

    uri: str = parameter("phantom:ultrasound", "folder, file, recording, camera:N or phantom:NAME")
    modality: str = parameter(
        "", "what made the images, where the source does not say", choices=("", *(m.value for m in Modality))
    )
    spacing_mm: tuple[float, ...] = parameter(
        (), "pixel pitch along columns and rows, likewise, mm", minimum=0.0
    )
    rate_hz: float = parameter(
        0.0, "frame rate, likewise, Hz; 0: as the source says", minimum=0.0, maximum=1000.0
    )
    view: str = parameter(
        "", "how the image plane stands in the room, likewise", choices=("", *(v.value for v in View))
    )
    imaging_latency_ms: float = parameter(
        0.0,
        "time from mid-exposure to the frame's arrival, ms: taken off a camera's arrival times, "
        "waited for by every other source",
        minimum=0.0,
        maximum=5000.0,
    )
    sad_mm: float = parameter(
        0.0, "of a projection, from the source to the isocentre, likewise, mm", minimum=0.0, maximum=10000.0
    )
    sid_mm: float = parameter(
        0.0, "of a projection, from the source to the detector, likewise, mm", minimum=0.0, maximum=10000.0
    )
    speed: float = parameter(1.0, "of a replay, in multiples of real time", minimum=0.01, maximum=100.0)
    publish_clock: bool = parameter(
        False, "publish the recorded time on /clock and keep the recorded stamps; others then use_sim_time"
    )
    wait_for_subscribers: int = parameter(
        1, "publish the first frame only when so many listen; 0: at once", minimum=0, maximum=100
    )
    phantom: PhantomParameters = field(default_factory=PhantomParameters)

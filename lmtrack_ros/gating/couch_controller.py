"""Where the couch should be so that the target stays at its planned position."""

from dataclasses import dataclass

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.core.records import NS_PER_MS, CouchMode, CouchShift
from lmtrack_ros.gating.gate import Target


@dataclass(frozen=True)
class CouchParameters:
    """How the couch may be moved."""

    tracking: bool = parameter(False, "whether the couch follows the target from the start")
    axes: tuple[bool, ...] = parameter(
        (False, True, False), "which axes of isocenter the couch may move along"
    )
    deadband_mm: float = parameter(
        0.3, "a new target nearer than this to the last one is not sent, mm", minimum=0.0, maximum=20.0
    )
    speed_limit_mm_s: float = parameter(
        8.0, "the couch must not move faster, mm/s", minimum=0.0, maximum=50.0
    )
    range_mm: float = parameter(
        30.0,
        "the couch is never sent further than this from its zero along an axis, mm",
        minimum=0.0,
        maximum=200.0,
    )
    max_radius_mm: float = parameter(
        5.0, "a landmark whose 95 % radius is larger moves no couch, mm", minimum=0.0, maximum=50.0
    )
    validity_ms: float = parameter(
        300.0,
        "a shift lapses, and the couch stops, this long after its frame, ms",
        minimum=1.0,
        maximum=5000.0,
    )

    def __post_init__(self) -> None:
        if len(self.axes) != 3:
            raise ValueError("axes needs one value for each of x, y and z")


class CouchController:
    """Turns the target of each frame into an absolute couch position.

    The image shows the target where the couch had carried it at acquisition. With that taken out,
    the wanted position does not depend on the motion under way, so a delayed command cannot
    make the loop oscillate.

    Args:
        parameters: how the couch may be moved.
        session: that of the gate.
    """

    def __init__(self, parameters: CouchParameters, session: int) -> None:
        self.parameters = parameters
        self.session = session
        self.tracking = parameters.tracking
        self._sequence = 0
        self._last_target_mm: Array | None = None

    def update(self, target: Target, stamp_ns: int) -> CouchShift:
        """Return the shift for one frame; of mode NONE while not tracking or the target is not certain.

        Args:
            target: what the gate found in the frame.
            stamp_ns: mid-exposure time of the frame.
        """
        axes = np.array(self.parameters.axes) & target.observed
        certain = not target.reasons and target.radius_mm <= self.parameters.max_radius_mm
        if not self.tracking or not certain or target.couch_mm is None or not axes.any():
            return self.stand_still(stamp_ns)

        limit = self.parameters.range_mm
        wanted = np.where(
            axes, np.clip(target.couch_mm - target.displacement_mm, -limit, limit), target.couch_mm
        )
        last = self._last_target_mm
        if last is not None and np.abs(wanted - last)[axes].max() < self.parameters.deadband_mm:
            wanted = last
        self._last_target_mm = wanted
        x, y, z = axes.tolist()
        return self._shift(stamp_ns, CouchMode.TRACKING, wanted, wanted - target.couch_mm, (x, y, z))

    def stand_still(self, stamp_ns: int) -> CouchShift:
        """Return a shift that asks for no motion; the next certain frames move the couch again."""
        self._last_target_mm = None
        return self._shift(stamp_ns)

    def _shift(
        self,
        stamp_ns: int,
        mode: CouchMode = CouchMode.NONE,
        target_mm: Array | None = None,
        delta_mm: Array | None = None,
        axes: tuple[bool, bool, bool] = (False, False, False),
    ) -> CouchShift:
        self._sequence += 1
        return CouchShift(
            stamp_ns=stamp_ns,
            session=self.session,
            sequence=self._sequence,
            mode=mode,
            target_mm=np.zeros(3) if target_mm is None else target_mm,
            delta_mm=np.zeros(3) if delta_mm is None else delta_mm,
            axes=axes,
            speed_limit_mm_s=self.parameters.speed_limit_mm_s,
            valid_until_ns=stamp_ns + int(self.parameters.validity_ms * NS_PER_MS),
        )

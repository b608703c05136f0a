"""The records that travel from image source to beam and couch.

All are immutable. Timestamps are integer nanoseconds of one clock; ``stamp_ns`` is the
mid-exposure time of the frame and is carried unchanged to every command that follows from it.
Lengths are millimetres. A default-constructed record is safe: LOST, HOLD, NONE.
"""

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.geometry import ISOCENTER, ImageGeometry

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


class Status(IntEnum):
    """How far an estimate may be trusted."""

    LOST = 0
    """The landmark was not found; the position is the last known one."""
    UNCERTAIN = 1
    """A best guess that must not open the beam."""
    TRACKED = 2
    """Found; 95 % of such estimates lie within ``radius_mm``."""


class GateState(IntEnum):
    """What the beam may do."""

    HOLD = 0
    BEAM_ON = 1


class CouchMode(IntEnum):
    """What a couch shift is for."""

    NONE = 0
    SETUP = 1
    TRACKING = 2


class Reason(IntFlag):
    """Why the beam is held, one bit each; zero means nothing holds it.

    The values are those of the constants in ``msg/GateDecision.msg``.
    """

    NOT_ARMED = 1 << 0
    OPERATOR_HOLD = 1 << 1
    LANDMARK_MISSING = 1 << 2
    LANDMARK_LOST = 1 << 3
    LANDMARK_UNCERTAIN = 1 << 4
    LOW_CONFIDENCE = 1 << 5
    NOT_FINITE = 1 << 6
    UNOBSERVED_AXIS = 1 << 7
    OUTSIDE_WINDOW = 1 << 8
    STALE_FRAME = 1 << 9
    TRACKER_SILENT = 1 << 10
    FRAME_GAP = 1 << 11
    TIME_BACKWARDS = 1 << 12
    WRONG_FRAME = 1 << 13
    COUCH_SILENT = 1 << 14
    COUCH_FAULT = 1 << 15
    DWELL = 1 << 16
    SHUTDOWN = 1 << 17
    LATENCY_OVER_BUDGET = 1 << 18
    OUTSIDE_IMAGE = 1 << 19
    BLACK_IMAGE = 1 << 20
    SATURATED_IMAGE = 1 << 21
    FROZEN_IMAGE = 1 << 22
    GEOMETRY_MISSING = 1 << 23
    GEOMETRY_CHANGED = 1 << 24
    CLOCK_JUMP = 1 << 25
    SECOND_OPINION = 1 << 26
    PREDICTOR_DIVERGED = 1 << 27
    COUCH_TIMEOUT = 1 << 28
    COUCH_OFF_PATH = 1 << 29
    COUCH_MOVING = 1 << 30
    SETUP = 1 << 31
    TRACKER_RESTARTED = 1 << 32
    SECOND_PUBLISHER = 1 << 33
    CONFIGURATION_CHANGED = 1 << 34


_NO_REASON = Reason(0)


def names(reasons: Reason) -> str:
    """Return the names of reasons for an operator to read."""
    return (reasons.name or str(int(reasons))).replace("|", ", ")


FRAME_FAULTS = (
    Reason.OUTSIDE_IMAGE
    | Reason.BLACK_IMAGE
    | Reason.SATURATED_IMAGE
    | Reason.FROZEN_IMAGE
    | Reason.GEOMETRY_MISSING
    | Reason.GEOMETRY_CHANGED
    | Reason.SECOND_PUBLISHER
)
"""What a tracker may say of a frame."""

LATCHING = (
    Reason.TIME_BACKWARDS
    | Reason.CLOCK_JUMP
    | Reason.FROZEN_IMAGE
    | Reason.GEOMETRY_MISSING
    | Reason.GEOMETRY_CHANGED
    | Reason.SECOND_OPINION
    | Reason.PREDICTOR_DIVERGED
    | Reason.COUCH_FAULT
    | Reason.COUCH_TIMEOUT
    | Reason.COUCH_OFF_PATH
    | Reason.COUCH_MOVING
    | Reason.TRACKER_RESTARTED
    | Reason.SECOND_PUBLISHER
    | Reason.CONFIGURATION_CHANGED
)
"""Once seen by an armed gate, these hold until an operator acknowledges them.

NOT_ARMED, OPERATOR_HOLD and SETUP end by the operator's own call; all others clear by themselves.
"""


@dataclass(frozen=True)
class LatencyStamps:
    """When one frame passed each stage, ns; zero means not reached.

    Attributes:
        acquired_ns: mid-exposure time.
        received_ns: arrival at the tracker.
        tracked_ns: end of the tracker's update.
        decided_ns: end of the gate's decision.
    """

    acquired_ns: int = 0
    received_ns: int = 0
    tracked_ns: int = 0
    decided_ns: int = 0


@dataclass(frozen=True, eq=False)
class Frame:
    """One image or volume.

    Attributes:
        stamp_ns: mid-exposure time, ns.
        image: (H, W) or, for a volume, (D, H, W) grey values; uint8, uint16 or float32.
        geometry: where the pixels lie, or None where the source does not know.
        received_ns: arrival at the consumer, ns; equal to stamp_ns for a recording without one.
    """

    stamp_ns: int
    image: NDArray[np.generic]
    geometry: ImageGeometry | None = None
    received_ns: int = 0


@dataclass(frozen=True)
class Landmark:
    """What to follow, as marked on one frame.

    Attributes:
        id: name, unique within the session.
        uv_px: (column, row) or (column, row, slice) of the landmark; centre of the top-left pixel is 0.
        axes: which image axes its position is defined on, as ``uv_px`` is ordered; the edge of
            a diaphragm dome, for one, has a row but no column.
    """

    id: str
    uv_px: tuple[float, ...]
    axes: tuple[bool, ...] = (True, True)

    def __post_init__(self) -> None:
        if len(self.uv_px) != len(self.axes):
            raise ValueError(f"landmark '{self.id}': {len(self.uv_px)} coordinates but {len(self.axes)} axes")


@dataclass(frozen=True)
class MarkedLandmarks:
    """Landmarks to start from, as an operator, a file or a phantom marks them.

    Attributes:
        landmarks: with distinct names.
        stamp_ns: of the frame they are marked on; 0 for the first or next one.
    """

    landmarks: tuple[Landmark, ...] = ()
    stamp_ns: int = 0


def _unknown_position() -> NDArray[np.float64]:
    return np.full(3, np.nan)


def _unknown_covariance() -> NDArray[np.float64]:
    return np.diag(np.full(3, np.inf))


@dataclass(frozen=True, eq=False)
class Estimate:
    """Where one landmark is in one frame.

    Attributes:
        id: the landmark's name.
        status: LOST, UNCERTAIN or TRACKED.
        uv_px: (column, row) or (column, row, slice) in the image.
        position_mm: (3,) in the frame of the set it belongs to. On an axis that the image does
            not see, the value is that of the image plane and means nothing by itself.
        covariance_mm2: (3, 3) in the same frame; infinite variance on an unobserved axis.
        observed: which axes of that frame the image sees.
        confidence: in [0, 1], comparable across trackers.
        radius_mm: 95 % of estimates reported like this lie within it, over the observed axes.
        contour_mm: (K, 3) outline of a target that is more than a point, a planar polygon in the same
            frame; K = 0 for a point.
        second_opinion_mm: (3,) where an independent tracker finds the landmark, or None.
    """

    id: str
    status: Status = Status.LOST
    uv_px: tuple[float, ...] = (np.nan, np.nan)
    position_mm: NDArray[np.float64] = field(default_factory=_unknown_position)
    covariance_mm2: NDArray[np.float64] = field(default_factory=_unknown_covariance)
    observed: tuple[bool, bool, bool] = (False, False, False)
    confidence: float = 0.0
    radius_mm: float = np.inf
    contour_mm: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    second_opinion_mm: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class LandmarkSet:
    """All estimates of one frame.

    Attributes:
        stamp_ns: mid-exposure time of the frame, ns.
        frame_id: tf frame of the positions: ``isocenter``, or ``table_top`` for an imager that
            rides on the couch.
        model: name of the tracker.
        estimates: one per landmark, in the order they were initialised.
        stamps: latency stamps so far.
        faults: what is wrong with the frame itself.
        session: random at each start of the tracker.
        marking: how often landmarks were marked in that session.
    """

    stamp_ns: int
    estimates: tuple[Estimate, ...] = ()
    frame_id: str = ISOCENTER
    model: str = ""
    stamps: LatencyStamps = LatencyStamps()
    faults: Reason = _NO_REASON
    session: int = 0
    marking: int = 0


@dataclass(frozen=True, eq=False)
class GateDecision:
    """Whether the beam may be on.

    Attributes:
        stamp_ns: mid-exposure time of the frame decided on, or the tick's time where none came.
        session: random at each start of the gate.
        sequence: grows by one with each decision of a session.
        state: HOLD or BEAM_ON.
        reasons: every reason that holds the beam now; zero exactly when BEAM_ON.
        valid_until_ns: BEAM_ON must not be acted on at or after this time; of a HOLD, stamp_ns.
        margin_mm: distance from the target's 95 % sphere to the nearest face of the window,
            negative outside, -inf where unknown; over the axes that the window constrains.
        target_mm: (3,) the predicted target in ``isocenter``, NaN where unknown.
        stamps: when the frame passed each stage.
        horizon_ms: how far after the frame the target is predicted.
    """

    stamp_ns: int
    session: int = 0
    sequence: int = 0
    state: GateState = GateState.HOLD
    reasons: Reason = Reason.NOT_ARMED
    valid_until_ns: int = 0
    margin_mm: float = -np.inf
    target_mm: NDArray[np.float64] = field(default_factory=_unknown_position)
    stamps: LatencyStamps = LatencyStamps()
    horizon_ms: float = 0.0


@dataclass(frozen=True, eq=False)
class CouchShift:
    """Where the couch should be.

    Attributes:
        stamp_ns: mid-exposure time of the frame that the shift follows from.
        session: that of the gate.
        sequence: grows by one with each shift of a session.
        mode: NONE asks for no motion.
        target_mm: (3,) absolute position of ``table_top`` in ``isocenter``.
        delta_mm: (3,) target_mm minus the couch position at acquisition.
        axes: which axes may move.
        speed_limit_mm_s: the couch must not move faster.
        valid_until_ns: the command lapses at this time and the couch stops.
    """

    stamp_ns: int
    session: int = 0
    sequence: int = 0
    mode: CouchMode = CouchMode.NONE
    target_mm: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    delta_mm: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    axes: tuple[bool, bool, bool] = (False, False, False)
    speed_limit_mm_s: float = 0.0
    valid_until_ns: int = 0


@dataclass(frozen=True, eq=False)
class CouchStatus:
    """What the couch reports.

    Attributes:
        stamp_ns: time of the pose.
        position_mm: (3,) position of ``table_top`` in ``isocenter``.
        moving: whether a motor turns.
        fault: empty, or what is wrong.
        acknowledged_session: session of the last shift that was taken up.
        acknowledged_sequence: sequence of that shift.
    """

    stamp_ns: int
    position_mm: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    moving: bool = False
    fault: str = ""
    acknowledged_session: int = 0
    acknowledged_sequence: int = 0


@dataclass(frozen=True)
class AuditEntry:
    """One operator's call to the gate, and what came of it.

    Attributes:
        stamp_ns: time of the call.
        session: of the gate.
        action: ``arm``, ``disarm``, ``hold``, ``release``, ``acknowledge``, ``track``, ``still``,
            ``propose_setup``, ``confirm_setup`` or ``cancel_setup``.
        accepted: whether it was done.
        message: what the operator was told.
        reasons: what held the beam after it.
    """

    stamp_ns: int
    session: int
    action: str
    accepted: bool
    message: str = ""
    reasons: Reason = Reason.NOT_ARMED

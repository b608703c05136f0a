"""Whether the couch does what it was told, and only that."""

import math
from collections import deque
from dataclasses import dataclass, field

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S, CouchMode, CouchShift, CouchStatus, Reason
from lmtrack_ros.gating.couch_controller import CouchParameters

# a couch that lags is somewhere on the way of the last seconds; no couch lags further behind
_LAG_NS = 2 * NS_PER_S
# corners of the way nearer to each other than this share of off_path_mm are one
_CORNER_SHARE = 0.1
_MAX_CORNERS = 256

# x, y, z in isocenter, mm: plain floats, as three are too few for an array to pay
Point = tuple[float, float, float]


@dataclass
class _Way:
    """Where the couch was sent, one corner after the other, since it last stood still.

    Attributes:
        corners: (when it was sent there, where), the first being where it came from.
    """

    corners: deque[tuple[int, Point]] = field(default_factory=lambda: deque(maxlen=_MAX_CORNERS))

    def lead_to(self, point: Point, now_ns: int, apart_mm: float) -> None:
        """Add a corner; one near to the last but one replaces the last."""
        corners = self.corners
        if len(corners) > 2 and math.dist(corners[-1][1], corners[-2][1]) < apart_mm:
            corners.pop()
        corners.append((now_ns, point))

    def is_near(self, point: Point, now_ns: int, limit_mm: float) -> bool:
        """Return whether a point is on the way; forgets what lies behind it and is old."""
        corners = self.corners
        to = corners[-1][1]
        if len(corners) == 1:
            return math.dist(point, to) <= limit_mm
        for i in range(len(corners) - 2, -1, -1):
            come = corners[i][1]
            if _distance_mm(point, come, to) <= limit_mm:
                # the couch may yet have to go all the way of the last seconds
                for _ in range(i):
                    if corners[1][0] > now_ns - _LAG_NS:
                        break
                    corners.popleft()
                return True
            to = come
        return False


class CouchWatch:
    """Compares what the couch reports with what it was sent.

    It says what is wrong at the moment; that it stays wrong until an operator has looked at it is for the
    gate to see to. Faults and silence, which need no command to be seen, are the gate's too.

    Args:
        parameters: what is expected of the couch.
    """

    def __init__(self, parameters: CouchParameters) -> None:
        self._timeout_ns = int(parameters.acknowledge_timeout_ms * NS_PER_MS)
        self._stuck_ns = int(parameters.stuck_ms * NS_PER_MS)
        self._stop_ns = int(parameters.stop_ms * NS_PER_MS)
        self._off_path_mm = parameters.off_path_mm
        self._still_mm = parameters.still_mm
        self._session = 0
        # until when the couch was sent somewhere; None once it has had its time to stop
        self._ends_ns: int | None = None
        self.acknowledge()

    def acknowledge(self) -> None:
        """Forget what was sent and where the couch was: an operator has looked at it.

        A couch that has just been told to stop keeps its time to do so.
        """
        # one that was stamped by a clock that has been set since would hide those that follow
        self._newest: CouchStatus | None = None
        self._unacknowledged: deque[tuple[int, int]] = deque()
        self._way: _Way | None = None
        self._sent: CouchShift | None = None
        self._anchor_mm: Point | None = None
        self._standing_off_ns = 0

    def commanded(self, shift: CouchShift, now_ns: int) -> None:
        """Take up a shift that is sent now; every one is to be given, in order."""
        if shift.mode is CouchMode.NONE or now_ns >= shift.valid_until_ns:
            if self._sent is not None:
                self._ends_ns = min(now_ns, self._sent.valid_until_ns)
                self._sent = None
            return
        self._session = shift.session
        self._unacknowledged.append((shift.sequence, now_ns))
        if self._way is None:
            self._way = _Way()
        if self._sent is None:
            self._standing_off_ns = 0
            self._anchor_mm = None
            if self._newest is not None:
                self._way.lead_to(_point(self._newest.position_mm), now_ns, 0.0)
        self._way.lead_to(_point(shift.target_mm), now_ns, _CORNER_SHARE * self._off_path_mm)
        self._sent = shift
        self._ends_ns = shift.valid_until_ns

    def reported(self, status: CouchStatus, now_ns: int) -> Reason:
        """Take up what the couch reports; returns what is wrong with it now, zero for nothing."""
        newest = self._newest
        point = _point(status.position_mm)
        if not all(map(math.isfinite, point)) or (newest and status.stamp_ns <= newest.stamp_ns):
            return self.tick(now_ns)
        self._newest = status
        if status.acknowledged_session == self._session:
            waiting = self._unacknowledged
            while waiting and waiting[0][0] <= status.acknowledged_sequence:
                waiting.popleft()

        reasons = self.tick(now_ns)
        if self._ends_ns is None:
            return reasons | self._stirring(point, status.moving)
        if self._way is None:
            return reasons
        if not self._way.is_near(point, now_ns, self._off_path_mm):
            reasons |= Reason.COUCH_OFF_PATH
        if self._sent is not None and newest is not None:
            reasons |= self._stuck(point, self._sent, status.stamp_ns - newest.stamp_ns)
        return reasons

    def tick(self, now_ns: int) -> Reason:
        """Return what is wrong now that time has passed, zero for nothing."""
        if self._ends_ns is not None and now_ns - self._ends_ns > self._stop_ns:
            # from here on the couch must stand still
            self._way = self._sent = self._ends_ns = self._anchor_mm = None
        if self._unacknowledged and now_ns - self._unacknowledged[0][1] > self._timeout_ns:
            return Reason.COUCH_TIMEOUT
        return Reason(0)

    def _stirring(self, point: Point, moving: bool) -> Reason:
        """Return COUCH_MOVING where the couch moves although nothing was sent."""
        anchor, self._anchor_mm = self._anchor_mm, self._anchor_mm or point
        if moving or (anchor is not None and math.dist(point, anchor) > self._still_mm):
            self._anchor_mm = point
            return Reason.COUCH_MOVING
        return Reason(0)

    def _stuck(self, point: Point, sent: CouchShift, passed_ns: int) -> Reason:
        """Return COUCH_OFF_PATH where the couch has stood far from where it was sent for too long."""
        anchor = self._anchor_mm
        if anchor is None or math.dist(point, anchor) > self._still_mm:
            self._anchor_mm = point
            self._standing_off_ns = 0
        # a target that comes near in passing is no progress of the couch
        elif math.dist(point, _point(sent.target_mm)) > self._off_path_mm:
            self._standing_off_ns += passed_ns
        return Reason.COUCH_OFF_PATH if self._standing_off_ns > self._stuck_ns else Reason(0)


def _point(position_mm: Array) -> Point:
    x, y, z = position_mm.tolist()
    return x, y, z


def _distance_mm(point: Point, start: Point, end: Point) -> float:
    """Return the distance of a point from a line segment."""
    (x, y, z), (u, v, w) = start, end
    u, v, w = u - x, v - y, w - z
    x, y, z = point[0] - x, point[1] - y, point[2] - z
    length2 = u * u + v * v + w * w
    if length2 > 0:
        share = min(max((x * u + y * v + z * w) / length2, 0.0), 1.0)
        x, y, z = x - u * share, y - v * share, z - w * share
    return math.hypot(x, y, z)

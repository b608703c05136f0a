"""A simulated couch with dead time and a speed limit."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S, CouchMode, CouchShift, CouchStatus


@dataclass(frozen=True)
class CouchSimulatorParameters:
    """What the couch can do."""

    dead_time_ms: float = parameter(
        50.0, "time from a command's arrival to the motion, ms", minimum=0.0, maximum=5000.0
    )
    speed_mm_s: float = parameter(16.0, "greatest speed, mm/s", minimum=0.0, maximum=200.0)
    rate_hz: float = parameter(50.0, "how often it reports, Hz", minimum=1.0, maximum=500.0)


class CouchSimulator:
    """Moves in a straight line to the last target, after the dead time, at no more than its speed.

    A shift is taken up when it is newer than the last of its session; another session only once
    the last shift has lapsed. The couch stops where it is when a shift lapses or asks for no motion.

    Args:
        parameters: what the couch can do.
        start_ns: time at which the couch stands at zero.
    """

    def __init__(self, parameters: CouchSimulatorParameters, start_ns: int) -> None:
        self._dead_time_ns = int(parameters.dead_time_ms * NS_PER_MS)
        self._speed_mm_s = parameters.speed_mm_s
        self._time_ns = start_ns
        self._position_mm: Array = np.zeros(3)
        self._moving = False
        self._following = CouchShift(stamp_ns=0)
        self._accepted = CouchShift(stamp_ns=0)
        self._pending: deque[tuple[int, CouchShift]] = deque()

    def command(self, shift: CouchShift, now_ns: int) -> None:
        """Take up a shift that arrives now; ignore one that is old, lapsed or makes no sense."""
        last = self._accepted
        newer = (
            shift.sequence > last.sequence if shift.session == last.session else now_ns >= last.valid_until_ns
        )
        numbers = (*shift.target_mm, shift.speed_limit_mm_s)
        if not newer or now_ns >= shift.valid_until_ns or not np.isfinite(numbers).all() or numbers[-1] < 0:
            return
        self._accepted = shift
        self._pending.append((now_ns + self._dead_time_ns, shift))

    def stop(self, now_ns: int) -> None:
        """Stop at once, and forget what was commanded."""
        self.advance(now_ns)
        self._pending.clear()
        self._following = CouchShift(stamp_ns=0)
        self._moving = False

    def advance(self, now_ns: int) -> CouchStatus:
        """Move on to a time, not before the last, and report."""
        while self._pending and self._pending[0][0] <= now_ns:
            start_ns, shift = self._pending.popleft()
            self._move_until(start_ns)
            self._following = shift
        self._move_until(now_ns)
        return CouchStatus(
            stamp_ns=now_ns,
            position_mm=self._position_mm,
            moving=self._moving,
            acknowledged_session=self._accepted.session,
            acknowledged_sequence=self._accepted.sequence,
        )

    def _move_until(self, time_ns: int) -> None:
        shift = self._following
        lapses_ns = shift.valid_until_ns + self._dead_time_ns
        travel_s = (min(time_ns, lapses_ns) - self._time_ns) / NS_PER_S
        self._time_ns = max(self._time_ns, time_ns)
        self._moving = False
        if shift.mode is CouchMode.NONE or travel_s <= 0:
            return
        way = np.where(shift.axes, shift.target_mm - self._position_mm, 0.0)
        distance_mm = float(np.linalg.norm(way))
        reach_mm = min(self._speed_mm_s, shift.speed_limit_mm_s) * travel_s
        if distance_mm > 0:
            self._moving = distance_mm > reach_mm and time_ns < lapses_ns
            self._position_mm = self._position_mm + way * min(1.0, reach_mm / distance_mm)

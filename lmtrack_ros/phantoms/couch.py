"""A simulated couch: dead time, inertia, lag, backlash, and the ways in which a couch fails."""

from collections import deque
from dataclasses import dataclass
from enum import Enum

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S, CouchMode, CouchShift, CouchStatus

# with inertia or lag, the motion is followed in steps of at most this
_STEP_NS = NS_PER_MS
# nearer than this to where it settles, the couch stands
_AT_REST_MM = 0.05
_RUNAWAY_MM_S = 4.0


class CouchFailure(str, Enum):
    """What is wrong with the couch."""

    NONE = "none"
    SILENT = "silent"
    """It moves but does not report; that is for whoever publishes the reports to see to."""
    STUCK = "stuck"
    """It acknowledges, and does not move."""
    OFF_PATH = "off_path"
    """It runs away along x, y and z at 4 mm/s in all, whatever it is told."""
    UNACKNOWLEDGED = "unacknowledged"
    """It moves, and acknowledges nothing."""
    FAULT = "fault"
    """It reports a fault and stands still."""


@dataclass(frozen=True)
class CouchSimulatorParameters:
    """What the couch can do."""

    dead_time_ms: float = parameter(
        50.0, "time from a command's arrival to the motion, ms", minimum=0.0, maximum=5000.0
    )
    speed_mm_s: float = parameter(16.0, "greatest speed, mm/s", minimum=0.0, maximum=200.0)
    rate_hz: float = parameter(50.0, "how often it reports, Hz", minimum=1.0, maximum=500.0)
    acceleration_mm_s2: float = parameter(
        0.0, "greatest acceleration, mm/s²; 0: no limit", minimum=0.0, maximum=10_000.0
    )
    lag_ms: float = parameter(
        0.0,
        "time constant with which the table top follows its motors, ms; 0: at once",
        minimum=0.0,
        maximum=5000.0,
    )
    backlash_mm: float = parameter(
        0.0,
        "play of each axis: how far its motor turns on a reversal before the table top moves, mm",
        minimum=0.0,
        maximum=10.0,
    )
    failure: str = parameter(
        CouchFailure.NONE.value,
        "what is wrong with the couch, to see how the gate answers",
        choices=[failure.value for failure in CouchFailure],
    )


class CouchSimulator:
    """Moves in a straight line to the last target, after the dead time, at no more than its speed.

    A shift is taken up when it is newer than the last of its session; another session only once
    the last shift has lapsed. The couch stops where it is when a shift lapses or asks for no motion.
    What it reports is where the table top is: the motors know nothing of lag and backlash, so with
    backlash the table top stands off by up to half of it.

    Args:
        parameters: what the couch can do.
        start_ns: time at which the couch stands at zero.
    """

    def __init__(self, parameters: CouchSimulatorParameters, start_ns: int) -> None:
        self.failure = CouchFailure(parameters.failure)
        """What is wrong from now on."""
        self._dead_time_ns = int(parameters.dead_time_ms * NS_PER_MS)
        self._speed_mm_s = parameters.speed_mm_s
        self._acceleration_mm_s2 = parameters.acceleration_mm_s2
        self._lag_s = parameters.lag_ms / 1e3
        self._half_backlash_mm = parameters.backlash_mm / 2
        self._time_ns = start_ns
        self._motor_mm: Array = np.zeros(3)
        self._motor_mm_s: Array = np.zeros(3)
        self._driven_mm: Array = np.zeros(3)
        self._position_mm: Array = np.zeros(3)
        self._moving = False
        self._following = CouchShift(stamp_ns=0)
        self._accepted = CouchShift(stamp_ns=0)
        self._acknowledged = CouchShift(stamp_ns=0)
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
        if self.failure is not CouchFailure.UNACKNOWLEDGED:
            self._acknowledged = shift
        self._pending.append((now_ns + self._dead_time_ns, shift))

    def stop(self, now_ns: int) -> None:
        """Stop at once, and forget what was commanded."""
        self.advance(now_ns)
        self._pending.clear()
        self._following = CouchShift(stamp_ns=0)
        self._motor_mm_s = np.zeros(3)
        self._motor_mm = self._driven_mm
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
            fault="simulated fault" if self.failure is CouchFailure.FAULT else "",
            acknowledged_session=self._acknowledged.session,
            acknowledged_sequence=self._acknowledged.sequence,
        )

    def _move_until(self, time_ns: int) -> None:
        """Follow the present shift up to a time, and stand still from when it lapses."""
        lapses_ns = self._following.valid_until_ns + self._dead_time_ns
        if self._following.mode is not CouchMode.NONE and lapses_ns > self._time_ns:
            self._follow(self._following, min(time_ns, lapses_ns))
        self._follow(None, time_ns)

    def _follow(self, shift: CouchShift | None, time_ns: int) -> None:
        in_steps = self._acceleration_mm_s2 > 0 or self._lag_s > 0
        while self._time_ns < time_ns:
            step_ns = time_ns - self._time_ns
            if in_steps:
                step_ns = min(step_ns, _STEP_NS)
            self._time_ns += step_ns
            self._step(shift, step_ns / NS_PER_S)

    def _step(self, shift: CouchShift | None, step_s: float) -> None:
        before_mm = self._motor_mm
        if self.failure is CouchFailure.OFF_PATH:
            self._motor_mm_s = np.full(3, _RUNAWAY_MM_S / np.sqrt(3))
            self._motor_mm = before_mm + self._motor_mm_s * step_s
        elif self.failure in (CouchFailure.STUCK, CouchFailure.FAULT):
            self._motor_mm_s = np.zeros(3)
        else:
            self._turn_motors(shift, step_s)

        behind_mm = self._motor_mm - self._driven_mm
        remaining = np.exp(-step_s / self._lag_s) if self._lag_s > 0 else 0.0
        self._driven_mm = self._motor_mm - behind_mm * remaining
        half_mm = self._half_backlash_mm
        self._position_mm = np.clip(self._position_mm, self._driven_mm - half_mm, self._driven_mm + half_mm)
        self._moving = bool(self._motor_mm_s.any() or np.abs(behind_mm).max() * remaining > _AT_REST_MM)

    def _turn_motors(self, shift: CouchShift | None, step_s: float) -> None:
        """Let the motors go on for one step: straight to the target, and no faster than they may."""
        destination_mm = self._motor_mm
        if shift is not None:
            destination_mm = np.where(shift.axes, shift.target_mm, destination_mm)
        way_mm = destination_mm - self._motor_mm
        distance_mm = float(np.linalg.norm(way_mm))
        speed_mm_s = 0.0
        if shift is not None and distance_mm > 0:
            speed_mm_s = min(self._speed_mm_s, shift.speed_limit_mm_s, distance_mm / step_s)
        change_mm_s = self._acceleration_mm_s2 * step_s
        if change_mm_s > 0:
            # no faster than it can brake from before the target
            brake_mm_s = np.sqrt(change_mm_s**2 / 4 + 2 * self._acceleration_mm_s2 * distance_mm)
            speed_mm_s = min(speed_mm_s, brake_mm_s - change_mm_s / 2)
        wanted_mm_s = way_mm * (speed_mm_s / distance_mm) if speed_mm_s > 0 else np.zeros(3)
        change = wanted_mm_s - self._motor_mm_s
        over = float(np.linalg.norm(change)) / change_mm_s if change_mm_s > 0 else 0.0
        self._motor_mm_s = self._motor_mm_s + change / max(over, 1.0)
        if over <= 1 and speed_mm_s == distance_mm / step_s:
            self._motor_mm = destination_mm
            self._motor_mm_s = np.zeros(3)
        else:
            self._motor_mm = self._motor_mm + self._motor_mm_s * step_s

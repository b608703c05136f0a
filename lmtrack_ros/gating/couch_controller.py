"""Where the couch should be so that the target stays at its planned position."""

import math
from dataclasses import dataclass

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S, CouchMode, CouchShift
from lmtrack_ros.gating.target import Target

_AXES = range(3)
# a slower low-pass is for drift, which needs no prediction
_PREDICTED_LOW_PASS_MS = 500.0


@dataclass(frozen=True)
class CouchParameters:
    """How the couch may be moved, and what is expected of it."""

    tracking: bool = parameter(False, "whether the couch follows the target from the start")
    axes: tuple[bool, ...] = parameter(
        (False, True, False), "which axes of isocenter the couch may move along"
    )
    deadband_mm: float = parameter(
        0.1, "a new target nearer than this to the last one is not sent, mm", minimum=0.0, maximum=20.0
    )
    low_pass_ms: float = parameter(
        100.0,
        "time constant of what the couch follows: 20000 for drift only, which leaves what is faster to the "
        "gate; not less than the error of the couch's time stamps, or the couch may swing, ms",
        minimum=0.0,
        maximum=600_000.0,
    )
    response_ms: float = parameter(
        0.0,
        "time from sending a shift until the couch begins to move: its dead time and lag, for prediction, ms",
        minimum=0.0,
        maximum=2000.0,
    )
    speed_limit_mm_s: float = parameter(
        8.0, "the couch must not move faster, mm/s", minimum=0.0, maximum=50.0
    )
    acceleration_limit_mm_s2: float = parameter(
        200.0, "what it is sent to must not accelerate faster, mm/s²", minimum=1.0, maximum=10_000.0
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
    acknowledge_timeout_ms: float = parameter(
        500.0,
        "a shift that the couch has not acknowledged after this holds the beam, ms",
        minimum=1.0,
        maximum=10_000.0,
    )
    off_path_mm: float = parameter(
        3.0,
        "how far the couch may be from the way it was sent, or stand from where it was sent, mm",
        minimum=0.1,
        maximum=50.0,
    )
    stuck_ms: float = parameter(
        1000.0,
        "a couch that was sent further than off_path_mm must get on within this, ms",
        minimum=1.0,
        maximum=10_000.0,
    )
    stop_ms: float = parameter(
        1000.0,
        "the couch must stand still this long after it was told to, or nothing was sent, ms",
        minimum=1.0,
        maximum=10_000.0,
    )
    still_mm: float = parameter(
        0.5, "a couch that moves less than this stands still, mm", minimum=0.01, maximum=10.0
    )
    setup_frames: int = parameter(
        10, "good frames whose mean a set-up shift brings to plan", minimum=1, maximum=10_000
    )
    max_setup_mm: float = parameter(
        20.0, "a longer set-up shift is not proposed, mm", minimum=0.1, maximum=200.0
    )
    setup_age_s: float = parameter(
        60.0, "a proposed set-up shift can be confirmed this long, s", minimum=1.0, maximum=3600.0
    )
    setup_tolerance_mm: float = parameter(
        1.0,
        "how far the target may be off plan along each seen axis, in two frames after the set-up shift, mm",
        minimum=0.1,
        maximum=20.0,
    )

    def __post_init__(self) -> None:
        if len(self.axes) != 3:
            raise ValueError("axes needs one value for each of x, y and z")


class Shifts:
    """Makes the couch shifts of one session, with the limits and the number that each carries.

    Args:
        parameters: how the couch may be moved.
        session: that of the gate.
    """

    def __init__(self, parameters: CouchParameters, session: int) -> None:
        self.session = session
        self._speed_limit_mm_s = parameters.speed_limit_mm_s
        self._validity_ns = int(parameters.validity_ms * NS_PER_MS)
        self._sequence = 0

    def number_next(self, sequence: int) -> None:
        """Let the next shift bear a number: in a replay, that by which the couch acknowledged it."""
        self._sequence = sequence - 1

    def make(
        self,
        stamp_ns: int,
        mode: CouchMode,
        target_mm: Array,
        couch_mm: Array,
        axes: tuple[bool, bool, bool],
        *,
        lapsed: bool = False,
    ) -> CouchShift:
        """Return the next shift.

        Args:
            stamp_ns: mid-exposure time of the frame that it follows from.
            mode: SETUP or TRACKING.
            target_mm: (3,) where the couch should be in isocenter.
            couch_mm: (3,) where it was at acquisition.
            axes: which axes may move.
            lapsed: whether it has already lapsed, so that no couch acts on it.
        """
        self._sequence += 1
        return CouchShift(
            stamp_ns=stamp_ns,
            session=self.session,
            sequence=self._sequence,
            mode=mode,
            target_mm=target_mm,
            delta_mm=target_mm - couch_mm,
            axes=axes,
            speed_limit_mm_s=self._speed_limit_mm_s,
            valid_until_ns=stamp_ns + (0 if lapsed else self._validity_ns),
        )

    def none(self, stamp_ns: int) -> CouchShift:
        """Return the next shift, which asks for no motion."""
        return self.make(stamp_ns, CouchMode.NONE, np.zeros(3), np.zeros(3), (False, False, False))


class CouchController:
    """Turns the target of each frame into an absolute couch position.

    The image shows the target where the couch had carried it at acquisition. With that taken out,
    the wanted position does not depend on the motion under way, so a delayed command cannot
    make the loop oscillate. Where the couch's time stamps are wrong, something of its motion remains: its
    speed times that error. A low-pass with a time constant not below the error keeps the gain of
    that remainder under one at every frequency, whatever the delay.

    From frame to frame, what is sent moves towards what is wanted like a couch that starts, runs and
    brakes within its limits, and stops there without running past. It starts from where the couch is.

    Args:
        parameters: how the couch may be moved.
        session: that of the gate.
    """

    def __init__(self, parameters: CouchParameters, session: int) -> None:
        self.parameters = parameters
        self.shifts = Shifts(parameters, session)
        self.tracking = parameters.tracking
        self._path: _Path | None = None

    def horizon_ns(self, age_ns: int, interval_ns: int) -> int:
        """Return how far ahead of a frame's exposure the couch arrives where the frame sends it, ns.

        Args:
            age_ns: of the frame when its shift is sent.
            interval_ns: between frames: a target is reached, on average, half of it after it is taken up.
        """
        low_pass_ms, response_ms = self.parameters.low_pass_ms, self.parameters.response_ms
        if low_pass_ms <= _PREDICTED_LOW_PASS_MS:
            # it delays what is much slower than itself by its time constant
            response_ms += low_pass_ms
        return age_ns + int(response_ms * NS_PER_MS) + interval_ns // 2

    def update(self, target: Target, stamp_ns: int, predicted_mm: Array | None = None) -> CouchShift:
        """Return the shift for one frame; of mode NONE while not tracking or the target is not certain.

        Args:
            target: what the gate found in the frame.
            stamp_ns: mid-exposure time of the frame.
            predicted_mm: (3,) displacement from plan in isocenter when the couch will have arrived,
                the couch's part taken out; None: as in the frame.
        """
        parameters = self.parameters
        couch_mm = target.couch_mm
        if (
            not self.tracking
            or target.reasons
            or not target.radius_mm <= parameters.max_radius_mm
            or couch_mm is None
        ):
            return self.stand_still(stamp_ns)
        may, sees = parameters.axes, target.observed
        axes = (may[0] and sees[0], may[1] and sees[1], may[2] and sees[2])
        couch = couch_mm.tolist()
        if predicted_mm is None:
            displacement = target.displacement_mm.tolist()
            wanted = [couch[i] - displacement[i] if axes[i] else couch[i] for i in _AXES]
        else:
            predicted = predicted_mm.tolist()
            wanted = [-predicted[i] if axes[i] else couch[i] for i in _AXES]
        # a couch further out than it could have been sent was moved by somebody else
        limit_mm = parameters.range_mm + parameters.off_path_mm
        is_out = any(axes[i] and abs(couch[i]) > limit_mm for i in _AXES)
        if is_out or not any(axes) or not all(map(math.isfinite, wanted)):
            return self.stand_still(stamp_ns)

        path = self._path
        if path is None or not path.goes_on(axes, stamp_ns):
            path = self._path = _Path(parameters, axes, couch, stamp_ns)
        sent_mm = np.array(path.towards(wanted, couch, stamp_ns))
        return self.shifts.make(stamp_ns, CouchMode.TRACKING, sent_mm, couch_mm, axes)

    def stand_still(self, stamp_ns: int) -> CouchShift:
        """Return a shift that asks for no motion; the next certain frames move the couch again."""
        self._path = None
        return self.shifts.none(stamp_ns)


class _Path:
    """What is sent while the couch follows without interruption.

    In plain floats: three axes are too few for an array to pay.

    Args:
        parameters: the limits.
        axes: which axes move.
        couch_mm: where the couch is.
        stamp_ns: of the first frame.
    """

    def __init__(
        self, parameters: CouchParameters, axes: tuple[bool, bool, bool], couch_mm: list[float], stamp_ns: int
    ) -> None:
        self._parameters = parameters
        self._axes = axes
        self._stamp_ns = stamp_ns
        self._smooth_mm = couch_mm
        self._goal_mm: list[float] | None = None
        self._sent_mm = couch_mm
        self._speed_mm_s = [0.0, 0.0, 0.0]

    def goes_on(self, axes: tuple[bool, bool, bool], stamp_ns: int) -> bool:
        """Return whether a frame continues this path: same axes, and the last shift had not lapsed."""
        lapsed_ns = self._stamp_ns + int(self._parameters.validity_ms * NS_PER_MS)
        return axes == self._axes and self._stamp_ns <= stamp_ns < lapsed_ns

    def towards(self, wanted_mm: list[float], couch_mm: list[float], stamp_ns: int) -> list[float]:
        """Return where to send the couch now; an axis that does not move stays where the couch is.

        Args:
            wanted_mm: where it should be.
            couch_mm: where it was at acquisition.
            stamp_ns: of the frame.
        """
        parameters = self._parameters
        step_s = (stamp_ns - self._stamp_ns) / NS_PER_S
        self._stamp_ns = stamp_ns
        goal = self._goal(wanted_mm, step_s)
        sent, before = self._sent_mm, self._speed_mm_s
        if step_s > 0:
            way = [goal[i] - sent[i] if self._axes[i] else 0.0 for i in _AXES]
            distance_mm = math.hypot(*way)
            limit_mm_s2 = parameters.acceleration_limit_mm_s2
            speed_mm_s = min(
                parameters.speed_limit_mm_s, _stopping_speed_mm_s(distance_mm, limit_mm_s2, step_s)
            )
            scale = speed_mm_s / distance_mm if distance_mm > 0 else 0.0
            change = [way[i] * scale - before[i] for i in _AXES]
            length_mm_s = math.hypot(*change)
            share = min(1.0, limit_mm_s2 * step_s / length_mm_s) if length_mm_s > 0 else 1.0
            speed = [before[i] + change[i] * share for i in _AXES]
            self._speed_mm_s = speed = self._within_range(speed, step_s)
            sent = [sent[i] + speed[i] * step_s for i in _AXES]
        self._sent_mm = sent = [self._clipped_mm(sent[i]) if self._axes[i] else couch_mm[i] for i in _AXES]
        return sent

    def _goal(self, wanted_mm: list[float], step_s: float) -> list[float]:
        """Return what is wanted after low-pass, range and deadband."""
        time_constant_s = self._parameters.low_pass_ms / 1e3
        if time_constant_s > 0:
            # it starts from where the couch is, so that drift is not taken from one phase of a breath
            take = -math.expm1(-step_s / time_constant_s)
            smooth = self._smooth_mm
            wanted_mm = [smooth[i] + (wanted_mm[i] - smooth[i]) * take for i in _AXES]
            self._smooth_mm = wanted_mm
        goal = [self._clipped_mm(wanted_mm[i]) for i in _AXES]
        last = self._goal_mm
        if last is None or any(
            self._axes[i] and abs(goal[i] - last[i]) >= self._parameters.deadband_mm for i in _AXES
        ):
            self._goal_mm = last = goal
        return last

    def _clipped_mm(self, position_mm: float) -> float:
        limit_mm = self._parameters.range_mm
        return min(max(position_mm, -limit_mm), limit_mm)

    def _within_range(self, speed_mm_s: list[float], step_s: float) -> list[float]:
        """Return the speed, or one nearer to braking at once, from which it can stop within the range.

        Braking at once always can: the speed before was one from which it could.
        """
        if self._can_stop(speed_mm_s, step_s):
            return speed_mm_s
        before = self._speed_mm_s
        before_mm_s = math.hypot(*before)
        drop_mm_s = self._parameters.acceleration_limit_mm_s2 * step_s
        kept = max(0.0, 1 - drop_mm_s / before_mm_s) if before_mm_s > 0 else 0.0
        for share in (0.75, 0.5, 0.25):
            speed = [before[i] * kept + (speed_mm_s[i] - before[i] * kept) * share for i in _AXES]
            if self._can_stop(speed, step_s):
                return speed
        return [s * kept for s in before]

    def _can_stop(self, speed_mm_s: list[float], step_s: float) -> bool:
        """Return whether it comes to rest within the range after one step at a speed."""
        parameters = self._parameters
        travel_s = step_s + math.hypot(*speed_mm_s) / (2 * parameters.acceleration_limit_mm_s2)
        for i in _AXES:
            if self._axes[i] and abs(self._sent_mm[i] + speed_mm_s[i] * travel_s) > parameters.range_mm:
                return False
        return True


def _stopping_speed_mm_s(distance_mm: float, limit_mm_s2: float, step_s: float) -> float:
    """Return the greatest speed over one step from which the next steps can brake to end on a point.

    Args:
        distance_mm: to that point.
        limit_mm_s2: greatest acceleration.
        step_s: length of this and the next steps.
    """
    drop_mm_s = limit_mm_s2 * step_s
    # braking takes n more steps: distance = ((n + 1) speed - drop n (n + 1) / 2) step
    n = math.floor((math.sqrt(1 + 8 * distance_mm / (drop_mm_s * step_s)) - 1) / 2)
    return distance_mm / step_s / (n + 1) + drop_mm_s * n / 2

"""The beam gate: HOLD unless everything is known to be well."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.core.records import (
    FRAME_FAULTS,
    LATCHING,
    NS_PER_MS,
    CouchStatus,
    GateDecision,
    GateState,
    LandmarkSet,
    LatencyStamps,
    Reason,
    names,
)
from lmtrack_ros.gating.assessment import AssessmentParameters, Assessor
from lmtrack_ros.gating.couch_history import CouchHistory
from lmtrack_ros.gating.latency import LatencyLedger
from lmtrack_ros.gating.target import Target

# frame stamps and the gate's clock may come from two readings of one clock
_FUTURE_TOLERANCE_NS = 5 * NS_PER_MS
_NOTHING = Reason(0)
# how often a HOLD that lasts is said again
_REPEAT_NS = 100 * NS_PER_MS
# after these the positions so far say nothing about those to come
_MOTION_UNKNOWN = (
    Reason.TIME_BACKWARDS
    | Reason.CLOCK_JUMP
    | Reason.GEOMETRY_CHANGED
    | Reason.PREDICTOR_DIVERGED
    | Reason.TRACKER_RESTARTED
    | Reason.SECOND_PUBLISHER
    | Reason.CONFIGURATION_CHANGED
)


@dataclass(frozen=True)
class GateParameters(AssessmentParameters):
    """When the beam may be on."""

    max_age_ms: float = parameter(
        200.0,
        "a frame older than this, from mid-exposure to now, holds the beam; a BEAM_ON is valid as long, ms",
        minimum=1.0,
        maximum=5000.0,
    )
    beam_latency_ms: float = parameter(
        0.0, "from a decision until the beam has followed it, ms", minimum=0.0, maximum=2000.0
    )
    latency_budget_ms: float = parameter(
        500.0,
        "greatest 95th percentile of the latency from exposure to beam over the last ten seconds, ms",
        minimum=1.0,
        maximum=10000.0,
    )
    resume_frames: int = parameter(
        3, "good frames in a row before the beam may go on", minimum=1, maximum=1000
    )
    dwell_ms: float = parameter(
        0.0, "time that these good frames must span at least, ms", minimum=0.0, maximum=60000.0
    )
    max_couch_age_ms: float = parameter(
        100.0, "a couch position older than this is not known, ms", minimum=1.0, maximum=5000.0
    )


class Gate:
    """Decides on each frame, and on each tick between frames.

    Deterministic: every method takes the time. DISARMED, it holds for NOT_ARMED; armed, it goes from
    HOLD to BEAM_ON after enough good frames and time in a row, and back at the first reason. Decisions
    depend on frames, couch statuses and operator calls only; as long as nothing latches, a tick merely says
    earlier what the next frame would find.

    Args:
        parameters: when the beam may be on.
        session: identifies this run of the gate to consumers, not 0.
    """

    def __init__(self, parameters: GateParameters, session: int) -> None:
        self.parameters = parameters
        self.session = session
        self.couch = CouchHistory(parameters.max_couch_age_ms)
        self.ledger = LatencyLedger()
        self.needs_couch = False
        """Whether a couch that does not say where it is holds the beam: set while it follows the target."""
        self.setting_up = False
        """Whether a set-up shift is under way, which holds the beam until it is verified."""
        self.target: Target | None = None
        """The last frame's target, for the couch controller."""
        self.later_mm: Array | None = None
        """Its (3,) displacement from plan when the couch will have arrived, the couch's part taken out."""
        self._max_age_ns = int(parameters.max_age_ms * NS_PER_MS)
        self._dwell_ns = int(parameters.dwell_ms * NS_PER_MS)
        self._assessor = Assessor(parameters, self.couch)
        self._armed = False
        self._operator_hold = False
        self._latched = _NOTHING
        self._couch_at_fault = False
        self._good_frames = 0
        self._good_since_ns = 0
        self._good_targets = 0
        self._last = LandmarkSet(stamp_ns=0)
        self._configuration: tuple[str, str, int] | None = None
        self._tracker_session: int | None = None
        self._former_tracker_sessions: set[int] = set()
        self._sequence = 0
        # when a tick held last, and why
        self._said = 0, _NOTHING

    @property
    def references_mm(self) -> dict[str, Array]:
        """The planned (3,) position of each needed landmark in isocenter, as far as it is known."""
        return self._assessor.references_mm

    @property
    def armed(self) -> bool:
        """Whether an operator has armed the gate."""
        return self._armed

    @property
    def standing_reasons(self) -> Reason:
        """What holds the beam whatever the next frame shows."""
        reasons = self._latched
        if not self._armed:
            reasons |= Reason.NOT_ARMED
        if self._operator_hold:
            reasons |= Reason.OPERATOR_HOLD
        if self._couch_at_fault:
            reasons |= Reason.COUCH_FAULT
        if self.setting_up:
            reasons |= Reason.SETUP
        return reasons

    # the operator --------------------------------------------------------------------------------

    def arm(self) -> None:
        """Allow the beam.

        An operator's hold stays. References that were captured are forgotten: the next good frame
        gives them anew.

        Raises:
            UserError: something has latched and must be acknowledged first, or the couch is at fault.
        """
        if self._latched:
            raise UserError(f"acknowledge first: {names(self._latched)}")
        if self._couch_at_fault:
            raise UserError("the couch is at fault")
        self._forget_frames()
        self._assessor.forget_captured_references()
        self._armed = True

    def disarm(self, now_ns: int) -> GateDecision:
        """Hold until armed again; what has latched stays so."""
        self._armed = False
        return self._hold(_NOTHING, now_ns)

    def set_operator_hold(self, now_ns: int) -> GateDecision:
        """Hold until released."""
        self._operator_hold = True
        return self._hold(_NOTHING, now_ns)

    def release_operator_hold(self) -> None:
        """End the operator's hold; that by itself decides nothing, the next good frames do."""
        self._operator_hold = False

    def acknowledge(self) -> Reason:
        """Let go of what has latched, and return it; the frames from now on are judged afresh.

        A fault that the couch still reports stays latched.
        """
        lasting = self._latched & Reason.COUCH_FAULT if self._couch_at_fault else _NOTHING
        acknowledged, self._latched = self._latched & ~lasting, lasting
        self._forget_frames()
        if acknowledged & _MOTION_UNKNOWN:
            self._forget_motion()
        if acknowledged & (Reason.TIME_BACKWARDS | Reason.CLOCK_JUMP):
            self.couch.clear()
        return acknowledged

    def shut_down(self, now_ns: int) -> GateDecision:
        """Return the last decision of this session: HOLD."""
        self._armed = False
        return self._hold(Reason.SHUTDOWN, now_ns)

    def _forget_frames(self) -> None:
        """Forget when the last frame was and where it came from: the next one sets the standard."""
        self._last = LandmarkSet(stamp_ns=0)
        self._configuration = None
        self._tracker_session = None
        self._former_tracker_sessions.clear()
        self._good_frames = 0
        self._good_targets = 0

    def _forget_motion(self) -> None:
        self._assessor.forget_motion()
        self.ledger.clear()

    # what comes in -------------------------------------------------------------------------------

    def latch(self, reasons: Reason) -> None:
        """Take up reasons; where the gate is armed, the latching ones stay until acknowledged.

        A clock that jumped latches always, and disarms.
        """
        if self._armed or reasons & Reason.CLOCK_JUMP:
            self._latched |= reasons & LATCHING
        if reasons & Reason.CLOCK_JUMP:
            self._armed = False

    def update_couch(self, status: CouchStatus, now_ns: int) -> bool:
        """Take up where the couch is; a fault, or a status from the future, latches.

        Returns whether it is a status that can be: not from the future, and newer than the last.

        Args:
            status: as reported.
            now_ns: on the clock of its stamp.
        """
        impossible = (
            status.stamp_ns > now_ns + _FUTURE_TOLERANCE_NS or not np.isfinite(status.position_mm).all()
        )
        is_taken = not impossible and self.couch.add(status)
        self._couch_at_fault = bool(status.fault) or impossible
        if self._couch_at_fault:
            self.latch(Reason.COUCH_FAULT)
        return is_taken

    def tick(self, now_ns: int) -> GateDecision | None:
        """Return a HOLD where the newest frame is too old or something holds since it; else None.

        At once, and ten times a second while no frame comes.
        """
        self._latch_backward_time(now_ns)
        silent = self._silent(now_ns)
        if not silent and not (self._good_frames and self.standing_reasons):
            return None
        reasons = self.standing_reasons | (Reason.TRACKER_SILENT if silent else _NOTHING)
        said_ns, said = self._said
        if said == reasons and 0 <= now_ns - said_ns < _REPEAT_NS:
            return None
        self._said = now_ns, reasons
        return self._hold(reasons, now_ns)

    def hold(self, now_ns: int) -> GateDecision:
        """Return a HOLD for what holds the beam whatever the next frame shows."""
        return self._hold(_NOTHING, now_ns)

    def hold_silent(self, now_ns: int) -> GateDecision:
        """Return a HOLD because nothing is heard of the tracker."""
        return self._hold(Reason.TRACKER_SILENT, now_ns)

    def update(
        self,
        landmarks: LandmarkSet,
        now_ns: int,
        later_horizon: Callable[[int, int], int] | None = None,
    ) -> GateDecision:
        """Decide on one frame.

        Args:
            landmarks: in ``isocenter`` or ``table_top``.
            now_ns: time of the decision, on the clock of the frames' stamps.
            later_horizon: the couch's horizon, ns, from the age of a frame at its decision and the interval
                between frames, both ns; what is predicted for it is in :attr:`later_mm`.
        """
        reasons = landmarks.faults & FRAME_FAULTS if landmarks.faults else _NOTHING
        if int(reasons) != int(landmarks.faults):
            # a tracker that says what only the gate can know is not one to trust
            reasons |= Reason.LANDMARK_UNCERTAIN
        previous_ns = self._last.stamp_ns
        self._latch_backward_time(now_ns)
        if previous_ns and self._silent(now_ns):
            # a tick before this frame would have held: the good frames must be in a row
            reasons |= Reason.FRAME_GAP
        if not 0 < landmarks.stamp_ns <= now_ns + _FUTURE_TOLERANCE_NS or landmarks.stamp_ns < previous_ns:
            reasons |= Reason.TIME_BACKWARDS
        if now_ns - landmarks.stamp_ns > self._max_age_ns:
            reasons |= Reason.STALE_FRAME
        if identity_faults := self._identity_faults(landmarks):
            reasons |= identity_faults
        is_new = landmarks.stamp_ns > previous_ns
        self._last = landmarks
        self._said = 0, _NOTHING
        if reasons and reasons & Reason.TIME_BACKWARDS:
            is_new = False
            self._forget_motion()
        passed = landmarks.stamps
        stamps = LatencyStamps(landmarks.stamp_ns, passed.received_ns, passed.tracked_ns, now_ns)
        if is_new:
            self.ledger.add(stamps)
        if self._latency_ns(0.95) > self.parameters.latency_budget_ms * NS_PER_MS:
            reasons |= Reason.LATENCY_OVER_BUDGET

        if reasons:
            self.latch(reasons)
        if standing := self.standing_reasons:
            reasons |= standing
        horizon_ns = self.horizon_ns(self.parameters.beam_latency_ms)
        assessment = self._assessor.assess(
            landmarks,
            reasons,
            horizon_ns=horizon_ns,
            interval_ns=self._interval_ns(),
            is_new=is_new,
            needs_couch=self.needs_couch,
        )
        target, margin_mm = assessment.target, assessment.margin_mm
        found = target.reasons
        if later_horizon is not None and self._predict_later(later_horizon):
            found |= Reason.PREDICTOR_DIVERGED
        if found:
            self.latch(found)
            reasons |= found
        self._good_targets = 0 if reasons else self._good_targets + is_new
        waits = self._good_targets < self.parameters.resume_frames
        self.target = replace(target, reasons=reasons or Reason.DWELL) if reasons or waits else target
        if not target.reasons and not margin_mm > 0:
            reasons |= Reason.OUTSIDE_WINDOW

        if reasons:
            self._good_frames = 0
        elif is_new:
            self._good_since_ns = self._good_since_ns if self._good_frames else landmarks.stamp_ns
            self._good_frames += 1
        if not reasons and not self._dwelt(landmarks.stamp_ns):
            reasons = Reason.DWELL
        self._sequence += 1
        return GateDecision(
            stamp_ns=landmarks.stamp_ns,
            session=self.session,
            sequence=self._sequence,
            state=GateState.HOLD if reasons else GateState.BEAM_ON,
            reasons=reasons,
            valid_until_ns=landmarks.stamp_ns + (0 if reasons else self._max_age_ns),
            margin_mm=margin_mm,
            target_mm=assessment.predicted_mm,
            stamps=stamps,
            horizon_ms=horizon_ns / NS_PER_MS if self._assessor.predicts else 0.0,
        )

    def horizon_ns(self, latency_ms: float) -> int:
        """Return how far after its exposure a frame must tell the future.

        The median time to the decision, what follows it, and half a frame, for a decision is in force
        until the next.

        Args:
            latency_ms: from the decision until the beam or the couch has followed it.
        """
        latency_ns = self.ledger.total_ns(0.5) + int(latency_ms * NS_PER_MS)
        return max(1, latency_ns + self._interval_ns() // 2)

    def _interval_ns(self) -> int:
        return min(self.ledger.frame_interval_ns(), self._max_age_ns)

    def _predict_later(self, horizon: Callable[[int, int], int]) -> bool:
        """Predict the displacement for the couch; returns whether that has diverged while it matters."""
        prediction = self._assessor.predict_later(horizon(self.ledger.total_ns(0.5), self._interval_ns()))
        self.later_mm = None if prediction is None else prediction.positions_mm[0]
        return prediction is not None and prediction.diverged and self.needs_couch

    # the rules -----------------------------------------------------------------------------------

    def _dwelt(self, stamp_ns: int) -> bool:
        long_enough = stamp_ns - self._good_since_ns >= self._dwell_ns
        return self._good_frames >= self.parameters.resume_frames and long_enough

    def _latency_ns(self, share: float) -> int:
        return self.ledger.total_ns(share) + int(self.parameters.beam_latency_ms * NS_PER_MS)

    def _latch_backward_time(self, now_ns: int) -> None:
        """Latch where the clock was set back behind the last frame: its age can no longer be told."""
        if self._last.stamp_ns > now_ns + _FUTURE_TOLERANCE_NS:
            self.latch(Reason.TIME_BACKWARDS)

    def _silent(self, now_ns: int) -> bool:
        return now_ns - self._last.stamp_ns > self._max_age_ns

    def _identity_faults(self, landmarks: LandmarkSet) -> Reason:
        """Return what has changed about where the positions come from."""
        reasons = _NOTHING
        if landmarks.session in self._former_tracker_sessions:
            reasons |= Reason.SECOND_PUBLISHER
        elif self._tracker_session is not None and landmarks.session != self._tracker_session:
            reasons |= Reason.TRACKER_RESTARTED
            self._former_tracker_sessions.add(self._tracker_session)
        self._tracker_session = landmarks.session
        configuration = (landmarks.model, landmarks.frame_id, landmarks.marking)
        if self._configuration not in (None, configuration):
            reasons |= Reason.CONFIGURATION_CHANGED
        self._configuration = configuration
        return reasons

    def _hold(self, reasons: Reason, now_ns: int) -> GateDecision:
        """Return a HOLD for these reasons and the standing ones."""
        self._good_frames = 0
        self._good_targets = 0
        self._sequence += 1
        return GateDecision(
            stamp_ns=now_ns,
            session=self.session,
            sequence=self._sequence,
            reasons=reasons | self.standing_reasons,
            valid_until_ns=now_ns,
            stamps=LatencyStamps(acquired_ns=self._last.stamp_ns, decided_ns=now_ns),
        )

"""One session of gate, predictors and couch: the same live, in replay and in tests.

The shell calls it with what arrives and when; it answers with what to publish.
"""

from dataclasses import dataclass

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.records import (
    AuditEntry,
    CouchShift,
    CouchStatus,
    GateDecision,
    LandmarkSet,
    Reason,
)
from lmtrack_ros.gating.clock import ClockWatch
from lmtrack_ros.gating.couch_controller import CouchController
from lmtrack_ros.gating.couch_watch import CouchWatch
from lmtrack_ros.gating.gate import Gate, names
from lmtrack_ros.gating.parameters import GatingParameters
from lmtrack_ros.gating.prediction import MonitoredPredictor
from lmtrack_ros.gating.target import Target


@dataclass(frozen=True, eq=False)
class Answer:
    """What to publish."""

    decision: GateDecision
    shift: CouchShift


class Session:
    """Decides on beam and couch from the start of a gate to its end.

    Args:
        parameters: of gate, predictor and couch.
        session: identifies this run to consumers, not 0.
    """

    def __init__(self, parameters: GatingParameters, session: int) -> None:
        self.gate = Gate(parameters, session)
        self.controller = CouchController(parameters.couch, session)
        self._watch = CouchWatch(parameters.couch)
        self._predictor = MonitoredPredictor(parameters.predictor)
        self._predicts = parameters.predictor.kind != "none"
        self._clock = ClockWatch(parameters.max_clock_jump_ms)
        self._watches_clock = parameters.max_clock_jump_ms > 0
        self.gate.needs_couch = self.controller.tracking

    # what comes in -------------------------------------------------------------------------------

    def landmarks(self, landmarks: LandmarkSet, now_ns: int) -> Answer:
        """Decide on one frame; see :meth:`Gate.update`."""
        self.gate.latch(self._watch.tick(now_ns))
        decision = self.gate.update(landmarks, now_ns)
        target = self.gate.target
        assert target is not None
        shift = self.controller.update(target, decision.stamp_ns, self._predicted_mm(target, decision))
        return self._sent(decision, shift, now_ns)

    def couch(self, status: CouchStatus, now_ns: int) -> Answer | None:
        """Take up where the couch is; answers where that holds the beam."""
        self.gate.update_couch(status, now_ns)
        self.gate.latch(self._watch.reported(status, now_ns))
        return self._held(self.gate.tick(now_ns), now_ns)

    def tick(self, now_ns: int, monotonic_ns: int | None = None) -> Answer | None:
        """Look for what holds the beam between frames.

        Args:
            now_ns: time on the clock of the frames' stamps.
            monotonic_ns: the same moment on a clock that nobody sets; None where there is none, as in
                a replay that does not run in real time.
        """
        if self._watches_clock and monotonic_ns is not None and self._clock.jumped(now_ns, monotonic_ns):
            self._follow(False)
            self.gate.latch(Reason.CLOCK_JUMP)
        self.gate.latch(self._watch.tick(now_ns))
        return self._held(self.gate.tick(now_ns), now_ns)

    def hold_silent(self, now_ns: int) -> Answer:
        """Hold because nothing is heard of the tracker."""
        return self._hold(self.gate.hold_silent(now_ns), now_ns)

    def hear(self, decision: GateDecision, now_ns: int) -> Answer | None:
        """Take up a decision heard on our own topic: one of another session means a second gate."""
        if decision.session != self.gate.session:
            self.gate.latch(Reason.SECOND_PUBLISHER)
        return self._held(self.gate.tick(now_ns), now_ns)

    def shut_down(self, now_ns: int) -> Answer:
        """Say the last word: HOLD."""
        return self._hold(self.gate.shut_down(now_ns), now_ns)

    # the operator --------------------------------------------------------------------------------

    def operate(self, action: str, now_ns: int) -> tuple[AuditEntry, Answer | None]:
        """Do what the operator asks for.

        Args:
            action: ``arm``, ``disarm``, ``hold``, ``release``, ``acknowledge``, ``track`` or ``still``.
            now_ns: time of the call.

        Returns:
            The entry for the audit log, and what to publish at once.
        """
        refusal, message, answer = "", "", None
        if action == "arm":
            refusal = self.gate.arm()
            message = f"armed, session {self.gate.session}"
        elif action == "disarm":
            self._follow(False)
            answer = self._hold(self.gate.disarm(now_ns), now_ns)
            message = "disarmed"
        elif action == "hold":
            answer = self._held(self.gate.set_operator_hold(True, now_ns), now_ns)
            message = "held"
        elif action == "release":
            self.gate.set_operator_hold(False, now_ns)
            message = "released"
        elif action == "acknowledge":
            self._watch.acknowledge()
            acknowledged = self.gate.acknowledge()
            if acknowledged:
                self._predictor.reset()
            message = f"acknowledged {names(acknowledged)}" if acknowledged else "nothing to acknowledge"
        elif action == "track":
            refusal = "" if self.gate.armed else "arm first: the couch follows only while the gate is armed"
            self._follow(not refusal)
            message = "the couch follows the target"
        elif action == "still":
            self._follow(False)
            message = "the couch stands still"
        else:
            raise ValueError(f"unknown action '{action}'")
        entry = AuditEntry(
            now_ns, self.gate.session, action, not refusal, refusal or message, self.gate.standing_reasons
        )
        return entry, answer

    # ---------------------------------------------------------------------------------------------

    def _follow(self, follow: bool) -> None:
        self.controller.tracking = follow
        self.gate.needs_couch = follow

    def _predicted_mm(self, target: Target, decision: GateDecision) -> Array | None:
        """Return the (3,) displacement when the couch will have arrived, its own part taken out."""
        if not self._predicts or target.couch_mm is None or target.reasons & ~Reason.DWELL:
            return None
        motion_mm = np.where(target.observed, target.displacement_mm - target.couch_mm, np.nan)
        ledger = self.gate.ledger
        horizon_ns = self.controller.horizon_ns(ledger.total_ns(0.5), ledger.frame_interval_ns())
        prediction = self._predictor.update(decision.stamp_ns, motion_mm[None], horizon_ns)
        if prediction.diverged and self.controller.tracking:
            self.gate.latch(Reason.PREDICTOR_DIVERGED)
        predicted_mm: Array = prediction.positions_mm[0]
        return predicted_mm

    def _held(self, decision: GateDecision | None, now_ns: int) -> Answer | None:
        return None if decision is None else self._hold(decision, now_ns)

    def _hold(self, decision: GateDecision, now_ns: int) -> Answer:
        """Answer a HOLD that follows from no frame; the couch stands still with it."""
        return self._sent(decision, self.controller.stand_still(decision.stamp_ns), now_ns)

    def _sent(self, decision: GateDecision, shift: CouchShift, now_ns: int) -> Answer:
        self._watch.commanded(shift, now_ns)
        return Answer(decision, shift)

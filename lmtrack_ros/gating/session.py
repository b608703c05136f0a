"""One session of gate, predictors and couch: the same live, in replay and in tests.

The shell calls it with what arrives and when; it answers with what to publish.
"""

from dataclasses import dataclass

from lmtrack_ros.core.errors import UserError, unknown_name
from lmtrack_ros.core.records import (
    AuditEntry,
    CouchMode,
    CouchShift,
    CouchStatus,
    GateDecision,
    LandmarkSet,
    Reason,
    names,
)
from lmtrack_ros.gating.clock import ClockWatch
from lmtrack_ros.gating.couch_controller import CouchController
from lmtrack_ros.gating.couch_setup import NOT_OF_THE_TARGET, CouchSetup
from lmtrack_ros.gating.couch_watch import CouchWatch
from lmtrack_ros.gating.gate import Gate
from lmtrack_ros.gating.parameters import GatingParameters

ACTIONS = (
    "arm",
    "disarm",
    "hold",
    "release",
    "acknowledge",
    "track",
    "still",
    "propose_setup",
    "confirm_setup",
    "cancel_setup",
)
"""What an operator may ask for."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What to publish; no decision where only the couch is concerned."""

    decision: GateDecision | None
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
        self._setup = CouchSetup(parameters.couch, self.controller)
        self._watch = CouchWatch(parameters.couch)
        self._clock = ClockWatch(parameters.max_clock_jump_ms)
        self._watches_clock = parameters.max_clock_jump_ms > 0
        self.gate.needs_couch = self.controller.tracking
        self._couch_is_sent = False

    # what comes in -------------------------------------------------------------------------------

    def landmarks(self, landmarks: LandmarkSet, now_ns: int, shift_sequence: int | None = None) -> Answer:
        """Decide on one frame; see :meth:`Gate.update`.

        Args:
            landmarks: of the frame.
            now_ns: time of the decision.
            shift_sequence: number that the couch's shift is to bear; None: the next.
        """
        if shift_sequence is not None:
            self.controller.shifts.number_next(shift_sequence)
        self._heed(self._watch.tick(now_ns))
        decision = self.gate.update(landmarks, now_ns, self.controller.horizon_ns)
        target = self.gate.target
        assert target is not None
        shift = self._setup.update(target, decision.stamp_ns, self.gate.couch.newest)
        self.gate.setting_up = self._setup.holds
        if shift is None:
            shift = self.controller.update(target, decision.stamp_ns, self.gate.later_mm)
        return self._sent(decision, shift, now_ns)

    def couch(self, status: CouchStatus, now_ns: int) -> Answer | None:
        """Take up where the couch is; answers where that holds the beam."""
        if self.gate.update_couch(status, now_ns):
            self._heed(self._watch.reported(status, now_ns))
        return self._look(now_ns)

    def tick(self, now_ns: int, monotonic_ns: int | None = None) -> Answer | None:
        """Look for what holds the beam between frames.

        Args:
            now_ns: time on the clock of the frames' stamps.
            monotonic_ns: the same moment on a clock that nobody sets; None where there is none, as in
                a replay that does not run in real time.
        """
        if self._watches_clock and monotonic_ns is not None and self._clock.jumped(now_ns, monotonic_ns):
            self._follow(False)
            self._setup.interrupt("the clock was set")
            self.gate.latch(Reason.CLOCK_JUMP)
        self._heed(self._watch.tick(now_ns))
        return self._look(now_ns)

    def hold_silent(self, now_ns: int) -> Answer:
        """Hold because nothing is heard of the tracker."""
        return self._hold(self.gate.hold_silent(now_ns), now_ns)

    def hear(self, decision: GateDecision, now_ns: int) -> Answer | None:
        """Take up a decision heard on our own topic: one of another session means a second gate."""
        if decision.session != self.gate.session:
            self.gate.latch(Reason.SECOND_PUBLISHER)
        return self._look(now_ns)

    def shut_down(self, now_ns: int) -> Answer:
        """Say the last word: HOLD."""
        self._stop_couch()
        return self._hold(self.gate.shut_down(now_ns), now_ns)

    # the operator --------------------------------------------------------------------------------

    def operate(
        self, action: str, now_ns: int, shift: tuple[int, int] | None = None
    ) -> tuple[AuditEntry, Answer | None]:
        """Do what the operator asks for.

        Args:
            action: ``arm``, ``disarm``, ``hold``, ``release``, ``acknowledge``, ``track``, ``still``,
                ``propose_setup``, ``confirm_setup`` or ``cancel_setup``.
            now_ns: time of the call.
            shift: session and sequence of the set-up shift that is confirmed; None: of the last one proposed.

        Returns:
            The entry for the audit log, and what to publish at once.
        """
        try:
            message, answer = self._do(action, now_ns, shift)
            accepted = True
        except UserError as error:
            message, answer, accepted = str(error), None, False
        reasons = self.gate.standing_reasons
        return AuditEntry(now_ns, self.gate.session, action, accepted, message, reasons), answer

    def _do(self, action: str, now_ns: int, shift: tuple[int, int] | None) -> tuple[str, Answer | None]:
        """Return what to tell the operator, and what to publish at once.

        Raises:
            UserError: why it is not done.
        """
        gate, controller, setup = self.gate, self.controller, self._setup
        if action == "arm":
            gate.arm()
            return f"armed, session {gate.session}", None
        if action == "disarm":
            self._stop_couch()
            return "disarmed", self._hold(gate.disarm(now_ns), now_ns)
        if action == "hold":
            return "held", self._hold(gate.set_operator_hold(now_ns), now_ns)
        if action == "release":
            gate.release_operator_hold()
            return "released", None
        if action == "acknowledge":
            return self._acknowledge(), None
        if action == "still":
            self._follow(False)
            setup.interrupt("the couch was told to stand still")
            return "the couch stands still", self._sent(None, controller.stand_still(now_ns), now_ns)
        if action == "cancel_setup":
            return "cancelled: the beam is held until a set-up is verified or the gate disarmed", self._sent(
                None, setup.cancel(now_ns), now_ns
            )
        if not gate.armed:
            raise UserError("arm first: the couch is moved only while the gate is armed")
        if action == "track":
            if not any(controller.parameters.axes):
                raise UserError("this configuration gates only: the couch may move along no axis")
            if setup.holds:
                raise UserError("a set-up is under way")
            self._follow(True)
            return "the couch follows the target", None
        if action == "propose_setup":
            proposal = setup.propose(now_ns)
            gate.setting_up = True
            told = f"{setup.message}: session {proposal.session}, sequence {proposal.sequence}"
            return told, self._sent(gate.hold(now_ns), proposal, now_ns)
        if action == "confirm_setup":
            setup.confirm(*(shift or setup.proposed), now_ns)
            return setup.message, None
        raise UserError(unknown_name("action", action, ACTIONS))

    def _acknowledge(self) -> str:
        self._watch.acknowledge()
        self._setup.interrupt("something had to be acknowledged")
        acknowledged = self.gate.acknowledge()
        return f"acknowledged {names(acknowledged)}" if acknowledged else "nothing to acknowledge"

    # ---------------------------------------------------------------------------------------------

    def _heed(self, reasons: Reason) -> None:
        if reasons:
            self.gate.latch(reasons)

    def _stop_couch(self) -> None:
        self._follow(False)
        self._setup.reset()
        self.gate.setting_up = False

    def _follow(self, follow: bool) -> None:
        self.controller.tracking = follow
        self.gate.needs_couch = follow

    def _look(self, now_ns: int) -> Answer | None:
        """Answer a HOLD for what has just begun to hold the beam, or must stop the couch."""
        decision = self.gate.tick(now_ns)
        if decision is None and self._couch_is_sent and self.gate.standing_reasons & ~NOT_OF_THE_TARGET:
            decision = self.gate.hold(now_ns)
        return None if decision is None else self._hold(decision, now_ns)

    def _hold(self, decision: GateDecision, now_ns: int) -> Answer:
        """Answer a HOLD that follows from no frame; the couch stands still with it."""
        return self._sent(decision, self.controller.stand_still(decision.stamp_ns), now_ns)

    def _sent(self, decision: GateDecision | None, shift: CouchShift, now_ns: int) -> Answer:
        self._watch.commanded(shift, now_ns)
        self._couch_is_sent = shift.mode is not CouchMode.NONE
        return Answer(decision, shift)

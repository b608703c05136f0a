"""One shift before treatment that brings the target to plan: proposed, confirmed, moved, verified."""

from collections import deque
from enum import Enum

import numpy as np

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S, CouchMode, CouchShift, CouchStatus, Reason
from lmtrack_ros.gating.couch_controller import CouchController, CouchParameters
from lmtrack_ros.gating.target import Target

NOT_OF_THE_TARGET = Reason.SETUP | Reason.OPERATOR_HOLD
"""These hold the beam, but say nothing against the target: a set-up goes on under an operator's hold."""

# how many frames after the motion must show the target on plan
_VERIFYING_FRAMES = 2


class SetupState(Enum):
    """How far a set-up is."""

    IDLE = "idle"
    """None was asked for, or the last one was verified."""
    PROPOSED = "proposed"
    """A shift waits for the operator's confirmation."""
    MOVING = "moving"
    """The couch is sent there."""
    VERIFYING = "verifying"
    """It has arrived, and the next frames must show the target on plan."""
    UNVERIFIED = "unverified"
    """Cancelled, or the target was not on plan: propose again, or disarm."""


class CouchSetup:
    """Proposes a set-up shift, sends it once it is confirmed, and verifies what it has done.

    From the first proposal on, the beam is held until a set-up is verified or the operator disarms:
    somebody thought that the target is not on plan, and only pictures say otherwise. Cancelling stops
    the couch, not the hold; so does a target that is not certain, a gap between frames, and a couch that
    takes longer than ``setup_age_s``: none of these goes on by itself.

    Args:
        parameters: how the couch may be moved.
        controller: whose shifts these are numbered with; it must not be tracking.
    """

    def __init__(self, parameters: CouchParameters, controller: CouchController) -> None:
        self.state = SetupState.IDLE
        self.message = ""
        """What came of the last set-up, in one line."""
        self._parameters = parameters
        self._controller = controller
        # stamp, target, and where the couch should have been
        self._recent: deque[tuple[int, Target, Array]] = deque(maxlen=parameters.setup_frames)
        self._proposal = CouchShift(stamp_ns=0)
        self._proposed_ns = 0
        self._confirmed_ns = 0
        self._newest_ns = 0
        self._arrived_ns = 0
        self._first_sent = 0
        self._verified = 0

    @property
    def holds(self) -> bool:
        """Whether the beam is held for the set-up."""
        return self.state is not SetupState.IDLE

    @property
    def proposed(self) -> tuple[int, int]:
        """Session and sequence of the shift proposed last."""
        return self._proposal.session, self._proposal.sequence

    # the operator --------------------------------------------------------------------------------

    def propose(self, now_ns: int) -> CouchShift:
        """Return the shift that would bring the mean target of the last frames to plan.

        It has already lapsed when it is sent: no couch acts on it.

        Raises:
            UserError: why there is none.
        """
        parameters = self._parameters
        if self.state in (SetupState.MOVING, SetupState.VERIFYING):
            raise UserError("a set-up is under way: cancel it first")
        if self._controller.tracking:
            raise UserError("the couch follows the target: let it stand still first")
        if len(self._recent) < parameters.setup_frames:
            missing = parameters.setup_frames - len(self._recent)
            raise UserError(f"the target is not certain: {missing} more good frames in a row are needed")
        stamp_ns, newest, _ = self._recent[-1]
        if now_ns - stamp_ns > parameters.validity_ms * NS_PER_MS:
            raise UserError("the target is not certain: the last frame is too old")
        assert newest.couch_mm is not None
        may, sees = parameters.axes, newest.observed
        axes = (may[0] and sees[0], may[1] and sees[1], may[2] and sees[2])
        if not any(axes):
            raise UserError("the image sees no axis along which the couch may move")
        mean_mm = np.mean([wanted_mm for _, _, wanted_mm in self._recent], axis=0)
        target_mm: Array = np.where(axes, mean_mm, newest.couch_mm)
        length_mm = float(np.linalg.norm(target_mm - newest.couch_mm))
        # written so that NaN fails
        if not length_mm <= parameters.max_setup_mm:
            raise UserError(
                f"the shift would be {length_mm:.1f} mm long, "
                f"more than max_setup_mm ({parameters.max_setup_mm:g})"
            )
        if not np.abs(target_mm[list(axes)]).max() <= parameters.range_mm:
            raise UserError(
                f"the couch would be sent further than range_mm ({parameters.range_mm:g}) from zero"
            )

        self._proposal = self._controller.shifts.make(
            # not in the future, however the clocks of frame and gate differ
            min(stamp_ns, now_ns),
            CouchMode.SETUP,
            target_mm,
            newest.couch_mm,
            axes,
            lapsed=True,
        )
        self._proposed_ns = now_ns
        self._enter(SetupState.PROPOSED, f"a set-up shift of {length_mm:.1f} mm waits to be confirmed")
        return self._proposal

    def confirm(self, session: int, sequence: int, now_ns: int) -> None:
        """Let the couch move as proposed, from the next frame on.

        Args:
            session: of the proposed shift.
            sequence: likewise.
            now_ns: time of the call.

        Raises:
            UserError: why it does not move.
        """
        proposal = self._proposal
        if self.state is not SetupState.PROPOSED:
            raise UserError("no set-up shift waits to be confirmed: propose one first")
        if session != proposal.session:
            raise UserError(f"session {session} is not that of this gate: confirm the shift it proposed")
        if sequence != proposal.sequence:
            raise UserError(f"shift {sequence} is not the one proposed last, which is {proposal.sequence}")
        if self._controller.tracking:
            raise UserError("the couch follows the target: let it stand still first")
        if now_ns - self._proposed_ns > self._parameters.setup_age_s * NS_PER_S:
            self._enter(SetupState.UNVERIFIED, "the proposed shift is too old: propose again")
            raise UserError(self.message)
        self._confirmed_ns = now_ns
        self._enter(SetupState.MOVING, "the couch moves to its set-up position")

    def cancel(self, now_ns: int) -> CouchShift:
        """Return a shift that lets the couch stand still; the beam stays held.

        Raises:
            UserError: there is nothing to cancel.
        """
        if self.state in (SetupState.IDLE, SetupState.UNVERIFIED):
            raise UserError("no set-up is under way")
        self._enter(SetupState.UNVERIFIED, "the set-up was cancelled: propose again, or disarm")
        return self._controller.stand_still(now_ns)

    def interrupt(self, why: str) -> None:
        """End a set-up that is under way; the beam stays held, and the couch is the caller's to stop.

        Args:
            why: what has happened, in a few words.
        """
        if self.state not in (SetupState.IDLE, SetupState.UNVERIFIED):
            self._enter(SetupState.UNVERIFIED, f"the set-up was interrupted: {why}; propose again, or disarm")

    def reset(self) -> None:
        """Forget everything: the operator has disarmed."""
        self._recent.clear()
        self._enter(SetupState.IDLE, "")

    # what comes in -------------------------------------------------------------------------------

    def update(self, target: Target, stamp_ns: int, couch: CouchStatus | None) -> CouchShift | None:
        """Return the shift for one frame, or None where the controller is to make it.

        Args:
            target: what the gate found in the frame.
            stamp_ns: mid-exposure time of the frame.
            couch: its newest report, or None.
        """
        is_new = stamp_ns > self._newest_ns
        gap_ns = stamp_ns - self._newest_ns
        self._newest_ns = stamp_ns
        certain = self._observe(target, stamp_ns, is_new)
        if self.state is SetupState.IDLE:
            return None
        if self.state is SetupState.MOVING:
            # a couch that has stopped in between does not start again by itself
            if not certain:
                self.interrupt("the target was not certain")
            elif gap_ns > self._parameters.validity_ms * NS_PER_MS:
                self.interrupt("no frame came in time")
            elif stamp_ns - self._confirmed_ns > self._parameters.setup_age_s * NS_PER_S:
                self.interrupt("the couch did not arrive in time")
        if self.state is SetupState.MOVING and couch is not None and self._has_arrived(couch):
            self._arrived_ns = couch.stamp_ns
            self._enter(SetupState.VERIFYING, "the couch has arrived: the next frames must show it")
        if self.state is SetupState.VERIFYING and certain and is_new and stamp_ns > self._arrived_ns:
            self._verify(target)
        if self.state is not SetupState.MOVING or not certain:
            return self._controller.stand_still(stamp_ns)
        assert target.couch_mm is not None
        shift = self._controller.shifts.make(
            stamp_ns, CouchMode.SETUP, self._proposal.target_mm, target.couch_mm, self._proposal.axes
        )
        self._first_sent = self._first_sent or shift.sequence
        return shift

    # ---------------------------------------------------------------------------------------------

    def _enter(self, state: SetupState, message: str) -> None:
        self.state, self.message = state, message
        self._verified = 0
        if state is not SetupState.VERIFYING:
            self._first_sent = 0

    def _observe(self, target: Target, stamp_ns: int, is_new: bool) -> bool:
        """Take up one frame; returns whether its target is certain."""
        certain = (
            not target.reasons & ~NOT_OF_THE_TARGET
            and target.radius_mm <= self._parameters.max_radius_mm
            and target.couch_mm is not None
            and any(target.observed)
        )
        if not certain or (self._recent and self._recent[-1][1].observed != target.observed):
            self._recent.clear()
        if certain and is_new:
            assert target.couch_mm is not None
            self._recent.append((stamp_ns, target, target.couch_mm - target.displacement_mm))
        return certain

    def _has_arrived(self, couch: CouchStatus) -> bool:
        proposal = self._proposal
        off_mm = np.abs(couch.position_mm - proposal.target_mm)[list(proposal.axes)]
        return bool(
            self._first_sent
            and couch.acknowledged_session == proposal.session
            and couch.acknowledged_sequence >= self._first_sent
            and not couch.moving
            and off_mm.max() <= self._parameters.still_mm
        )

    def _verify(self, target: Target) -> None:
        off_mm = float(np.abs(target.displacement_mm[list(target.observed)]).max())
        # written so that NaN fails
        if not off_mm <= self._parameters.setup_tolerance_mm:
            self._enter(
                SetupState.UNVERIFIED,
                f"the target is still {off_mm:.1f} mm off plan, more than setup_tolerance_mm "
                f"({self._parameters.setup_tolerance_mm:g}): propose again, or disarm",
            )
            return
        self._verified += 1
        if self._verified == _VERIFYING_FRAMES:
            self._enter(SetupState.IDLE, "the set-up is verified")

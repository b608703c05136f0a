"""The set-up shift: proposed, confirmed, moved, verified, and everything that is refused on the way."""

from dataclasses import replace

import numpy as np
import pytest

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S, CouchMode, CouchShift, CouchStatus, Reason
from lmtrack_ros.gating.couch_controller import CouchController, CouchParameters
from lmtrack_ros.gating.couch_setup import CouchSetup, SetupState
from lmtrack_ros.gating.couch_watch import CouchWatch
from lmtrack_ros.gating.target import Target
from lmtrack_ros.phantoms.couch import CouchSimulator, CouchSimulatorParameters

T0 = 10 * NS_PER_S
SESSION = 3
YZ = (False, True, True)
NOTHING = Reason(0)
FRAME_MS = 50
OFF_PLAN = (0.0, 6.0, -3.0)


class Room:
    """A target that lies still on a couch, seen at 20 Hz, with set-up, watch and simulated couch."""

    def __init__(self, off_plan_mm: tuple[float, float, float] = OFF_PLAN, **changes: object) -> None:
        values = {"axes": YZ, "setup_frames": 5, **changes}
        self.parameters = CouchParameters(**values)  # type: ignore[arg-type]
        self.controller = CouchController(self.parameters, SESSION)
        self.setup = CouchSetup(self.parameters, self.controller)
        self.watch = CouchWatch(self.parameters)
        self.couch = CouchSimulator(CouchSimulatorParameters(dead_time_ms=100.0), T0)
        self.off_plan_mm = np.array(off_plan_mm)
        self.reasons = NOTHING
        self.observed = YZ
        self.now_ns = T0
        self.status = CouchStatus(T0)
        self.suspicion = NOTHING

    def frames(self, count: int) -> list[CouchShift | None]:
        return [self.frame() for _ in range(count)]

    def frame(self) -> CouchShift | None:
        self.now_ns += FRAME_MS * NS_PER_MS
        self.status = self.couch.advance(self.now_ns)
        self.suspicion |= self.watch.reported(self.status, self.now_ns)
        seen = self.off_plan_mm + self.status.position_mm
        held = Reason.SETUP if self.setup.holds else NOTHING
        target = Target(seen, self.observed, self.reasons | held, self.status.position_mm, 0.5)
        shift = self.setup.update(target, self.now_ns, self.status)
        if shift is not None:
            self.send(shift)
        return shift

    def send(self, shift: CouchShift) -> CouchShift:
        self.watch.commanded(shift, self.now_ns)
        self.couch.command(shift, self.now_ns)
        return shift

    def propose(self) -> CouchShift:
        return self.send(self.setup.propose(self.now_ns))

    def confirm(self, shift: CouchShift) -> None:
        self.setup.confirm(shift.session, shift.sequence, self.now_ns)


def in_state(state: SetupState) -> Room:
    """Return a room whose set-up is in a state."""
    room = Room()
    room.frames(10)
    if state is SetupState.IDLE:
        return room
    shift = room.propose()
    if state is SetupState.PROPOSED:
        return room
    room.confirm(shift)
    if state is SetupState.VERIFYING:
        while room.setup.state is not state:
            room.frame()
    elif state is SetupState.UNVERIFIED:
        room.send(room.setup.cancel(room.now_ns))
    assert room.setup.state is state
    return room


def test_whole_way() -> None:
    room = in_state(SetupState.IDLE)
    assert not room.setup.holds
    proposal = room.propose()
    assert proposal.mode is CouchMode.SETUP
    assert proposal.valid_until_ns == proposal.stamp_ns <= room.now_ns
    np.testing.assert_allclose(proposal.target_mm, [0, -6, 3])
    assert proposal.axes == YZ
    assert room.setup.state is SetupState.PROPOSED

    # nothing moves before it is confirmed
    assert {s.mode for s in room.frames(40) if s} == {CouchMode.NONE}
    assert not room.status.position_mm.any()

    room.confirm(proposal)
    states, sent = [], []
    while room.setup.holds:
        shift = room.frame()
        states.append(room.setup.state)
        if shift and shift.mode is CouchMode.SETUP:
            sent.append(shift)
    assert list(dict.fromkeys(states)) == [SetupState.MOVING, SetupState.VERIFYING, SetupState.IDLE]
    assert {tuple(s.target_mm) for s in sent} == {tuple(proposal.target_mm)}
    assert np.all(np.diff([s.sequence for s in sent]) == 1)
    assert sent[0].sequence > proposal.sequence
    assert all(s.valid_until_ns > s.stamp_ns for s in sent)
    np.testing.assert_allclose(room.status.position_mm, [0, -6, 3])
    assert room.setup.message == "the set-up is verified"
    assert room.suspicion == NOTHING
    # the controller has the couch again
    assert room.frame() is None


def test_shift_is_the_mean_of_the_last_good_frames() -> None:
    room = Room(setup_frames=4)
    for y_mm in (50.0, 2.0, 4.0, 6.0, 8.0):
        room.off_plan_mm = np.array([0, y_mm, 0])
        room.frame()
    np.testing.assert_allclose(room.propose().target_mm, [0, -5, 0])


def test_axes_that_are_not_driven_or_not_seen_stay() -> None:
    room = Room((5.0, 5.0, 5.0))
    room.observed = (True, True, False)
    room.frames(10)
    shift = room.propose()
    assert shift.axes == (False, True, False)
    np.testing.assert_allclose(shift.target_mm, [0, -5, 0])


# refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"max_setup_mm": 6.0}, "6.7 mm long, more than max_setup_mm", id="too-long"),
        pytest.param({"range_mm": 5.0}, "further than range_mm", id="out-of-range"),
        pytest.param({"setup_frames": 11}, "1 more good frames", id="too-few-frames"),
        pytest.param({"axes": (True, False, False)}, "no axis", id="axis-not-seen"),
        pytest.param({"tracking": True}, "follows the target", id="tracking"),
    ],
)
def test_proposal_is_refused(changes: dict[str, object], expected: str) -> None:
    room = Room(**changes)
    room.frames(10)
    with pytest.raises(UserError, match=expected) as refusal:
        room.setup.propose(room.now_ns)
    assert "\n" not in str(refusal.value)
    assert not room.setup.holds


@pytest.mark.parametrize("reasons", [Reason.LANDMARK_LOST, Reason.NOT_ARMED, Reason.COUCH_OFF_PATH])
def test_uncertain_target_is_not_proposed_on(reasons: Reason) -> None:
    room = in_state(SetupState.IDLE)
    room.reasons = reasons
    room.frame()
    with pytest.raises(UserError, match="not certain"):
        room.setup.propose(room.now_ns)


def test_old_frames_are_not_proposed_on() -> None:
    room = in_state(SetupState.IDLE)
    with pytest.raises(UserError, match="too old"):
        room.setup.propose(room.now_ns + NS_PER_S)


def test_proposal_with_a_frame_from_ahead_has_still_lapsed() -> None:
    room = in_state(SetupState.IDLE)
    now_ns = room.now_ns - 3 * NS_PER_MS
    shift = room.setup.propose(now_ns)
    assert shift.valid_until_ns <= now_ns


@pytest.mark.parametrize("state", [SetupState.MOVING, SetupState.VERIFYING])
def test_nothing_is_proposed_while_a_set_up_is_under_way(state: SetupState) -> None:
    room = in_state(state)
    with pytest.raises(UserError, match="under way"):
        room.setup.propose(room.now_ns)
    assert room.setup.state is state


@pytest.mark.parametrize(
    ("session", "sequence", "expected"),
    [
        pytest.param(1, 0, "not that of this gate", id="another-session"),
        pytest.param(0, 1, "not the one proposed last", id="newer"),
        pytest.param(0, -1, "not the one proposed last", id="older"),
    ],
)
def test_confirmation_of_something_else_is_refused(session: int, sequence: int, expected: str) -> None:
    room = in_state(SetupState.IDLE)
    shift = room.propose()
    other = replace(shift, session=shift.session + session, sequence=shift.sequence + sequence)
    with pytest.raises(UserError, match=expected):
        room.confirm(other)
    assert room.setup.state is SetupState.PROPOSED
    room.frames(20)
    assert not room.status.position_mm.any()


def test_confirmation_of_a_proposal_that_was_replaced_is_refused() -> None:
    room = in_state(SetupState.IDLE)
    first = room.propose()
    room.frame()
    second = room.propose()
    with pytest.raises(UserError, match="not the one proposed last"):
        room.confirm(first)
    room.confirm(second)


def test_confirmation_that_comes_too_late_is_refused() -> None:
    room = in_state(SetupState.IDLE)
    shift = room.propose()
    late_ns = room.now_ns + int((room.parameters.setup_age_s + 0.001) * NS_PER_S)
    with pytest.raises(UserError, match="too old"):
        room.setup.confirm(shift.session, shift.sequence, late_ns)
    assert room.setup.state is SetupState.UNVERIFIED


@pytest.mark.parametrize("state", [s for s in SetupState if s is not SetupState.PROPOSED])
def test_nothing_to_confirm(state: SetupState) -> None:
    room = in_state(state)
    with pytest.raises(UserError, match="no set-up shift waits"):
        room.setup.confirm(SESSION, 1, room.now_ns)


def test_confirmation_is_refused_once_the_couch_follows() -> None:
    room = in_state(SetupState.IDLE)
    shift = room.propose()
    room.controller.tracking = True
    with pytest.raises(UserError, match="follows the target"):
        room.confirm(shift)


@pytest.mark.parametrize("state", [SetupState.IDLE, SetupState.UNVERIFIED])
def test_nothing_to_cancel(state: SetupState) -> None:
    room = in_state(state)
    with pytest.raises(UserError, match="no set-up is under way"):
        room.setup.cancel(room.now_ns)


# what can go wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize("state", [s for s in SetupState if s is not SetupState.IDLE])
def test_beam_is_held_until_the_operator_disarms(state: SetupState) -> None:
    room = in_state(state)
    assert room.setup.holds
    room.setup.reset()
    assert not room.setup.holds
    assert room.frame() is None


def test_cancelling_stops_the_couch_and_keeps_the_hold() -> None:
    room = in_state(SetupState.MOVING)
    room.frames(8)
    assert room.status.moving
    shift = room.send(room.setup.cancel(room.now_ns))
    assert shift.mode is CouchMode.NONE
    room.frames(10)
    assert not room.status.moving
    assert 0 < np.linalg.norm(room.status.position_mm) < 6
    assert room.setup.state is SetupState.UNVERIFIED

    # another set-up, verified, lets go of the beam
    room.confirm(room.propose())
    room.frames(60)
    assert not room.setup.holds


def test_couch_does_not_go_on_by_itself_after_the_target_was_uncertain() -> None:
    room = in_state(SetupState.MOVING)
    room.frames(8)
    room.reasons = Reason.LANDMARK_LOST
    assert all(s is not None and s.mode is CouchMode.NONE for s in room.frames(10))
    stopped_mm = room.status.position_mm
    room.frames(10)
    assert room.status.position_mm.tolist() == stopped_mm.tolist()
    room.reasons = NOTHING
    room.frames(60)
    assert room.status.position_mm.tolist() == stopped_mm.tolist()
    assert room.setup.state is SetupState.UNVERIFIED
    assert "not certain" in room.setup.message
    room.confirm(room.propose())
    room.frames(60)
    assert not room.setup.holds


def test_target_that_is_still_off_plan_stays_held() -> None:
    room = in_state(SetupState.MOVING)
    room.off_plan_mm = room.off_plan_mm + np.array([0, 1.2, 0])
    room.frames(60)
    assert room.setup.state is SetupState.UNVERIFIED
    assert "1.2 mm off plan" in room.setup.message


def test_an_axis_that_is_not_driven_must_be_on_plan_too() -> None:
    room = Room(axes=(False, True, False))
    room.frames(10)
    room.confirm(room.propose())
    room.frames(60)
    assert room.setup.state is SetupState.UNVERIFIED


def test_two_frames_after_the_arrival_are_needed() -> None:
    room = in_state(SetupState.VERIFYING)
    room.reasons = NOTHING
    room.frame()
    assert room.setup.holds
    room.reasons = Reason.LANDMARK_UNCERTAIN
    room.frames(5)
    assert room.setup.holds
    room.reasons = NOTHING
    room.frame()
    assert not room.setup.holds


def test_frames_acquired_before_the_arrival_verify_nothing() -> None:
    room = in_state(SetupState.VERIFYING)
    on_plan = Target(np.zeros(3), YZ, NOTHING, room.status.position_mm, 0.5)
    for age_ms in range(200, 600, 50):
        room.setup.update(on_plan, room.now_ns - age_ms * NS_PER_MS, room.status)
    assert room.setup.holds


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"moving": True}, id="moving"),
        pytest.param({"position_mm": np.array([0, -5.4, 3.0])}, id="not-there"),
        pytest.param({"acknowledged_sequence": 0}, id="not-acknowledged"),
        pytest.param({"acknowledged_session": SESSION + 1}, id="another-session"),
    ],
)
def test_couch_has_not_arrived(changes: dict[str, object]) -> None:
    room = in_state(SetupState.MOVING)
    there = CouchStatus(room.now_ns, np.array([0, -6.0, 3.0]), False, "", SESSION, 10_000)
    on_plan = Target(np.zeros(3), YZ, NOTHING, there.position_mm, 0.5)
    for k in range(5):
        room.setup.update(on_plan, room.now_ns + k, replace(there, **changes))  # type: ignore[arg-type]
    assert room.setup.state is SetupState.MOVING
    room.setup.update(on_plan, room.now_ns + 10, there)
    assert room.setup.state is SetupState.VERIFYING


def test_without_a_report_nothing_has_arrived() -> None:
    room = in_state(SetupState.MOVING)
    for k in range(5):
        room.setup.update(Target(np.zeros(3), YZ, NOTHING, np.zeros(3), 0.5), room.now_ns + k, None)
    assert room.setup.state is SetupState.MOVING

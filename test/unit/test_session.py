"""Gate, predictors and couch as one session."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from lmtrack_ros.core.records import (
    NS_PER_MS,
    NS_PER_S,
    CouchMode,
    CouchStatus,
    Estimate,
    GateDecision,
    GateState,
    Landmark,
    LandmarkSet,
    MarkedLandmarks,
    Reason,
    Status,
)
from lmtrack_ros.gating.couch_controller import CouchParameters
from lmtrack_ros.gating.couch_setup import SetupState
from lmtrack_ros.gating.parameters import GatingParameters
from lmtrack_ros.gating.prediction import PredictorParameters
from lmtrack_ros.gating.session import ACTIONS, Answer, Session
from lmtrack_ros.phantoms import open_phantom
from lmtrack_ros.phantoms.couch import CouchSimulator, CouchSimulatorParameters
from lmtrack_ros.phantoms.phantom import PhantomParameters
from lmtrack_ros.pipeline import Timing
from lmtrack_ros.replay import make_pipeline

T0 = 100 * NS_PER_S
FRAME_NS = 40 * NS_PER_MS
LATENCY_NS = 50 * NS_PER_MS
PARAMETERS = GatingParameters(
    landmarks=("a",),
    references_mm=(0.0, 0.0, 0.0),
    window_lower_mm=(-3.0, -3.0, -3.0),
    window_upper_mm=(3.0, 3.0, 3.0),
    couch=CouchParameters(axes=(True, True, True)),
)


class Room:
    """A target, a couch and a session, in steps of one frame."""

    def __init__(
        self,
        parameters: GatingParameters = PARAMETERS,
        motion_mm: Callable[[float], float] = lambda time_s: 0.0,
    ) -> None:
        self.session = Session(parameters, 3)
        self.couch = CouchSimulator(CouchSimulatorParameters(), T0)
        self.motion_mm = motion_mm
        self.stamp_ns = T0
        self.answers: list[Answer] = []

    @property
    def now_ns(self) -> int:
        return self.stamp_ns + LATENCY_NS

    def step(self, count: int = 1) -> Answer:
        for _ in range(count):
            self.stamp_ns += FRAME_NS
            status = self.couch.advance(self.stamp_ns)
            self.session.couch(status, self.stamp_ns)
            y_mm = self.motion_mm((self.stamp_ns - T0) / NS_PER_S)
            estimate = Estimate(
                "a",
                Status.TRACKED,
                (1.0, 1.0),
                status.position_mm + np.array([0.0, y_mm, 0.0]),
                np.eye(3),
                (True, True, True),
                0.9,
                0.3,
            )
            answer = self.session.landmarks(LandmarkSet(self.stamp_ns, (estimate,)), self.now_ns)
            self.couch.command(answer.shift, self.now_ns)
            self.answers.append(answer)
        return self.answers[-1]

    def do(self, action: str, shift: tuple[int, int] | None = None) -> str:
        entry, answer = self.session.operate(action, self.now_ns, shift)
        assert entry.accepted, entry.message
        if answer is not None:
            self.couch.command(answer.shift, self.now_ns)
        return entry.message

    def refused(self, action: str, shift: tuple[int, int] | None = None) -> str:
        entry, answer = self.session.operate(action, self.now_ns, shift)
        assert not entry.accepted
        assert answer is None
        return entry.message

    def reasons(self) -> Reason:
        return decision(self.step()).reasons


def decision(answer: Answer | None) -> GateDecision:
    assert answer is not None
    assert answer.decision is not None
    return answer.decision


def opened(parameters: GatingParameters = PARAMETERS) -> Room:
    room = Room(parameters)
    room.do("arm")
    assert decision(room.step(3)).state is GateState.BEAM_ON
    return room


@pytest.mark.parametrize("tracking", [False, True])
def test_replayed_couch_that_follows_must_say_where_it_is(tracking: bool) -> None:
    """Asserts that without couch poses a configuration whose couch follows from the start holds."""
    phantom = open_phantom("ultrasound", PhantomParameters(preset="demo"))
    frames = list(islice(phantom, 2))
    truth = phantom.truth(frames[0].stamp_ns, 0.0)
    marked = MarkedLandmarks(tuple(Landmark(e.id, e.uv_px) for e in truth.estimates), frames[0].stamp_ns)
    parameters = {
        "tracker": {},
        "gating": {"window_axes": [False, True, True], "couch": {"tracking": tracking}},
    }
    for step in make_pipeline(parameters, marked, Timing(50 * NS_PER_MS)).run(frames):
        assert (Reason.COUCH_SILENT in step.decision.reasons) is tracking


# what holds between frames -----------------------------------------------------------------------


def test_second_gate_holds_at_once_and_latches() -> None:
    room = opened()
    ours = decision(room.answers[-1])
    assert room.session.hear(ours, room.now_ns) is None
    answer = room.session.hear(replace(ours, session=77), room.now_ns)
    assert decision(answer).reasons == Reason.SECOND_PUBLISHER
    assert room.reasons() == Reason.SECOND_PUBLISHER
    room.do("acknowledge")
    assert decision(room.step(3)).state is GateState.BEAM_ON


@pytest.mark.parametrize("jump_s", [-3600, -1, 1, 3600])
def test_clock_that_is_set_disarms_at_once(jump_s: int) -> None:
    room = opened()
    room.session.tick(room.now_ns, 5 * NS_PER_S)
    now_ns = room.now_ns + jump_s * NS_PER_S
    held = decision(room.session.tick(now_ns, 5 * NS_PER_S))
    assert Reason.CLOCK_JUMP | Reason.NOT_ARMED in held.reasons
    assert "CLOCK_JUMP" in room.refused("arm")
    room.do("acknowledge")
    room.do("arm")


def test_replays_clock_is_not_watched() -> None:
    room = opened(replace(PARAMETERS, max_clock_jump_ms=0.0))
    room.session.tick(room.now_ns, 5 * NS_PER_S)
    assert room.session.tick(room.now_ns, 50 * NS_PER_S) is None


def test_couch_that_is_pushed_holds_at_once() -> None:
    room = opened()
    status = CouchStatus(room.now_ns, np.array([0.0, 0.0, 2.0]), moving=True)
    assert decision(room.session.couch(status, room.now_ns)).reasons == Reason.COUCH_MOVING


def test_couch_that_does_not_acknowledge_is_stopped() -> None:
    room = Room(motion_mm=lambda time_s: 2.0 * np.sin(time_s))
    room.couch.command = lambda shift, now_ns: None  # type: ignore[method-assign]
    room.do("arm")
    room.step()
    room.do("track")
    room.step(20)
    last = room.answers[-1]
    assert Reason.COUCH_TIMEOUT in decision(last).reasons
    assert last.shift.mode is CouchMode.NONE


def test_status_from_the_future_does_not_blind_the_watch() -> None:
    room = opened()
    room.session.couch(CouchStatus(room.now_ns + 3600 * NS_PER_S), room.now_ns)
    room.do("acknowledge")
    room.step(3)
    room.do("acknowledge")
    room.step(3)
    status = CouchStatus(room.now_ns, np.array([0.0, 0.0, 2.0]), moving=True)
    assert Reason.COUCH_MOVING in decision(room.session.couch(status, room.now_ns)).reasons


def test_couch_is_known_again_after_the_clock_was_set_back() -> None:
    room = opened()
    room.session.tick(room.now_ns, 5 * NS_PER_S)
    back_ns = 600 * NS_PER_S
    room.session.tick(room.now_ns - back_ns, 5 * NS_PER_S)
    room.do("acknowledge")
    room.stamp_ns -= back_ns
    room.session.couch(CouchStatus(room.stamp_ns), room.stamp_ns)
    assert room.session.gate.couch.position_mm(room.stamp_ns) is not None


@pytest.mark.parametrize("following", ["track", "setup"])
def test_couch_at_fault_is_stopped_at_once_though_the_beam_is_held_already(following: str) -> None:
    room = Room(motion_mm=lambda time_s: 8.0)
    room.do("arm")
    room.step(15)
    if following == "track":
        room.do("track")
    else:
        room.do("propose_setup")
        room.do("confirm_setup")
    assert room.step(4).shift.mode is not CouchMode.NONE
    status = CouchStatus(room.now_ns, fault="motor")
    answer = room.session.couch(status, room.now_ns)
    assert answer is not None
    assert Reason.COUCH_FAULT in decision(answer).reasons
    assert answer.shift.mode is CouchMode.NONE
    assert room.session.couch(replace(status, stamp_ns=room.now_ns + 1), room.now_ns + 1) is None


def test_tracker_says_of_a_frame_only_what_it_can_know() -> None:
    """A clock jump is none of a tracker's business, and a bit of a newer interface is not to be trusted."""
    for fault in (Reason.CLOCK_JUMP, Reason.NOT_ARMED, Reason(1 << 50)):
        room = opened()
        room.stamp_ns += FRAME_NS
        held = room.session.landmarks(LandmarkSet(room.stamp_ns, faults=fault), room.now_ns)
        assert Reason.LANDMARK_UNCERTAIN in decision(held).reasons
        assert Reason.CLOCK_JUMP not in decision(held).reasons
        assert room.session.gate.armed


@pytest.mark.parametrize("far_mm", [1e5, 1e300, -1e308])
@pytest.mark.parametrize("group", ["each", "centroid", "rigid"])
def test_positions_outside_any_room_are_no_positions(far_mm: float, group: str) -> None:
    names = ("a", "b", "c")
    planned = ((10.0, 0.0, 0.0), (-10.0, 0.0, 0.0), (0.0, 10.0, 0.0))
    parameters = replace(
        PARAMETERS, landmarks=names, references_mm=tuple(v for p in planned for v in p), group=group
    )
    session = Session(parameters, 3)
    estimates = tuple(
        Estimate(
            name,
            Status.TRACKED,
            (1.0, 1.0),
            np.array(p) + (far_mm if name == "b" else 0.0),
            np.eye(3),
            (True,) * 3,
            0.9,
            0.3,
        )
        for name, p in zip(names, planned, strict=True)
    )
    held = session.landmarks(LandmarkSet(T0, estimates), T0)
    assert Reason.NOT_FINITE in decision(held).reasons


# the operator ------------------------------------------------------------------------------------


def test_every_action_leaves_an_entry_that_says_what_came_of_it() -> None:
    session = Session(PARAMETERS, 3)
    for action in (*ACTIONS, "open sesame"):
        entry, _ = session.operate(action, T0)
        assert (entry.action, entry.stamp_ns, entry.session) == (action, T0, 3)
        assert entry.message
    assert not entry.accepted
    assert entry.reasons == session.gate.standing_reasons


def test_couch_follows_only_while_armed() -> None:
    room = Room()
    assert "arm first" in room.refused("track")
    room.do("arm")
    room.do("track")
    assert room.step(10).shift.mode is CouchMode.TRACKING
    room.do("disarm")
    assert room.step().shift.mode is CouchMode.NONE
    room.do("arm")
    assert room.step(10).shift.mode is CouchMode.NONE, "nobody asked the couch to follow again"


def test_couch_of_a_configuration_that_only_gates_does_not_track() -> None:
    room = Room(replace(PARAMETERS, couch=CouchParameters(axes=(False, False, False))))
    room.do("arm")
    assert "gates only" in room.refused("track")


def test_couch_that_is_told_to_stand_still_is_told_at_once() -> None:
    room = opened()
    room.do("track")
    room.step(5)
    _, answer = room.session.operate("still", room.now_ns)
    assert answer is not None
    assert answer.decision is None
    assert answer.shift.mode is CouchMode.NONE


# set-up ------------------------------------------------------------------------------------------


def test_setup_brings_the_target_to_plan_with_the_beam_held() -> None:
    room = Room(motion_mm=lambda time_s: 7.0)
    room.do("arm")
    room.step(15)
    assert "7.0 mm" in room.do("propose_setup")
    proposed = decision(room.step())
    assert proposed.reasons & Reason.SETUP
    shift = room.session._setup.proposed
    assert "is not the one proposed" in room.refused("confirm_setup", (3, shift[1] + 5))
    room.do("confirm_setup", shift)
    states = set()
    for _ in range(200):
        answer = room.step()
        if decision(answer).state is GateState.BEAM_ON:
            break
        states.add(answer.shift.mode)
        assert decision(answer).reasons & (Reason.SETUP | Reason.DWELL)
    assert CouchMode.SETUP in states
    assert decision(room.step()).state is GateState.BEAM_ON
    assert room.couch.advance(room.now_ns).position_mm[1] == pytest.approx(-7.0, abs=0.2)


def test_setup_needs_an_armed_gate_and_a_couch_that_stands_still() -> None:
    room = Room(motion_mm=lambda time_s: 7.0)
    room.step(15)
    assert "arm first" in room.refused("propose_setup")
    room.do("arm")
    room.do("track")
    room.step(15)
    assert "stand still" in room.refused("propose_setup")


@pytest.mark.parametrize("stop", ["still", "acknowledge", "clock"])
def test_setup_that_was_stopped_does_not_go_on_by_itself(stop: str) -> None:
    room = Room(motion_mm=lambda time_s: 7.0)
    room.session.tick(room.now_ns, 5 * NS_PER_S)
    room.do("arm")
    room.step(15)
    room.do("propose_setup")
    room.do("confirm_setup")
    room.step(5)
    if stop == "clock":
        room.session.tick(room.now_ns, 6 * NS_PER_S)
        room.do("acknowledge")
        room.do("arm")
    else:
        room.do(stop)
    for _ in range(50):
        answer = room.step()
        assert answer.shift.mode is CouchMode.NONE
        assert Reason.SETUP in decision(answer).reasons


def test_repeated_frame_verifies_no_setup() -> None:
    room = Room(motion_mm=lambda time_s: 7.0)
    room.do("arm")
    room.step(15)
    room.do("propose_setup")
    room.do("confirm_setup")
    while room.session._setup.state is not SetupState.VERIFYING:
        room.step()
    for _ in range(5):
        room.stamp_ns -= FRAME_NS
        room.step()
        assert Reason.SETUP in decision(room.answers[-1]).reasons


def test_gate_that_stopped_and_starts_again_moves_no_couch() -> None:
    room = Room()
    room.do("arm")
    room.do("track")
    room.step(5)
    room.session.shut_down(room.now_ns)
    room.do("arm")
    assert {room.step().shift.mode for _ in range(10)} == {CouchMode.NONE}


def test_disarming_ends_a_setup() -> None:
    room = Room(motion_mm=lambda time_s: 7.0)
    room.do("arm")
    room.step(15)
    room.do("propose_setup")
    assert "under way" in room.refused("track")
    room.do("disarm")
    assert room.reasons() & Reason.SETUP == Reason(0)


# prediction --------------------------------------------------------------------------------------


def breathe(time_s: float) -> float:
    return 6.0 * np.cos(2 * np.pi * time_s / 4.0)


@pytest.mark.parametrize("kind", ["constant_velocity", "adaptive_linear"])
def test_predicting_gate_switches_when_the_target_crosses_not_when_it_was_seen(kind: str) -> None:
    """With 150 ms to the beam, and 50 ms to the decision, the plain gate is late by 200 ms."""
    late_ms = {}
    for used in ("none", kind):
        parameters = replace(
            PARAMETERS,
            beam_latency_ms=150.0,
            resume_frames=1,
            predictor=PredictorParameters(kind=used),
        )
        room = Room(parameters, breathe)
        room.do("arm")
        room.step(25 * 60)
        on = np.array([decision(a).state is GateState.BEAM_ON for a in room.answers])
        stamps_ns = np.array([decision(a).stamp_ns for a in room.answers])
        switched_s = (stamps_ns[1:][on[1:] & ~on[:-1]] - T0) / NS_PER_S + 0.2
        # the target comes to within 3 mm, less its radius, at this phase, towards either side
        arcs = np.arccos(np.array([2.7, -2.7]) / 6.0) * 4.0 / (2 * np.pi)
        enters_s = np.concatenate([arcs[0] + 4.0 * np.arange(16), 4.0 - arcs[1] + 4.0 * np.arange(16)])
        errors = [1e3 * (t - enters_s[np.abs(t - enters_s).argmin()]) for t in switched_s[-10:]]
        late_ms[used] = float(np.median(errors))
        if used != "none":
            assert decision(room.answers[-1]).horizon_ms == pytest.approx(220.0, abs=1.0)
    assert 180 < late_ms["none"] < 260
    assert abs(late_ms[kind]) < 60


def test_couch_that_tracks_with_prediction_leaves_less() -> None:
    residual_mm = {}
    for kind in ("none", "adaptive_linear"):
        couch = replace(PARAMETERS.couch, speed_limit_mm_s=12.0, response_ms=50.0)
        parameters = replace(PARAMETERS, couch=couch, predictor=PredictorParameters(kind=kind))
        room = Room(parameters, lambda time_s: 0.7 * breathe(time_s))
        room.do("arm")
        room.step(10)
        room.do("track")
        room.step(25 * 40)
        targets = []
        for _ in range(25 * 8):
            room.step()
            couch_mm = room.couch.advance(room.stamp_ns).position_mm[1]
            targets.append(couch_mm + room.motion_mm((room.stamp_ns - T0) / NS_PER_S))
        residual_mm[kind] = float(np.std(targets))
    assert residual_mm["adaptive_linear"] < 0.5 * residual_mm["none"]

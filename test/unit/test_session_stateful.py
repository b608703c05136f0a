"""Whatever comes in whatever order: the beam is never on against a reason, and it does come on."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from lmtrack_ros.core.records import (
    LATCHING,
    NS_PER_MS,
    NS_PER_S,
    CouchStatus,
    Estimate,
    GateDecision,
    GateState,
    LandmarkSet,
    Reason,
    Status,
)
from lmtrack_ros.gating.consumer import BeamEnable
from lmtrack_ros.gating.couch_controller import CouchParameters
from lmtrack_ros.gating.parameters import GatingParameters
from lmtrack_ros.gating.prediction import PredictorParameters
from lmtrack_ros.gating.session import Answer, Session

NOTHING = Reason(0)
FRAME_MS, LATENCY_MS, MAX_AGE_MS, VALIDITY_MS = 40, 50, 200, 250
HALF_WINDOW_MM = np.array([1.0, 4.0, 3.0])
RADIUS_MM = 0.5
PLANNED_MM = np.array([10.0, -20.0, 5.0])

SETTINGS = [
    GatingParameters(
        landmarks=("a",),
        references_mm=tuple(PLANNED_MM.tolist()),
        window_lower_mm=tuple((-HALF_WINDOW_MM).tolist()),
        window_upper_mm=tuple(HALF_WINDOW_MM.tolist()),
        max_age_ms=float(MAX_AGE_MS),
        resume_frames=frames,
        dwell_ms=dwell_ms,
        max_second_opinion_mm=opinion_mm,
        predictor=PredictorParameters(kind=kind, window_s=2.0, diverged_after_s=1.0),
        couch=CouchParameters(axes=(True, True, True)),
    )
    for frames, dwell_ms, opinion_mm, kind in (
        (1, 0.0, 0.0, "none"),
        (3, 0.0, 0.0, "none"),
        (2, 150.0, 1.0, "none"),
        (3, 100.0, 0.0, "constant_velocity"),
        (3, 0.0, 0.0, "adaptive_linear"),
    )
]

NUMBERS = st.sampled_from([0.0, 0.4, -1.4, 3.0, 50.0, 1e300, -1e300, np.nan, np.inf, -np.inf])
POINTS = st.tuples(NUMBERS, NUMBERS, NUMBERS).map(np.array)
INSIDE = st.tuples(*(st.floats(-0.99 * h + RADIUS_MM, 0.99 * h - RADIUS_MM) for h in HALF_WINDOW_MM)).map(
    np.array
)
STEPS_MS = st.sampled_from([FRAME_MS] * 6 + [0, 1, 10, 33, 199, 200, 201, 260, 5000])
ODD_ESTIMATES = st.builds(
    lambda name, status, position, observed, confidence, radius_mm, second: Estimate(
        name,
        status,
        (np.nan, np.inf),
        position,
        np.eye(3),
        observed,
        confidence,
        radius_mm,
        second_opinion_mm=second,
    ),
    st.sampled_from(["a", "a", "b", ""]),
    st.sampled_from(Status),
    POINTS,
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    NUMBERS,
    NUMBERS,
    st.none() | POINTS,
)
ACTIONS = st.sampled_from(
    ["arm", "arm", "disarm", "hold", "release", "acknowledge", "acknowledge", "track", "still"]
)


class Treatment(RuleBasedStateMachine):
    """A session, what an onlooker knows of it, and a beam that obeys its decisions."""

    @initialize(parameters=st.sampled_from(SETTINGS))
    def start(self, parameters: GatingParameters) -> None:
        self.parameters = parameters
        self.now_ns = 100 * NS_PER_S
        self.monotonic_ns = 7 * NS_PER_S
        self.number = 0
        self.begin_session()
        self.arm_the_beam()
        self.operator_calls(0, "arm")

    def begin_session(self) -> None:
        self.number += 1
        self.session = Session(self.parameters, self.number)
        self.armed = self.held = self.jumped = False
        self.latched = NOTHING
        self.sequence = 0
        self.beam_was_allowed = False
        self.newest_frame_ns = 0
        # stamps of the good frames in a row
        self.good: list[int] = []
        self.identity: tuple[object, ...] | None = None

    def arm_the_beam(self) -> None:
        self.beam = BeamEnable(self.number, VALIDITY_MS)
        self.beam_session = self.number
        self.delivered: tuple[GateDecision, int] | None = None
        self.doubted_until_ns = 0
        self.beam_saw_jump = False
        self.beam.beam_on(self.now_ns, self.monotonic_ns)

    def pass_time(self, step_ms: int) -> None:
        """Let time go by; the session ticks every 10 ms, less often once it has held for silence."""
        until_ns = self.now_ns + step_ms * NS_PER_MS
        while self.now_ns < until_ns:
            tick_ms = 10 if until_ns - self.now_ns <= 300 * NS_PER_MS or self.beam_was_allowed else 500
            tick_ns = min(tick_ms * NS_PER_MS, until_ns - self.now_ns)
            self.now_ns += tick_ns
            self.monotonic_ns += tick_ns
            self.take(self.session.tick(self.now_ns, self.monotonic_ns), "tick")
            age_ms = (self.now_ns - self.newest_frame_ns) / NS_PER_MS
            assert not (self.beam_was_allowed and age_ms > MAX_AGE_MS), "a silent tracker is not noticed"

    def take(self, answer: Answer | None, event: str) -> None:
        """Check what the session says, and hand it to the beam."""
        if answer is None or answer.decision is None:
            return
        decision = answer.decision
        self.sequence += 1
        assert decision.sequence == self.sequence
        assert decision.session == self.number
        assert (decision.state is GateState.BEAM_ON) == (decision.reasons == NOTHING)
        assert Reason.NOT_ARMED in decision.reasons or self.armed
        assert Reason.OPERATOR_HOLD in decision.reasons or not self.held
        assert self.latched & ~decision.reasons == NOTHING, "something latched has cleared by itself"
        if self.armed:
            self.latched |= decision.reasons & LATCHING
        if decision.state is GateState.BEAM_ON:
            assert event == "frame"
            assert decision.margin_mm > 0
            assert decision.valid_until_ns == decision.stamp_ns + MAX_AGE_MS * NS_PER_MS
        else:
            assert decision.valid_until_ns == decision.stamp_ns
            assert np.isfinite(answer.shift.target_mm).all()
        self.beam_was_allowed = decision.state is GateState.BEAM_ON
        self.deliver(decision)

    def deliver(self, decision: GateDecision) -> None:
        self.beam.receive(decision, self.monotonic_ns)
        if decision.session == self.beam_session:
            self.delivered = decision, self.monotonic_ns
        else:
            self.doubted_until_ns = self.monotonic_ns + VALIDITY_MS * NS_PER_MS

    # what may happen -----------------------------------------------------------------------------

    def feed(self, landmarks: LandmarkSet, good: bool) -> None:
        """Show a frame; ``good`` is whether an onlooker finds nothing wrong with it."""
        age_ms = (self.now_ns - landmarks.stamp_ns) / NS_PER_MS
        gap = self.newest_frame_ns and self.now_ns - self.newest_frame_ns > MAX_AGE_MS * NS_PER_MS
        identity = (landmarks.model, landmarks.frame_id, landmarks.session, landmarks.marking)
        in_time = (
            -5 <= age_ms <= MAX_AGE_MS
            and landmarks.stamp_ns > 0
            and landmarks.stamp_ns >= self.newest_frame_ns
        )
        good = good and in_time and not gap and self.identity in (None, identity)
        good = good and self.armed and not self.held and self.latched == NOTHING
        is_new = landmarks.stamp_ns > self.newest_frame_ns
        self.identity, self.newest_frame_ns = identity, landmarks.stamp_ns
        answer = self.session.landmarks(landmarks, self.now_ns)
        assert answer.decision is not None
        margin_mm = answer.decision.margin_mm
        if self.parameters.predictor.kind != "none":
            # where it is predicted to be is the predictor's matter
            good = good and margin_mm > 0
        reasons = answer.decision.reasons
        # what an onlooker cannot see: a couch that must report, and percentiles over ten seconds
        unseen = Reason.COUCH_SILENT | Reason.COUCH_FAULT | Reason.LATENCY_OVER_BUDGET | LATCHING
        if reasons & unseen:
            good = False
        if not good:
            self.good = []
        elif is_new:
            self.good.append(landmarks.stamp_ns)
        dwelt = (
            len(self.good) >= self.parameters.resume_frames
            and self.good[-1] - self.good[0] >= self.parameters.dwell_ms * NS_PER_MS
        )
        # neither too soon nor too late
        assert (answer.decision.state is GateState.BEAM_ON) == (good and dwelt)
        self.take(answer, "frame")

    def estimate(self, offset_mm: np.ndarray) -> Estimate:
        position = PLANNED_MM + offset_mm
        return Estimate(
            "a",
            Status.TRACKED,
            (1.0, 2.0),
            position,
            np.eye(3),
            (True, True, True),
            0.9,
            RADIUS_MM,
            second_opinion_mm=position + 0.1,
        )

    @rule(step_ms=STEPS_MS, offset_mm=INSIDE)
    def good_frame(self, step_ms: int, offset_mm: np.ndarray) -> None:
        self.pass_time(step_ms)
        stamp_ns = self.now_ns - LATENCY_MS * NS_PER_MS
        self.feed(LandmarkSet(stamp_ns, (self.estimate(offset_mm),)), good=True)

    @rule(offset_mm=INSIDE, count=st.integers(3, 8))
    def several_good_frames(self, offset_mm: np.ndarray, count: int) -> None:
        for _ in range(count):
            self.good_frame(FRAME_MS, offset_mm)
            self.beam_is_read(0)

    @rule(step_ms=STEPS_MS, offset_mm=INSIDE, axis=st.integers(0, 2), side=st.sampled_from([-1, 1]))
    def frame_outside(self, step_ms: int, offset_mm: np.ndarray, axis: int, side: int) -> None:
        self.pass_time(step_ms)
        moved = offset_mm.copy()
        moved[axis] = side * (HALF_WINDOW_MM[axis] - RADIUS_MM + 0.01)
        stamp_ns = self.now_ns - LATENCY_MS * NS_PER_MS
        predicts = self.parameters.predictor.kind != "none"
        self.feed(LandmarkSet(stamp_ns, (self.estimate(moved),)), good=predicts)

    @rule(step_ms=STEPS_MS, age_ms=st.sampled_from([-(10**6), -6, -4, 0, 201, 10**6]))
    def frame_of_another_time(self, step_ms: int, age_ms: int) -> None:
        self.pass_time(step_ms)
        stamp_ns = max(0, self.now_ns - age_ms * NS_PER_MS)
        self.feed(LandmarkSet(stamp_ns, (self.estimate(np.zeros(3)),)), good=True)

    @rule(
        step_ms=STEPS_MS,
        changes=st.sampled_from(
            [
                {"faults": Reason.FROZEN_IMAGE},
                {"faults": Reason.BLACK_IMAGE},
                {"faults": Reason.GEOMETRY_MISSING | Reason.OUTSIDE_IMAGE},
                {"faults": Reason(1 << 50)},
                {"estimates": ()},
                {"frame_id": "patient"},
                {"model": "another"},
                {"session": 4},
                {"marking": 2},
            ]
        ),
    )
    def frame_with_a_fault(self, step_ms: int, changes: dict[str, object]) -> None:
        self.pass_time(step_ms)
        stamp_ns = self.now_ns - LATENCY_MS * NS_PER_MS
        landmarks = replace(LandmarkSet(stamp_ns, (self.estimate(np.zeros(3)),)), **changes)  # type: ignore[arg-type]
        # a change of tracker is seen by comparison; the frame in itself is well
        self.feed(landmarks, good=not {"faults", "estimates", "frame_id"} & set(changes))

    @rule(step_ms=STEPS_MS, estimates=st.lists(ODD_ESTIMATES, max_size=3))
    def odd_frame(self, step_ms: int, estimates: list[Estimate]) -> None:
        self.pass_time(step_ms)
        stamp_ns = self.now_ns - LATENCY_MS * NS_PER_MS
        # far from plan, or not finite, or not tracked, or not there: none of these is well
        self.feed(LandmarkSet(stamp_ns, tuple(estimates)), good=False)

    @rule(step_ms=STEPS_MS)
    def silence(self, step_ms: int) -> None:
        self.pass_time(step_ms)

    @rule(step_ms=STEPS_MS, action=ACTIONS)
    def operator_calls(self, step_ms: int, action: str) -> None:
        self.pass_time(step_ms)
        entry, answer = self.session.operate(action, self.now_ns)
        assert entry.message
        if action == "arm":
            # a couch that stirred may have latched while the beam was held anyway
            if self.armed:
                self.latched |= entry.reasons & LATCHING
            assert entry.accepted == (entry.reasons & LATCHING == NOTHING)
            assert not entry.accepted or self.latched == NOTHING
            self.armed = self.armed or entry.accepted
            if entry.accepted:
                self.forget_frames()
        elif action == "disarm":
            self.armed = False
        elif action == "acknowledge":
            # a fault that the couch still reports stays
            self.latched, self.jumped = self.latched & entry.reasons, False
            self.forget_frames()
        elif action in ("hold", "release"):
            self.held = action == "hold"
        if action in ("disarm", "hold"):
            assert answer is not None
        self.take(answer, action)

    def forget_frames(self) -> None:
        self.good = []
        self.newest_frame_ns = 0
        self.identity = None

    @rule(
        step_ms=STEPS_MS,
        position_mm=st.sampled_from([np.zeros(3), np.zeros(3), np.full(3, 1.0), np.full(3, np.nan)]),
        fault=st.sampled_from(["", "", "", "motor"]),
        age_ms=st.sampled_from([0, 0, 50, -(10**6)]),
        moving=st.booleans(),
    )
    def couch_reports(
        self, step_ms: int, position_mm: np.ndarray, fault: str, age_ms: int, moving: bool
    ) -> None:
        self.pass_time(step_ms)
        status = CouchStatus(self.now_ns - age_ms * NS_PER_MS, position_mm, moving, fault)
        broken = bool(fault) or age_ms < 0 or not np.isfinite(position_mm).all()
        was_allowed = self.beam_was_allowed
        answer = self.session.couch(status, self.now_ns)
        if broken and was_allowed:
            assert answer is not None, "a broken couch does not hold at once"
            assert answer.decision is not None
            assert Reason.COUCH_FAULT in answer.decision.reasons
        if broken and self.armed:
            self.latched |= Reason.COUCH_FAULT
        if broken:
            self.good = []
        self.take(answer, "couch")

    @rule(step_ms=STEPS_MS)
    def another_gate_speaks(self, step_ms: int) -> None:
        self.pass_time(step_ms)
        foreign = GateDecision(
            self.now_ns, self.number + 1000, 1, GateState.BEAM_ON, NOTHING, self.now_ns * 2
        )
        was_allowed = self.beam_was_allowed
        self.deliver(foreign)
        answer = self.session.hear(foreign, self.now_ns)
        if was_allowed:
            assert answer is not None
            assert answer.decision is not None
            assert Reason.SECOND_PUBLISHER in answer.decision.reasons
        if self.armed:
            self.latched |= Reason.SECOND_PUBLISHER
        self.take(answer, "hear")

    @rule(step_ms=STEPS_MS, jump_ms=st.sampled_from([-5000, -300, -101, 101, 300, 5000]))
    def clock_is_set(self, step_ms: int, jump_ms: int) -> None:
        self.pass_time(step_ms)
        self.beam_is_read(0)
        self.take(self.session.tick(self.now_ns, self.monotonic_ns), "tick")
        was_allowed = self.beam_was_allowed
        self.now_ns += jump_ms * NS_PER_MS
        answer = self.session.tick(self.now_ns, self.monotonic_ns)
        self.armed, self.jumped = False, True
        self.latched |= Reason.CLOCK_JUMP
        self.good = []
        if was_allowed:
            assert answer is not None, "a clock that was set does not hold at once"
        self.take(answer, "tick")
        self.beam_saw_jump = True

    @rule(treats=st.booleans())
    def gate_is_restarted(self, treats: bool) -> None:
        """The beam stays armed with the session that is no more."""
        self.begin_session()
        if treats:
            self.treatment_goes_on()
            self.several_good_frames(np.zeros(3), 8)

    @rule()
    def beam_alone_hears_another_gate(self) -> None:
        """Our own has not heard it, or not yet, and goes on."""
        foreign = GateDecision(self.now_ns, self.number + 1000, 1)
        self.deliver(foreign)
        self.several_good_frames(np.zeros(3), 8)

    @rule()
    def beam_is_armed(self) -> None:
        self.arm_the_beam()

    @invariant()
    def beam_is_read_after_everything(self) -> None:
        self.beam_is_read(0)

    @rule(later_ms=st.sampled_from([1, 60, 199, 249, 250, 300]))
    def beam_is_read(self, later_ms: int) -> None:
        """Read the beam line a little later, with no decision in between."""
        now_ns = self.now_ns + later_ms * NS_PER_MS
        monotonic_ns = self.monotonic_ns + later_ms * NS_PER_MS
        on = self.beam.beam_on(now_ns, monotonic_ns)
        if not on:
            return
        assert self.delivered is not None
        decision, arrived_ns = self.delivered
        assert decision.state is GateState.BEAM_ON
        assert decision.session == self.beam_session
        assert not self.beam_saw_jump
        assert monotonic_ns >= self.doubted_until_ns
        assert now_ns < decision.valid_until_ns
        assert monotonic_ns - arrived_ns < VALIDITY_MS * NS_PER_MS

    @rule()
    def treatment_goes_on(self) -> None:
        """Acknowledge, arm, and show a healthy couch and clean frames: the beam comes on within its dwell."""
        self.pass_time(11_000)
        self.operator_calls(0, "still")
        self.operator_calls(0, "acknowledge")
        self.take(self.session.couch(CouchStatus(self.now_ns), self.now_ns), "couch")
        self.operator_calls(0, "acknowledge")
        self.operator_calls(0, "release")
        self.operator_calls(0, "arm")
        frames = max(self.parameters.resume_frames, 1 + int(np.ceil(self.parameters.dwell_ms / FRAME_MS)))
        for _ in range(frames):
            assert not self.beam_was_allowed
            self.good_frame(FRAME_MS, np.zeros(3))
        assert self.beam_was_allowed


QUICK = settings(
    max_examples=100,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


# positions of 1e300 mm overflow on purpose
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_beam_is_never_on_against_a_reason() -> None:
    run_state_machine_as_test(Treatment, settings=QUICK)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_beam_is_never_on_against_a_reason_in_ten_thousand_treatments() -> None:
    run_state_machine_as_test(
        Treatment, settings=settings(QUICK, max_examples=10_000, stateful_step_count=20)
    )

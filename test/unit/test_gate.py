"""The beam gate: every reason to hold, when it resumes, and what no sequence of events may do."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import (
    LATCHING,
    NS_PER_MS,
    NS_PER_S,
    CouchStatus,
    Estimate,
    GateDecision,
    GateState,
    LandmarkSet,
    LatencyStamps,
    Reason,
    Status,
)
from lmtrack_ros.gating.gate import Gate, GateParameters
from lmtrack_ros.gating.prediction import PredictorParameters

T0 = 100 * NS_PER_S
SESSION = 9
FRAME_MS = 40
LATENCY_MS = 50
NOTHING = Reason(0)

PARAMETERS = GateParameters(
    landmarks=("a",),
    references_mm=(0.0, 0.0, 0.0),
    window_lower_mm=(-1.0, -2.0, -3.0),
    window_upper_mm=(1.0, 4.0, 3.0),
    max_age_ms=200.0,
    resume_frames=3,
)


def ms(value: float) -> int:
    return T0 + round(value * NS_PER_MS)


def estimate(x: float = 0.0, y: float = 0.0, z: float = 0.0, name: str = "a", **changes: object) -> Estimate:
    values = {
        "status": Status.TRACKED,
        "uv_px": (1.0, 2.0),
        "covariance_mm2": np.eye(3),
        "observed": (True, True, True),
        "confidence": 0.9,
        "radius_mm": 0.5,
        **changes,
    }
    return Estimate(name, position_mm=np.array([x, y, z]), **values)  # type: ignore[arg-type]


def frame(at_ms: float, *estimates: Estimate, frame_id: str = "isocenter") -> LandmarkSet:
    return LandmarkSet(ms(at_ms), estimates or (estimate(),), frame_id)


def armed(parameters: GateParameters = PARAMETERS) -> Gate:
    gate = Gate(parameters, SESSION)
    gate.arm()
    return gate


def feed(gate: Gate, at_ms: float, *estimates: Estimate, frame_id: str = "isocenter") -> GateDecision:
    """Let the gate decide on a frame at its usual latency."""
    return gate.update(frame(at_ms, *estimates, frame_id=frame_id), ms(at_ms + LATENCY_MS))


def opened(
    parameters: GateParameters = PARAMETERS, *estimates: Estimate, frame_id: str = "isocenter"
) -> Gate:
    """Return a gate that says BEAM_ON on the frames up to time zero, the couch at zero."""
    gate = armed(parameters)
    for index in range(parameters.resume_frames):
        at_ms = (index + 1 - parameters.resume_frames) * FRAME_MS
        if frame_id == "table_top":
            couch_says(at_ms)(gate)
        decision = feed(gate, at_ms, *estimates, frame_id=frame_id)
    assert decision.state is GateState.BEAM_ON
    return gate


# each reason alone -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """What is done to an open gate, and the one reason that must follow."""

    reason: Reason
    act: Callable[[Gate], GateDecision | None]
    gate: Callable[[], Gate] = field(default=lambda: opened())


def after(*steps: Callable[[Gate], object]) -> Callable[[Gate], GateDecision | None]:
    """Do the steps in turn; the last one decides."""

    def act(gate: Gate) -> GateDecision | None:
        results = [step(gate) for step in steps]
        assert results[-1] is None or isinstance(results[-1], GateDecision)
        return results[-1]

    return act


def next_frame(*estimates: Estimate, frame_id: str = "isocenter") -> Callable[[Gate], GateDecision]:
    return lambda gate: feed(gate, FRAME_MS, *estimates, frame_id=frame_id)


def frame_at(stamp_ms: float, now_ms: float) -> Callable[[Gate], GateDecision]:
    return lambda gate: gate.update(frame(stamp_ms), ms(now_ms))


def couch_says(at_ms: float, **changes: object) -> Callable[[Gate], None]:
    return lambda gate: gate.update_couch(CouchStatus(ms(at_ms), **changes), ms(at_ms))  # type: ignore[arg-type]


def next_set(**changes: object) -> Callable[[Gate], GateDecision]:
    return lambda gate: gate.update(replace(frame(FRAME_MS), **changes), ms(FRAME_MS + 50))  # type: ignore[arg-type]


def latched(reason: Reason) -> Callable[[Gate], GateDecision | None]:
    """Latch a reason from elsewhere; the very next tick must hold."""
    return after(lambda gate: gate.latch(reason), lambda gate: gate.tick(ms(51)))


def restless(gate: Gate) -> GateDecision:
    """Jump to and fro, which no predictor foretells, until something holds."""
    for index in range(1, 200):
        decision = feed(gate, index * FRAME_MS, estimate(x=0.4 * (-1) ** (index // 4)))
        if decision.state is GateState.HOLD:
            return decision
    raise AssertionError("nothing holds")


PREDICTED = replace(
    PARAMETERS,
    predictor=PredictorParameters(
        kind="constant_velocity", window_s=2.0, diverged_mm=0.5, diverged_after_s=0.5
    ),
)
SLOW_COUCH = replace(PARAMETERS, max_couch_age_ms=30.0)
ASKED = replace(PARAMETERS, max_second_opinion_mm=1.0)
AGREED = estimate(second_opinion_mm=np.array([0.0, 0.0, 0.9]))

CASES = {
    "disarmed": Case(Reason.NOT_ARMED, lambda gate: gate.disarm(ms(60))),
    "frame-while-disarmed": Case(Reason.NOT_ARMED, after(lambda gate: gate.disarm(ms(60)), next_frame())),
    "operator": Case(Reason.OPERATOR_HOLD, lambda gate: gate.set_operator_hold(ms(60))),
    "frame-under-operator-hold": Case(
        Reason.OPERATOR_HOLD, after(lambda gate: gate.set_operator_hold(ms(60)), next_frame())
    ),
    "other-landmark": Case(Reason.LANDMARK_MISSING, next_frame(estimate(name="b"))),
    "no-landmark": Case(
        Reason.LANDMARK_MISSING, lambda gate: gate.update(LandmarkSet(ms(FRAME_MS)), ms(FRAME_MS + 50))
    ),
    "lost": Case(Reason.LANDMARK_LOST, next_frame(estimate(status=Status.LOST))),
    "uncertain": Case(Reason.LANDMARK_UNCERTAIN, next_frame(estimate(status=Status.UNCERTAIN))),
    "confidence": Case(Reason.LOW_CONFIDENCE, next_frame(estimate(confidence=0.49))),
    "nan-position": Case(Reason.NOT_FINITE, next_frame(estimate(y=np.nan))),
    "infinite-position": Case(Reason.NOT_FINITE, next_frame(estimate(z=-np.inf))),
    "nan-radius": Case(Reason.NOT_FINITE, next_frame(estimate(radius_mm=np.nan))),
    "infinite-radius": Case(Reason.NOT_FINITE, next_frame(estimate(radius_mm=np.inf))),
    "negative-radius": Case(Reason.NOT_FINITE, next_frame(estimate(radius_mm=-0.1))),
    "infinite-confidence": Case(Reason.NOT_FINITE, next_frame(estimate(confidence=np.inf))),
    "nan-confidence": Case(
        Reason.NOT_FINITE | Reason.LOW_CONFIDENCE, next_frame(estimate(confidence=np.nan))
    ),
    "unobserved": Case(Reason.UNOBSERVED_AXIS, next_frame(estimate(observed=(False, True, True)))),
    "outside": Case(Reason.OUTSIDE_WINDOW, next_frame(estimate(x=0.6))),
    "stale": Case(Reason.STALE_FRAME, after(lambda gate: gate.arm(), frame_at(-51, 150))),
    "silent": Case(Reason.TRACKER_SILENT, lambda gate: gate.tick(ms(200.1))),
    "gap": Case(Reason.FRAME_GAP, frame_at(200, 200.1)),
    "backwards": Case(Reason.TIME_BACKWARDS, frame_at(-1, 60)),
    "future": Case(Reason.TIME_BACKWARDS, frame_at(66, 60)),
    "wrong-frame": Case(Reason.WRONG_FRAME | Reason.CONFIGURATION_CHANGED, next_frame(frame_id="patient")),
    "no-frame": Case(Reason.WRONG_FRAME | Reason.CONFIGURATION_CHANGED, next_frame(frame_id="")),
    "other-frame": Case(
        Reason.CONFIGURATION_CHANGED, after(couch_says(FRAME_MS), next_frame(frame_id="table_top"))
    ),
    "other-model": Case(Reason.CONFIGURATION_CHANGED, next_set(model="another")),
    "marked-anew": Case(Reason.CONFIGURATION_CHANGED, next_set(marking=2)),
    "tracker-restarted": Case(Reason.TRACKER_RESTARTED, next_set(session=5)),
    "two-trackers": Case(
        Reason.TRACKER_RESTARTED | Reason.SECOND_PUBLISHER, after(next_set(session=5), next_set(session=0))
    ),
    "frozen": Case(Reason.FROZEN_IMAGE, next_set(faults=Reason.FROZEN_IMAGE)),
    "black": Case(Reason.BLACK_IMAGE, next_set(faults=Reason.BLACK_IMAGE)),
    "saturated": Case(Reason.SATURATED_IMAGE, next_set(faults=Reason.SATURATED_IMAGE)),
    "outside-image": Case(Reason.OUTSIDE_IMAGE, next_set(faults=Reason.OUTSIDE_IMAGE)),
    "no-geometry": Case(Reason.GEOMETRY_MISSING, next_set(faults=Reason.GEOMETRY_MISSING)),
    "other-geometry": Case(Reason.GEOMETRY_CHANGED, next_set(faults=Reason.GEOMETRY_CHANGED)),
    "couch-silent": Case(
        Reason.COUCH_SILENT,
        next_frame(frame_id="table_top"),
        lambda: opened(SLOW_COUCH, frame_id="table_top"),
    ),
    "couch-silent-while-it-follows": Case(
        Reason.COUCH_SILENT, after(lambda gate: setattr(gate, "needs_couch", True), next_frame())
    ),
    "latency": Case(
        Reason.LATENCY_OVER_BUDGET,
        frame_at(FRAME_MS, 100),
        lambda: opened(replace(PARAMETERS, beam_latency_ms=450.0)),
    ),
    "second-opinion": Case(
        Reason.SECOND_OPINION,
        next_frame(estimate(second_opinion_mm=np.array([0.0, 0.0, 1.1]))),
        lambda: opened(ASKED, AGREED),
    ),
    "no-second-opinion": Case(Reason.LANDMARK_UNCERTAIN, next_frame(), lambda: opened(ASKED, AGREED)),
    "clock-jump": Case(
        Reason.CLOCK_JUMP | Reason.NOT_ARMED,
        after(lambda gate: gate.latch(Reason.CLOCK_JUMP), lambda gate: gate.tick(ms(60))),
    ),
    "predictor-diverged": Case(Reason.PREDICTOR_DIVERGED, restless, lambda: opened(PREDICTED)),
    "couch-timeout": Case(Reason.COUCH_TIMEOUT, latched(Reason.COUCH_TIMEOUT)),
    "couch-off-path": Case(Reason.COUCH_OFF_PATH, latched(Reason.COUCH_OFF_PATH)),
    "couch-moving": Case(Reason.COUCH_MOVING, latched(Reason.COUCH_MOVING)),
    "setting-up": Case(
        Reason.SETUP, after(lambda gate: setattr(gate, "setting_up", True), lambda gate: gate.tick(ms(60)))
    ),
    "couch-fault": Case(Reason.COUCH_FAULT, after(couch_says(55, fault="motor"), next_frame())),
    "couch-fault-noticed-by-a-tick": Case(
        Reason.COUCH_FAULT, after(couch_says(55, fault="motor"), lambda gate: gate.tick(ms(60)))
    ),
    "resuming": Case(Reason.DWELL, after(next_frame(estimate(x=0.6)), frame_at(80, 130))),
    "shutdown": Case(Reason.SHUTDOWN | Reason.NOT_ARMED, lambda gate: gate.shut_down(ms(60))),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_reason_alone_holds(case: Case) -> None:
    gate = case.gate()
    decision = case.act(gate)
    assert decision is not None
    assert decision.state is GateState.HOLD
    assert decision.reasons == case.reason
    assert decision.valid_until_ns == decision.stamp_ns
    assert decision.session == SESSION


def test_every_reason_has_a_case() -> None:
    covered = Reason(0)
    for case in CASES.values():
        covered |= case.reason
    assert [r.name for r in Reason if r not in covered] == []


def test_reasons_add_up() -> None:
    decision = next_frame(estimate(status=Status.LOST, confidence=0.1, radius_mm=np.nan))(opened())
    assert decision.reasons == Reason.LANDMARK_LOST | Reason.LOW_CONFIDENCE | Reason.NOT_FINITE


def test_nothing_known_at_all() -> None:
    """A default-constructed estimate holds for all that it does not know."""
    decision = next_frame(Estimate("a"))(opened())
    assert decision.reasons == (
        Reason.LANDMARK_LOST | Reason.LOW_CONFIDENCE | Reason.NOT_FINITE | Reason.UNOBSERVED_AXIS
    )


@pytest.mark.parametrize(
    "hold",
    [
        pytest.param(lambda gate: gate.set_operator_hold(ms(60)), id="operator"),
        pytest.param(lambda gate: gate.disarm(ms(60)), id="disarm"),
        pytest.param(lambda gate: gate.shut_down(ms(60)), id="shut-down"),
    ],
)
def test_hold_by_the_operator_names_every_standing_reason(hold: Callable[[Gate], GateDecision]) -> None:
    gate = opened()
    gate.set_operator_hold(ms(55))
    couch_says(56, fault="motor")(gate)
    assert Reason.OPERATOR_HOLD | Reason.COUCH_FAULT in hold(gate).reasons


# the window --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "y", "z", "is_on"),
    [
        # bounds are ±1, -2 to 4 and ±3 mm; the radius of 0.5 mm is taken off on every side
        pytest.param(0.499, 0, 0, True, id="inside-upper-x"),
        pytest.param(0.5, 0, 0, False, id="on-upper-x"),
        pytest.param(-0.499, 0, 0, True, id="inside-lower-x"),
        pytest.param(-0.501, 0, 0, False, id="outside-lower-x"),
        pytest.param(0, 3.499, 0, True, id="inside-upper-y"),
        pytest.param(0, 3.501, 0, False, id="outside-upper-y"),
        pytest.param(0, -1.499, 0, True, id="inside-lower-y"),
        pytest.param(0, -1.501, 0, False, id="outside-lower-y"),
        pytest.param(0, 0, 2.501, False, id="outside-upper-z"),
        pytest.param(0, 0, -2.501, False, id="outside-lower-z"),
    ],
)
def test_window_edges(x: float, y: float, z: float, is_on: bool) -> None:
    decision = next_frame(estimate(x, y, z))(opened())
    assert (decision.state is GateState.BEAM_ON) is is_on
    assert decision.reasons == (NOTHING if is_on else Reason.OUTSIDE_WINDOW)


@pytest.mark.parametrize(
    ("position", "radius_mm", "margin_mm"),
    [
        pytest.param((0, 0, 0), 0.5, 0.5, id="centre-to-x"),
        pytest.param((0, -1.8, 0), 0.1, 0.1, id="asymmetric-lower-y"),
        pytest.param((0, 3.8, 0), 0.1, 0.1, id="asymmetric-upper-y"),
        pytest.param((3, 0, 0), 0.5, -2.5, id="outside"),
        pytest.param((0, 0, 0), 5.0, -4.0, id="radius-larger-than-the-window"),
    ],
)
def test_margin(position: tuple[float, float, float], radius_mm: float, margin_mm: float) -> None:
    decision = next_frame(estimate(*position, radius_mm=radius_mm))(opened())
    assert decision.margin_mm == pytest.approx(margin_mm)


def test_reference_moves_the_window() -> None:
    moved = replace(PARAMETERS, references_mm=(10.0, 20.0, 30.0))
    gate = opened(moved, estimate(10, 20, 30))
    assert feed(gate, FRAME_MS, estimate(10, 24, 30)).reasons == Reason.OUTSIDE_WINDOW
    assert feed(gate, 2 * FRAME_MS, estimate(0, 0, 0)).reasons == Reason.OUTSIDE_WINDOW


def test_unconstrained_axis_may_be_anywhere_and_unobserved() -> None:
    free = replace(PARAMETERS, window_axes=(False, True, True))
    gate = opened(free)
    far = estimate(x=500.0)
    unseen = estimate(x=np.nan, observed=(False, True, True))
    assert feed(gate, FRAME_MS, far).state is GateState.BEAM_ON
    assert feed(gate, 2 * FRAME_MS, unseen).state is GateState.BEAM_ON


def test_target_is_unknown_where_it_is_not_observed() -> None:
    free = replace(PARAMETERS, window_axes=(False, True, True))
    decision = feed(opened(free), FRAME_MS, estimate(7, 1, 2, observed=(False, True, True)))
    assert np.isnan(decision.target_mm[0])
    assert decision.target_mm[1:].tolist() == [1, 2]


TWO = replace(PARAMETERS, landmarks=("a", "b"), references_mm=(0.0, 0.0, 0.0, 0.0, 50.0, 0.0))


def test_several_landmarks_must_all_be_well() -> None:
    gate = opened(TWO, estimate(), estimate(y=50, name="b"))
    good, away = estimate(y=50, name="b"), estimate(y=56, name="b")
    assert feed(gate, FRAME_MS, estimate(), good).state is GateState.BEAM_ON
    assert feed(gate, 2 * FRAME_MS, estimate(), away).reasons == Reason.OUTSIDE_WINDOW
    assert feed(gate, 3 * FRAME_MS, estimate()).reasons == Reason.LANDMARK_MISSING
    lost = replace(good, status=Status.LOST)
    assert feed(gate, 4 * FRAME_MS, estimate(), lost).reasons == Reason.LANDMARK_LOST


def test_landmarks_that_move_apart_are_not_averaged() -> None:
    """Two errors that cancel in the mean do not open the beam."""
    gate = opened(TWO, estimate(), estimate(y=50, name="b"))
    decision = feed(gate, FRAME_MS, estimate(x=-3), estimate(x=3, y=50, name="b"))
    assert decision.reasons == Reason.OUTSIDE_WINDOW
    assert decision.margin_mm == pytest.approx(-2.5)


def test_target_is_the_centroid() -> None:
    gate = opened(TWO, estimate(), estimate(y=50, name="b"))
    decision = feed(gate, FRAME_MS, estimate(y=1), estimate(y=52, name="b"))
    np.testing.assert_allclose(decision.target_mm, (0, 26.5, 0))


def test_landmark_that_is_not_needed_is_ignored() -> None:
    decision = next_frame(estimate(), Estimate("other"))(opened())
    assert decision.state is GateState.BEAM_ON


@pytest.mark.parametrize("order", [1, -1], ids=["good-last", "good-first"])
def test_landmark_that_is_named_twice_is_not_known(order: int) -> None:
    """Of two estimates of one landmark nobody knows which is right."""
    both = (estimate(status=Status.LOST), estimate())[::order]
    assert next_frame(*both)(opened()).state is GateState.HOLD


GROUP = replace(TWO, window_lower_mm=(-1.0, -2.0, -3.0), group="centroid")


def test_centroid_must_be_inside() -> None:
    """Of a group only the centroid counts, with the mean of the radii."""
    gate = opened(GROUP, estimate(), estimate(y=50, name="b"))
    decision = feed(gate, FRAME_MS, estimate(x=-3, radius_mm=0.2), estimate(x=3, y=50, name="b"))
    assert decision.state is GateState.BEAM_ON
    assert decision.margin_mm == pytest.approx(1 - 0.35)
    moved = estimate(x=2), estimate(x=2, y=50, name="b")
    assert feed(gate, 2 * FRAME_MS, *moved).reasons == Reason.OUTSIDE_WINDOW


BODY = replace(
    PARAMETERS,
    landmarks=("a", "b", "c"),
    references_mm=(10.0, 0.0, 0.0, -10.0, 0.0, 0.0, 0.0, 10.0, 0.0),
    group="rigid",
    target_mm=(0.0, 0.0, 0.0),
)


def test_target_of_a_rigid_group_turns_with_it() -> None:
    """Turned by 90 degrees, the landmarks leave their windows and the target does not move."""
    names = ("a", "b", "c")
    planned = np.array(BODY.references_mm).reshape(3, 3)
    gate = opened(BODY, *(estimate(*p, name=n) for n, p in zip(names, planned, strict=True)))
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    turned = planned @ turn.T
    decision = feed(gate, FRAME_MS, *(estimate(*p, name=n) for n, p in zip(names, turned, strict=True)))
    assert decision.state is GateState.BEAM_ON
    np.testing.assert_allclose(decision.target_mm, 0.0, atol=1e-9)


def test_rigid_group_in_a_line_is_not_known() -> None:
    line = replace(BODY, landmarks=("a", "b"), references_mm=BODY.references_mm[:6])
    gate = armed(line)
    decision = feed(gate, 0, estimate(10), estimate(-10, name="b"))
    assert decision.reasons == Reason.LANDMARK_UNCERTAIN


SQUARE_MM = np.array([[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]])
PERCENT = replace(
    PARAMETERS,
    rule="percent_outside",
    max_percent_outside=10.0,
    window_lower_mm=(-1.5, -1.5, 0.0),
    window_upper_mm=(1.5, 1.5, 0.0),
    window_axes=(True, True, False),
)


@pytest.mark.parametrize(
    ("x_mm", "is_on"),
    # a square of 2 mm reaches out of a window of ±1.5 mm by x - 0.5 mm, of its 2 mm
    [(0.0, True), (0.49, True), (0.65, True), (0.76, False), (-0.65, True), (-0.76, False), (3.0, False)],
)
def test_percent_outside(x_mm: float, is_on: bool) -> None:
    def target(x: float) -> Estimate:
        return estimate(x, radius_mm=0.0, contour_mm=SQUARE_MM + np.array([x, 0, 0]))

    decision = feed(opened(PERCENT, target(0.0)), FRAME_MS, target(x_mm))
    assert (decision.state is GateState.BEAM_ON) is is_on
    if x_mm:  # at the centre, the window shrinks past all four sides at once
        assert decision.margin_mm == pytest.approx(0.7 - abs(x_mm), abs=0.06)


def test_percent_outside_needs_a_contour() -> None:
    target = estimate(radius_mm=0.1, contour_mm=SQUARE_MM)
    gate = opened(PERCENT, target)
    assert feed(gate, FRAME_MS, estimate()).reasons == Reason.LANDMARK_UNCERTAIN
    broken = replace(target, contour_mm=SQUARE_MM * np.nan)
    assert feed(gate, 2 * FRAME_MS, broken).reasons == Reason.NOT_FINITE


def test_window_of_its_own_for_each_landmark() -> None:
    own = replace(
        TWO,
        window_lower_mm=(-1.0, -1.0, -1.0, -9.0, -9.0, -9.0),
        window_upper_mm=(1.0, 1.0, 1.0, 9.0, 9.0, 9.0),
    )
    gate = opened(own, estimate(), estimate(y=50, name="b"))
    assert feed(gate, 40, estimate(), estimate(y=58, name="b")).state is GateState.BEAM_ON
    assert feed(gate, 80, estimate(y=2), estimate(y=50, name="b")).reasons == Reason.OUTSIDE_WINDOW


# resuming ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("needed", [1, 2, 3, 7])
def test_opens_after_the_good_frames_in_a_row(needed: int) -> None:
    gate = armed(replace(PARAMETERS, resume_frames=needed))
    reasons = [feed(gate, i * FRAME_MS).reasons for i in range(needed + 1)]
    assert reasons == [Reason.DWELL] * (needed - 1) + [NOTHING] * 2


@pytest.mark.parametrize("dwell_ms", [80.0, 81.0, 120.0, 500.0])
def test_opens_after_the_dwell(dwell_ms: float) -> None:
    """The good frames span the dwell: 40 ms apart, three do so for 80 ms."""
    gate = armed(replace(PARAMETERS, dwell_ms=dwell_ms))
    opens = next(t for t in range(0, 2000, FRAME_MS) if feed(gate, t).state is GateState.BEAM_ON)
    assert opens - FRAME_MS < dwell_ms <= opens


def test_bad_frame_starts_the_count_again() -> None:
    gate = opened()
    bad = estimate(status=Status.UNCERTAIN)
    shown = [bad, estimate(), estimate(), bad, estimate(), estimate(), estimate()]
    states = [feed(gate, (i + 1) * FRAME_MS, one).state for i, one in enumerate(shown)]
    assert states == [GateState.HOLD] * 6 + [GateState.BEAM_ON]


def test_gap_starts_the_count_again_even_without_a_tick() -> None:
    gate = opened()
    decisions = [gate.update(frame(t), ms(t + 10)) for t in (300, 340, 380, 420)]
    assert [d.reasons for d in decisions] == [Reason.FRAME_GAP, Reason.DWELL, Reason.DWELL, NOTHING]


def test_repeated_frame_does_not_count_as_good() -> None:
    gate = armed()
    decisions = [gate.update(frame(0), ms(50)) for _ in range(10)]
    assert {d.reasons for d in decisions} == {Reason.DWELL}


def test_repeated_frame_that_is_bad_counts_as_bad() -> None:
    gate = opened()
    assert gate.update(frame(0, estimate(x=3)), ms(60)).reasons == Reason.OUTSIDE_WINDOW
    assert feed(gate, FRAME_MS).reasons == Reason.DWELL


def test_beam_on_is_valid_as_long_as_its_frame_is_young() -> None:
    decision = next_frame()(opened())
    assert decision.stamp_ns == ms(FRAME_MS)
    assert decision.valid_until_ns == ms(FRAME_MS + 200)


def test_stamps_are_carried_on() -> None:
    shown = replace(frame(FRAME_MS), stamps=LatencyStamps(1, 2, 3, 0))
    decision = opened().update(shown, ms(90))
    assert decision.stamps == LatencyStamps(ms(FRAME_MS), 2, 3, ms(90))


# time --------------------------------------------------------------------------------------------


def test_ticks_hold_on_silence_again_and_again() -> None:
    gate = opened()
    assert gate.tick(ms(199)) is None
    assert gate.tick(ms(200)) is None
    decisions = [gate.tick(ms(200.001 + 10 * i)) for i in range(45)]
    assert [i for i, d in enumerate(decisions) if d] == [0, 10, 20, 30, 40]
    assert all(d.reasons == Reason.TRACKER_SILENT for d in decisions if d)
    assert [d.sequence for d in decisions if d] == [4, 5, 6, 7, 8]


def test_tick_says_a_new_reason_at_once() -> None:
    gate = opened()
    assert gate.tick(ms(201)) is not None
    assert gate.tick(ms(211)) is None
    gate.latch(Reason.COUCH_TIMEOUT)
    decision = gate.tick(ms(221))
    assert decision is not None
    assert decision.reasons == Reason.TRACKER_SILENT | Reason.COUCH_TIMEOUT


def test_tick_holds_before_any_frame() -> None:
    decision = armed().tick(ms(0))
    assert decision is not None
    assert decision.reasons == Reason.TRACKER_SILENT


def test_tick_names_the_standing_reasons() -> None:
    decision = Gate(PARAMETERS, SESSION).tick(ms(0))
    assert decision is not None
    assert decision.reasons == Reason.TRACKER_SILENT | Reason.NOT_ARMED


@pytest.mark.parametrize(
    ("stamp_ms", "now_ms"),
    [
        pytest.param(-1, 60, id="older"),
        pytest.param(66, 60, id="future"),
        pytest.param(-T0 / 1e6, 60, id="0"),
    ],
)
def test_time_backwards_latches_until_acknowledged(stamp_ms: float, now_ms: float) -> None:
    gate = opened()
    frame_at(stamp_ms, now_ms)(gate)
    held = [feed(gate, t) for t in range(100, 500, FRAME_MS)]
    assert all(Reason.TIME_BACKWARDS in d.reasons for d in held)
    assert gate.acknowledge() == Reason.TIME_BACKWARDS
    assert [feed(gate, t).reasons for t in (500, 540, 580)] == [Reason.DWELL, Reason.DWELL, NOTHING]


def test_time_may_start_anew_when_armed_again() -> None:
    """A bag played a second time is decided on once the operator arms again."""
    gate = opened()
    gate.arm()
    assert [feed(gate, t).reasons for t in (-9000, -8960, -8920)][-1] == NOTHING


def test_clocks_may_differ_by_a_little() -> None:
    assert opened().update(frame(60), ms(56)).state is GateState.BEAM_ON


# the operator ------------------------------------------------------------------------------------


def test_starts_disarmed() -> None:
    gate = Gate(PARAMETERS, SESSION)
    assert [feed(gate, i * FRAME_MS).reasons for i in range(5)] == [Reason.NOT_ARMED] * 5


@pytest.mark.parametrize(
    ("stop", "start"),
    [
        pytest.param(lambda g: g.disarm(ms(1)), lambda g: g.arm(), id="disarm-arm"),
        pytest.param(lambda g: g.set_operator_hold(ms(1)), lambda g: g.release_operator_hold(), id="hold"),
        pytest.param(lambda g: g.shut_down(ms(1)), lambda g: g.arm(), id="shut-down-arm"),
        pytest.param(lambda g: None, lambda g: g.arm(), id="arm-while-armed"),
    ],
)
def test_gate_opens_again_by_good_frames_only(
    stop: Callable[[Gate], object], start: Callable[[Gate], object]
) -> None:
    gate = opened()
    stop(gate)
    start(gate)
    reasons = [feed(gate, t).reasons for t in (40, 80, 120)]
    assert reasons == [Reason.DWELL, Reason.DWELL, NOTHING]


def test_couch_fault_latches_until_acknowledged() -> None:
    gate = opened()
    couch_says(10, fault="motor")(gate)
    couch_says(20)(gate)
    assert feed(gate, 40).reasons == Reason.COUCH_FAULT
    gate.acknowledge()
    assert [feed(gate, t).reasons for t in (80, 120, 160)][-1] == NOTHING


def test_acknowledging_does_not_clear_a_fault_that_the_couch_still_reports() -> None:
    gate = opened()
    couch_says(10, fault="motor")(gate)
    assert gate.acknowledge() == NOTHING
    couch_says(20)(gate)
    assert feed(gate, 40).reasons == Reason.COUCH_FAULT
    assert gate.acknowledge() == Reason.COUCH_FAULT


def test_gate_is_not_armed_while_the_couch_is_at_fault() -> None:
    gate = Gate(PARAMETERS, SESSION)
    couch_says(10, fault="motor")(gate)
    with pytest.raises(UserError, match="the couch is at fault"):
        gate.arm()
    couch_says(20)(gate)
    gate.arm()


@pytest.mark.parametrize("reason", list(LATCHING), ids=lambda reason: str(reason.name))
def test_latched_reason_holds_until_acknowledged_and_refuses_arming(reason: Reason) -> None:
    gate = opened()
    gate.latch(reason)
    assert all(reason in feed(gate, t).reasons for t in range(40, 1000, FRAME_MS))
    for _ in range(2):
        with pytest.raises(UserError, match=f"acknowledge first: {reason.name}"):
            gate.arm()
        gate.disarm(ms(1000))
    assert gate.acknowledge() == reason
    gate.arm()
    assert [feed(gate, t).reasons for t in (1040, 1080, 1120)] == [Reason.DWELL, Reason.DWELL, NOTHING]


@pytest.mark.parametrize("reason", [r for r in Reason if r not in LATCHING], ids=lambda r: str(r.name))
def test_other_reasons_do_not_latch(reason: Reason) -> None:
    gate = opened()
    gate.latch(reason)
    assert feed(gate, FRAME_MS).state is GateState.BEAM_ON


def test_nothing_latches_while_disarmed_but_a_clock_jump() -> None:
    """Cables are plugged and nodes restarted before a treatment; a jump means that ages cannot be told."""
    gate = Gate(PARAMETERS, SESSION)
    gate.latch(LATCHING & ~Reason.CLOCK_JUMP)
    gate.arm()
    gate.disarm(ms(0))
    gate.latch(Reason.CLOCK_JUMP)
    with pytest.raises(UserError, match="CLOCK_JUMP"):
        gate.arm()


def test_reason_from_a_newer_tracker_holds() -> None:
    assert next_set(faults=Reason(1 << 60))(opened()).state is GateState.HOLD


# references that are captured --------------------------------------------------------------------

CAPTURED = replace(PARAMETERS, references_mm=())


def test_references_are_captured_at_the_first_good_frame_after_arming() -> None:
    gate = Gate(CAPTURED, SESSION)
    feed(gate, 0, estimate(y=99))
    assert gate.references_mm == {}
    gate.arm()
    feed(gate, 40, estimate(y=5, status=Status.LOST))
    feed(gate, 80, estimate(y=6, confidence=0.1))
    assert gate.references_mm == {}
    feed(gate, 120, estimate(y=7))
    feed(gate, 160, estimate(y=8))
    assert gate.references_mm["a"].tolist() == [0, 7, 0]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(lambda gate: gate.update(frame(-300, estimate(y=5)), ms(0)), id="stale"),
        pytest.param(lambda gate: gate.update(frame(20, estimate(y=5)), ms(0)), id="future"),
    ],
)
def test_references_are_not_captured_from_a_frame_of_another_time(
    bad: Callable[[Gate], GateDecision],
) -> None:
    gate = armed(CAPTURED)
    assert bad(gate).state is GateState.HOLD
    assert gate.references_mm == {}


def test_references_are_captured_anew_when_armed_again() -> None:
    gate = opened(CAPTURED)
    gate.disarm(ms(1))
    gate.arm()
    assert gate.references_mm == {}
    feed(gate, 40, estimate(y=7))
    assert gate.references_mm["a"].tolist() == [0, 7, 0]


def test_planned_references_are_kept_when_disarmed() -> None:
    gate = opened()
    gate.disarm(ms(1))
    assert gate.references_mm["a"].tolist() == [0, 0, 0]


def test_without_names_every_landmark_is_needed() -> None:
    gate = opened(replace(CAPTURED, landmarks=()), estimate(), estimate(name="b"))
    assert set(gate.references_mm) == {"a", "b"}
    lost = estimate(name="b", status=Status.LOST)
    assert feed(gate, FRAME_MS, estimate(), lost).reasons == Reason.LANDMARK_LOST


def test_without_names_a_landmark_that_is_left_out_is_missing() -> None:
    """A tracker that drops a landmark from its answer must not open the beam by that."""
    gate = opened(replace(CAPTURED, landmarks=()), estimate(), estimate(name="b"))
    assert feed(gate, FRAME_MS, estimate()).reasons == Reason.LANDMARK_MISSING


# the couch ---------------------------------------------------------------------------------------


def couch_at(at_ms: float, y_mm: float) -> Callable[[Gate], None]:
    return couch_says(at_ms, position_mm=np.array([0.0, y_mm, 0.0]))


def test_positions_on_the_table_top_are_carried_to_isocenter() -> None:
    """The couch position at mid-exposure counts, between two statuses."""
    gate = opened(frame_id="table_top")
    couch_at(20, 0.0)(gate)
    couch_at(60, 2.0)(gate)
    decision = next_frame(estimate(y=2.0), frame_id="table_top")(gate)
    assert decision.state is GateState.BEAM_ON
    assert decision.target_mm.tolist() == [0, 3, 0]
    assert decision.margin_mm == pytest.approx(0.5)


def test_couch_can_carry_a_target_out_of_the_window() -> None:
    gate = opened(frame_id="table_top")
    couch_at(40, 4.0)(gate)
    assert next_frame(frame_id="table_top")(gate).reasons == Reason.OUTSIDE_WINDOW


def test_positions_in_isocenter_need_no_couch() -> None:
    gate = opened()
    couch_at(40, 4.0)(gate)
    assert next_frame()(gate).target_mm.tolist() == [0, 0, 0]


def test_target_for_the_couch_controller() -> None:
    """Being outside the window is no reason not to bring the target back; being uncertain is."""
    gate = opened()
    couch_at(40, 1.5)(gate)
    next_frame(estimate(y=9.0))(gate)
    assert gate.target is not None
    assert gate.target.displacement_mm.tolist() == [0, 9, 0]
    assert gate.target.reasons == NOTHING
    assert gate.target.couch_mm is not None
    assert gate.target.couch_mm.tolist() == [0, 1.5, 0]
    feed(gate, 2 * FRAME_MS, estimate(status=Status.UNCERTAIN))
    assert gate.target.reasons == Reason.LANDMARK_UNCERTAIN


def test_arming_does_not_release_an_operators_hold() -> None:
    gate = opened()
    gate.set_operator_hold(ms(1))
    gate.arm()
    assert feed(gate, 40).reasons == Reason.OPERATOR_HOLD


def test_couch_waits_for_good_frames_as_the_beam_does() -> None:
    """The first certain frame after an uncertain one does not move the couch yet."""
    gate = opened()
    feed(gate, 2 * FRAME_MS, estimate(status=Status.UNCERTAIN))
    waits = []
    for i in (3, 4, 5):
        feed(gate, i * FRAME_MS)
        assert gate.target is not None
        waits.append(gate.target.reasons)
    assert waits == [Reason.DWELL, Reason.DWELL, NOTHING]


def test_couch_that_follows_must_say_where_it_is() -> None:
    gate = opened()
    gate.needs_couch = True
    assert feed(gate, 40).reasons == Reason.COUCH_SILENT


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(CouchStatus(ms(40), np.array([0.0, np.nan, 0.0])), id="not-finite"),
        pytest.param(CouchStatus(ms(10**6)), id="from-the-future"),
    ],
)
def test_impossible_couch_is_a_fault(status: CouchStatus) -> None:
    """It latches, and does not hide what the couch says afterwards."""
    gate = opened()
    gate.update_couch(status, ms(40))
    assert Reason.COUCH_FAULT in feed(gate, 80).reasons
    gate.update_couch(CouchStatus(ms(90)), ms(90))
    gate.acknowledge()
    feed(gate, 100)
    assert gate.target is not None
    assert gate.target.couch_mm is not None


def test_clock_set_back_is_noticed_between_frames() -> None:
    gate = opened()
    decision = gate.tick(ms(-2000))
    assert decision is not None
    assert decision.reasons == Reason.TIME_BACKWARDS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window_lower_mm": (0.0, 0.0)}, "window_lower_mm"),
        ({"window_upper_mm": ()}, "window_upper_mm"),
        ({"window_axes": (True,)}, "window_axes"),
        ({"references_mm": (1.0, 2.0)}, "references_mm"),
        ({"landmarks": ()}, "references_mm"),
        ({"window_axes": (False, False, False)}, "at least one axis"),
        ({"landmarks": ("a", "a"), "references_mm": ()}, "twice"),
        ({"window_lower_mm": (0.0, 9.0, 0.0)}, "no lower one above"),
        ({"window_upper_mm": (np.inf, 1.0, 1.0)}, "finite"),
        ({"references_mm": (np.nan, 1.0, 1.0)}, "finite"),
        ({"window_lower_mm": (-1.0,) * 6, "window_upper_mm": (1.0,) * 6}, "three for each name"),
        ({"target_mm": (0.0, 0.0, 0.0)}, "rigid group"),
        ({"rule": "percent_outside", "group": "centroid"}, "group 'each'"),
    ],
    ids=[
        "lower",
        "upper",
        "axes",
        "references",
        "references-without-names",
        "no-axis",
        "named-twice",
        "upside-down",
        "endless",
        "no-reference",
        "windows-for-more",
        "target-of-no-group",
        "percent-of-a-group",
    ],
)
def test_parameters_that_cannot_be(changes: dict[str, tuple[float, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PARAMETERS, **changes)  # type: ignore[arg-type]


# any sequence of events --------------------------------------------------------------------------

NUMBERS = st.sampled_from([0.0, 0.4, -1.4, 3.0, 50.0, 1e300, -1e300, np.nan, np.inf, -np.inf])
ODD_ESTIMATES = st.builds(
    lambda name, status, position, observed, confidence, radius_mm: Estimate(
        name, status, (np.nan, np.inf), np.array(position), np.eye(3), observed, confidence, radius_mm
    ),
    st.sampled_from(["a", "b", "", "unknown"]),
    st.sampled_from(Status),
    st.tuples(NUMBERS, NUMBERS, NUMBERS),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    NUMBERS,
    NUMBERS,
)
GOOD_SETS = st.sampled_from([(estimate(),), (estimate(0.1, 1.0, -1.0), estimate(name="b"))])
SETS = st.one_of(GOOD_SETS, GOOD_SETS, st.lists(ODD_ESTIMATES, max_size=3).map(tuple))
# how far time moves before the event; mostly a frame's worth, sometimes a gap or backwards
STEPS_MS = st.sampled_from([40, 40, 40, 40, 0, 10, 199, 200, 201, 5000])
FRAME_IDS = st.sampled_from(["isocenter", "isocenter", "isocenter", "table_top", "patient", ""])
FRAMES = st.tuples(st.just("frame"), SETS, st.sampled_from([50, 50, 50, 0, -4, -6, 201, 10**6]), FRAME_IDS)
COUCH = st.tuples(
    st.just("couch"), st.sampled_from(["", "", "", "motor"]), NUMBERS, st.sampled_from([0, 0, -50, 10**6])
)
OPERATOR = st.sampled_from(
    [("arm",), ("arm",), ("disarm",), ("hold",), ("release_operator_hold",), ("acknowledge",), ("shut_down",)]
)
EVENTS = st.one_of(FRAMES, FRAMES, FRAMES, COUCH, OPERATOR, st.just(("tick",)))
SEQUENCES = st.lists(st.tuples(STEPS_MS, EVENTS), max_size=30)
SETTINGS = st.sampled_from(
    [PARAMETERS, CAPTURED, replace(CAPTURED, landmarks=()), replace(TWO, window_axes=(False, True, False))]
)


def play(gate: Gate, event: tuple[object, ...], now_ns: int) -> GateDecision | None:
    kind, *details = event
    if kind == "frame":
        estimates, age_ms, frame_id = details
        stamp_ns = now_ns - age_ms * NS_PER_MS  # type: ignore[operator]
        return gate.update(LandmarkSet(stamp_ns, estimates, frame_id), now_ns)  # type: ignore[arg-type]
    if kind == "couch":
        fault, position_mm, age_ms = details
        stamp_ns = now_ns - age_ms * NS_PER_MS  # type: ignore[operator]
        gate.update_couch(CouchStatus(stamp_ns, np.full(3, position_mm), fault=str(fault)), now_ns)
        return None
    if kind in ("arm", "acknowledge", "release_operator_hold"):
        with suppress(UserError):
            getattr(gate, str(kind))()
        return None
    if kind == "hold":
        return gate.set_operator_hold(now_ns)
    return {"tick": gate.tick, "disarm": gate.disarm, "shut_down": gate.shut_down}[str(kind)](now_ns)


def bits(decision: GateDecision) -> tuple[object, ...]:
    """Return what a decision says, apart from its sequence number, so that equal is equal to the bit."""
    target = decision.target_mm.tobytes()
    return (
        decision.state,
        decision.reasons,
        decision.valid_until_ns,
        np.float64(decision.margin_mm).tobytes(),
        target,
    )


def check_sequence(parameters: GateParameters, events: list[tuple[int, tuple[object, ...]]]) -> None:
    """Play events with no tick between them, and again with ticks, and check what must always hold."""
    plain, ticked = Gate(parameters, SESSION), Gate(parameters, SESSION)
    now_ns = T0
    sequences: list[int] = []
    said: list[int] = []
    armed_now = held_now = False
    for step_ms, event in events:
        for at_ms in range(0, step_ms, max(10, step_ms // 7)):
            if tick := ticked.tick(now_ns + at_ms * NS_PER_MS):
                assert tick.state is GateState.HOLD
                said.append(tick.sequence)
        now_ns += step_ms * NS_PER_MS
        decision, other = play(plain, event, now_ns), play(ticked, event, now_ns)
        armed_now = (armed_now or event[0] == "arm") and event[0] not in ("disarm", "shut_down")
        held_now = (held_now or event[0] == "hold") and event[0] != "release_operator_hold"
        assert (decision is None) == (other is None) or event[0] == "tick"
        if other is not None:
            said.append(other.sequence)
        if decision is None:
            continue
        sequences.append(decision.sequence)
        assert (decision.state is GateState.BEAM_ON) == (decision.reasons == NOTHING)
        if decision.state is GateState.BEAM_ON:
            assert event[0] == "frame"
            assert armed_now
            assert not held_now
            assert decision.margin_mm > 0
            assert now_ns <= decision.valid_until_ns
        else:
            assert decision.valid_until_ns == decision.stamp_ns
        if other is not None and event[0] == "frame":
            assert bits(decision) == bits(other)
    assert sequences == list(range(1, len(sequences) + 1))
    assert said == list(range(1, len(said) + 1))


# positions of 1e300 mm overflow on purpose
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@given(SETTINGS, SEQUENCES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_sequence_opens_the_beam_against_a_reason(
    parameters: GateParameters, events: list[tuple[int, tuple[object, ...]]]
) -> None:
    check_sequence(parameters, events)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@given(SETTINGS, st.lists(st.tuples(STEPS_MS, EVENTS), max_size=100))
@settings(max_examples=5000, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_long_sequence_opens_the_beam_against_a_reason(
    parameters: GateParameters, events: list[tuple[int, tuple[object, ...]]]
) -> None:
    check_sequence(parameters, events)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@given(SEQUENCES)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_gate_opens_again_after_anything(events: list[tuple[int, tuple[object, ...]]]) -> None:
    """After whatever came, a healthy couch, arming and enough clean frames open it, no sooner or later."""
    gate = Gate(PARAMETERS, SESSION)
    now_ns = T0
    for step_ms, event in events:
        now_ns += step_ms * NS_PER_MS
        play(gate, event, now_ns)
    gate.update_couch(CouchStatus(now_ns), now_ns)
    gate.release_operator_hold()
    gate.acknowledge()
    gate.arm()
    now_ns += 11 * NS_PER_S
    decisions = [
        gate.update(
            LandmarkSet(now_ns + i * FRAME_MS * NS_PER_MS, (estimate(),)),
            now_ns + (50 + i * FRAME_MS) * NS_PER_MS,
        )
        for i in range(5)
    ]
    assert [d.reasons for d in decisions] == [Reason.DWELL, Reason.DWELL, NOTHING, NOTHING, NOTHING]

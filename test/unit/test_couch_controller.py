"""The couch controller: where it sends the couch, when it does not, and the loop it closes."""

from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S, CouchMode, CouchShift, Reason
from lmtrack_ros.gating.couch_controller import CouchController, CouchParameters
from lmtrack_ros.gating.couch_history import CouchHistory
from lmtrack_ros.gating.target import Target
from lmtrack_ros.phantoms.couch import CouchSimulator, CouchSimulatorParameters

T0 = 10 * NS_PER_S
SESSION = 3
YZ = (False, True, True)
NOTHING = Reason(0)
FRAME_NS = 20 * NS_PER_MS


def controller(**changes: object) -> CouchController:
    values = {"tracking": True, "axes": YZ, "deadband_mm": 0.0, "low_pass_ms": 0.0, **changes}
    return CouchController(CouchParameters(**values), SESSION)  # type: ignore[arg-type]


def target(
    displacement_mm: tuple[float, float, float],
    couch_mm: tuple[float, float, float] | None = (0, 0, 0),
    *,
    observed: tuple[bool, bool, bool] = YZ,
    reasons: Reason = NOTHING,
    radius_mm: float = 0.5,
) -> Target:
    couch = None if couch_mm is None else np.array(couch_mm, dtype=float)
    return Target(np.array(displacement_mm, dtype=float), observed, reasons, couch, radius_mm)


def send(one: CouchController, seen: Target, start_ns: int = T0, *, seconds: float = 20.0) -> CouchShift:
    """Show the same target until what is sent has come to rest."""
    for k in range(int(seconds * 50)):
        shift = one.update(seen, start_ns + k * FRAME_NS)
    return shift


def asks_for_no_motion(shift: CouchShift) -> bool:
    return (
        shift.mode is CouchMode.NONE and not any(shift.axes) and not shift.target_mm.any()
        and not shift.delta_mm.any()
    )  # fmt: skip


def test_couch_moves_against_the_displacement() -> None:
    shift = send(controller(), target((0, 4, -2)))
    assert shift.mode is CouchMode.TRACKING
    np.testing.assert_allclose(shift.target_mm, [0, -4, 2])
    np.testing.assert_allclose(shift.delta_mm, [0, -4, 2])
    assert shift.axes == YZ
    assert shift.session == SESSION


def test_couch_position_at_acquisition_is_taken_out() -> None:
    """A couch that has carried the target half the way is sent to the same place."""
    shift = send(controller(), target((0, 2, 0), couch_mm=(0, -2, 0)))
    np.testing.assert_allclose(shift.target_mm, [0, -4, 0])
    np.testing.assert_allclose(shift.delta_mm, [0, -2, 0])


@pytest.mark.parametrize(
    "uncertain",
    [
        pytest.param(target((0, 4, 0), reasons=Reason.LANDMARK_UNCERTAIN), id="reason-to-hold"),
        pytest.param(target((0, 4, 0), couch_mm=None), id="couch-position-unknown"),
        pytest.param(target((0, 4, 0), observed=(True, False, False)), id="no-driven-axis-seen"),
        pytest.param(
            target((np.nan, np.nan, np.nan), observed=(False, False, False), reasons=Reason.LANDMARK_LOST),
            id="nothing-known",
        ),
    ],
)
def test_no_motion_when_uncertain(uncertain: Target) -> None:
    assert asks_for_no_motion(controller().update(uncertain, T0))


def test_no_motion_while_not_tracking() -> None:
    assert asks_for_no_motion(controller(tracking=False).update(target((0, 4, 0)), T0))


def test_standing_still_lasts_until_the_next_certain_frame() -> None:
    moving = controller()
    assert moving.update(target((0, 4, 0)), T0).mode is CouchMode.TRACKING
    assert asks_for_no_motion(moving.stand_still(T0 + 1))
    assert moving.update(target((0, 4, 0)), T0 + 2).mode is CouchMode.TRACKING


def test_large_radius_moves_nothing() -> None:
    limit = CouchParameters().max_radius_mm
    assert asks_for_no_motion(controller().update(target((0, 4, 0), radius_mm=limit + 0.1), T0))
    assert controller().update(target((0, 4, 0), radius_mm=limit), T0).mode is CouchMode.TRACKING


@pytest.mark.parametrize(
    ("axes", "observed", "expected"),
    [
        pytest.param((True, True, True), YZ, YZ, id="unobserved-x"),
        pytest.param((True, True, True), (True, True, False), (True, True, False), id="unobserved-z"),
        pytest.param((False, True, False), (True, True, True), (False, True, False), id="not-configured"),
    ],
)
def test_only_axes_that_may_move_and_are_seen(
    axes: tuple[bool, bool, bool], observed: tuple[bool, bool, bool], expected: tuple[bool, bool, bool]
) -> None:
    """On any other axis the target is where the couch is: the mask is not the only safeguard."""
    shift = send(controller(axes=axes), target((9, 9, 9), couch_mm=(1, 2, 3), observed=observed))
    assert shift.axes == expected
    still = ~np.array(expected)
    assert not shift.delta_mm[still].any()
    assert shift.target_mm[still].tolist() == np.array([1.0, 2.0, 3.0])[still].tolist()


@pytest.mark.parametrize("unknown_mm", [np.nan, np.inf, 1e9], ids=["nan", "infinite", "huge"])
def test_value_on_an_unobserved_axis_drives_nothing(unknown_mm: float) -> None:
    shift = send(controller(axes=(True, True, True)), target((unknown_mm, 4, 0)))
    np.testing.assert_allclose(shift.target_mm, [0, -4, 0])
    assert shift.axes == YZ


@pytest.mark.parametrize(("displacement_mm", "expected_mm"), [(100, -30), (-100, 30), (30, -30)])
def test_range_is_never_left(displacement_mm: float, expected_mm: float) -> None:
    shift = send(controller(range_mm=30.0), target((0, displacement_mm, 0)))
    assert shift.target_mm[1] == pytest.approx(expected_mm)


@pytest.mark.parametrize(
    ("step_mm", "expected_mm"),
    [pytest.param(0.29, -4.0, id="within"), pytest.param(0.31, -4.31, id="beyond")],
)
def test_deadband(step_mm: float, expected_mm: float) -> None:
    still = controller(deadband_mm=0.3)
    send(still, target((0, 4.0, 0)))
    shift = send(still, target((0, 4.0 + step_mm, 0)), T0 + 20 * NS_PER_S)
    assert shift.target_mm[1] == pytest.approx(expected_mm)


def test_deadband_does_not_let_the_target_creep() -> None:
    """Many small steps add up: the last target sent is what counts, not the last one seen."""
    still = controller(deadband_mm=0.3)
    sent = [
        send(still, target((0, 0.11 * i, 0)), T0 + i * NS_PER_S, seconds=1.0).target_mm[1] for i in range(8)
    ]
    assert sent == pytest.approx([0, 0, 0, -0.33, -0.33, -0.33, -0.66, -0.66])


def test_deadband_ends_with_the_tracking() -> None:
    """After an uncertain frame the newest target is sent however near it is."""
    still = controller(deadband_mm=0.3)
    send(still, target((0, 4.0, 0)))
    still.update(target((0, 4.0, 0), reasons=Reason.LANDMARK_LOST), T0 + 20 * NS_PER_S)
    again = send(still, target((0, 0.1, 0), couch_mm=(0, -4, 0)), T0 + 21 * NS_PER_S)
    assert again.target_mm[1] == pytest.approx(-4.1)


def test_sequence_grows_by_one_whatever_is_sent() -> None:
    one = controller()
    shifts = [
        one.update(target((0, 4, 0)), T0),
        one.update(target((0, 4, 0), reasons=Reason.LANDMARK_LOST), T0),
        one.update(target((0, 4, 0)), T0),
        one.stand_still(T0),
    ]
    assert [s.sequence for s in shifts] == [1, 2, 3, 4]


def test_shift_carries_its_limits() -> None:
    shift = controller(speed_limit_mm_s=8.0, validity_ms=300.0).update(target((0, 4, 0)), T0)
    assert shift.speed_limit_mm_s == 8.0
    assert shift.stamp_ns == T0
    assert shift.valid_until_ns == T0 + 300 * NS_PER_MS


def test_parameters_need_three_axes() -> None:
    with pytest.raises(ValueError, match="axes"):
        CouchParameters(axes=(True, True))


# what it is sent to, from frame to frame ------------------------------------------------------


def test_first_frame_sends_the_couch_to_where_it_is() -> None:
    shift = controller().update(target((0, 4, 0), couch_mm=(0, 1, 0)), T0)
    assert shift.mode is CouchMode.TRACKING
    assert shift.target_mm.tolist() == [0, 1, 0]


@pytest.mark.parametrize("interval_ms", [16, 33, 100])
@pytest.mark.parametrize("limit_mm_s2", [20.0, 200.0])
def test_step_is_driven_like_a_couch_within_its_limits(interval_ms: int, limit_mm_s2: float) -> None:
    """It speeds up, runs at the speed limit, brakes and stops on the point, without running past it."""
    one = controller(speed_limit_mm_s=8.0, acceleration_limit_mm_s2=limit_mm_s2)
    frames = range(0, 5000, interval_ms)
    sent = np.array([one.update(target((0, -20, 0)), T0 + k * NS_PER_MS).target_mm[1] for k in frames])
    speeds = np.diff(sent) / (interval_ms / 1e3)
    assert speeds.max() == pytest.approx(8.0)
    assert np.abs(np.diff(speeds)).max() <= limit_mm_s2 * interval_ms / 1e3 + 1e-6
    assert speeds.min() > -1e-6
    assert sent.max() <= 20 + 1e-9
    assert sent[-1] == pytest.approx(20.0)


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.integers(1, 250),
            st.tuples(*[st.floats(-200, 200)] * 3),
            st.tuples(*[st.floats(-60, 60)] * 3),
            st.one_of(st.none(), st.tuples(*[st.floats(-200, 200)] * 3)),
            st.sampled_from([NOTHING] * 9 + [Reason.LANDMARK_LOST]),
        ),
        min_size=5,
        max_size=60,
    ),
    low_pass_ms=st.sampled_from([0.0, 100.0, 20_000.0]),
    deadband_mm=st.sampled_from([0.0, 0.5]),
    range_mm=st.sampled_from([0.0, 2.0, 30.0]),
    observed=st.sampled_from([(True, True, True), YZ, (True, False, True)]),
)
def test_limits_hold_whatever_is_seen(
    steps: list[Any], low_pass_ms: float, deadband_mm: float, range_mm: float, observed: Any
) -> None:
    limits = CouchParameters(
        tracking=True, axes=YZ, low_pass_ms=low_pass_ms, deadband_mm=deadband_mm, range_mm=range_mm
    )
    one = CouchController(limits, SESSION)
    now_ns, path = T0, []
    for wait_ms, displacement_mm, couch_mm, predicted_mm, reasons in steps:
        now_ns += wait_ms * NS_PER_MS
        seen = target(displacement_mm, couch_mm, observed=observed, reasons=reasons)
        shift = one.update(seen, now_ns, None if predicted_mm is None else np.array(predicted_mm))
        driven = np.array([False, observed[1], observed[2]])
        is_out = np.abs(np.array(couch_mm))[driven].max(initial=0.0) > range_mm + limits.off_path_mm
        if reasons or is_out:
            assert asks_for_no_motion(shift)
            path = []
            continue
        assert shift.mode is CouchMode.TRACKING
        assert shift.axes == (False, observed[1], observed[2])
        still = ~np.array(shift.axes)
        assert shift.target_mm[still].tolist() == np.array(couch_mm)[still].tolist()
        path.append((wait_ms / 1e3, shift.target_mm[~still]))
        assert np.abs(path[-1][1]).max() <= range_mm
        if len(path) > 1:
            speed = (path[-1][1] - path[-2][1]) / path[-1][0]
            before = (path[-2][1] - path[-3][1]) / path[-2][0] if len(path) > 2 else np.zeros(len(speed))
            assert np.linalg.norm(speed) <= limits.speed_limit_mm_s + 1e-6
            change = np.linalg.norm(speed - before)
            assert change <= limits.acceleration_limit_mm_s2 * path[-1][0] + 1e-6


def test_braking_before_the_end_of_the_range() -> None:
    """Sent there at full speed, it comes to rest on the end and is never beyond it."""
    one = controller(range_mm=5.0, speed_limit_mm_s=20.0, acceleration_limit_mm_s2=20.0)
    sent = [one.update(target((0, -0.4 * k, 0.3 * k)), T0 + k * FRAME_NS).target_mm[1] for k in range(200)]
    assert max(sent) <= 5.0
    assert sent[-1] == pytest.approx(5.0, abs=1e-3)
    assert np.abs(np.diff(sent, n=2)).max() <= 20.0 * 0.02**2 + 1e-9


def test_prediction_replaces_what_was_seen() -> None:
    """It is the target's own displacement: the couch position does not come into it."""
    seen = target((0, 2, 0), couch_mm=(0, -2, 0))
    one = controller()
    for k in range(200):
        shift = one.update(seen, T0 + k * FRAME_NS, np.array([np.nan, 7.0, -1.0]))
    np.testing.assert_allclose(shift.target_mm, [0, -7, 1])


def test_prediction_that_is_no_number_moves_nothing() -> None:
    assert asks_for_no_motion(controller().update(target((0, 2, 0)), T0, np.array([0, np.nan, 0])))


def test_low_pass_leaves_breathing_and_follows_drift() -> None:
    one = controller(low_pass_ms=20_000.0)
    times = np.arange(0, 120, 0.02)
    motion = 5 * np.sin(2 * np.pi * times / 4) + 4
    couch = 0.0
    sent = []
    for k, displacement_mm in enumerate(motion):
        couch = one.update(
            target((0, displacement_mm + couch, 0), (0, couch, 0)), T0 + k * FRAME_NS
        ).target_mm[1]
        sent.append(couch)
    last = np.array(sent[-1000:])
    assert np.ptp(last) < 0.5
    assert last.mean() == pytest.approx(-4, abs=0.2)
    assert np.abs(sent[:50]).max() < 0.5


def test_gap_starts_anew_from_the_couch() -> None:
    """After a shift has lapsed the couch stands somewhere else than where it was sent."""
    one = controller(validity_ms=300.0)
    send(one, target((0, 10, 0)))
    shift = one.update(target((0, 8, 0), couch_mm=(0, -2, 0)), T0 + 30 * NS_PER_S)
    assert shift.target_mm.tolist() == [0, -2, 0]


def test_repeated_stamp_repeats_the_target() -> None:
    one = controller()
    send(one, target((0, 10, 0)), seconds=0.5)
    sent = [one.update(target((0, -10, 0)), T0 + NS_PER_S // 2).target_mm[1] for _ in range(3)]
    assert sent[1] == sent[2] == sent[0]


def test_horizon_adds_up_what_delays_the_couch() -> None:
    age_ns, interval_ns = 50 * NS_PER_MS, 100 * NS_PER_MS
    fast = controller(low_pass_ms=100.0, response_ms=300.0)
    assert fast.horizon_ns(age_ns, interval_ns) == (50 + 100 + 300 + 50) * NS_PER_MS
    drift = controller(low_pass_ms=20_000.0, response_ms=300.0)
    assert drift.horizon_ns(age_ns, interval_ns) == (50 + 300 + 50) * NS_PER_MS


# the loop that it closes ----------------------------------------------------------------------


def close_loop(
    latency_ms: int,
    dead_time_ms: float,
    *,
    report_late_ms: int = 0,
    gain: float = 1.0,
    interval_ms: int = 20,
    seconds: int = 12,
    couch_parts: dict[str, float] | None = None,
    **changes: object,
) -> np.ndarray:
    """Return where the target of a constant offset is (T, 3), every 10 ms.

    Args:
        latency_ms: from exposure to decision.
        dead_time_ms: of the couch.
        report_late_ms: by how much the stamps of the couch's reports are too late.
        gain: how far the couch moves for each millimetre that it reports.
        interval_ms: between frames.
        seconds: how long.
        couch_parts: further parameters of the couch.
        changes: of the controller.
    """
    offset_mm = np.array([0.0, 10.0, -6.0])
    couch = CouchSimulator(CouchSimulatorParameters(dead_time_ms, 16.0, **(couch_parts or {})), T0)
    history = CouchHistory(300.0)
    one = controller(**{"validity_ms": 1000.0, "low_pass_ms": CouchParameters().low_pass_ms, **changes})
    pictures: deque[tuple[int, np.ndarray]] = deque()
    seen_mm = []
    for now_ms in range(0, 1000 * seconds, 10):
        now_ns = T0 + now_ms * NS_PER_MS
        status = couch.advance(now_ns)
        history.add(replace(status, stamp_ns=now_ns + report_late_ms * NS_PER_MS))
        seen_mm.append(offset_mm + gain * status.position_mm)
        if now_ms % interval_ms == 0:
            pictures.append((now_ns, seen_mm[-1]))
        while pictures and pictures[0][0] <= now_ns - latency_ms * NS_PER_MS:
            stamp_ns, displacement_mm = pictures.popleft()
            seen = Target(displacement_mm, YZ, Reason(0), history.position_mm(stamp_ns), radius_mm=0.5)
            couch.command(one.update(seen, stamp_ns), now_ns)
    return np.array(seen_mm)


@pytest.mark.parametrize("latency_ms", [0, 100, 200])
@pytest.mark.parametrize("dead_time_ms", [0.0, 50.0, 300.0])
@pytest.mark.parametrize("low_pass_ms", [0.0, 100.0])
def test_delayed_loop_converges_without_overshoot(
    latency_ms: int, dead_time_ms: float, low_pass_ms: float
) -> None:
    """A target that is off by a constant 10 mm is brought back once, however late pictures and couch are."""
    residual = close_loop(latency_ms, dead_time_ms, low_pass_ms=low_pass_ms)
    np.testing.assert_allclose(residual[-1], 0, atol=1e-6)
    # never past the plan: the residual keeps its sign and never grows
    assert residual[:, 1].min() > -1e-6
    assert residual[:, 2].max() < 1e-6
    assert np.diff(np.linalg.norm(residual, axis=1)).max() < 1e-6


@pytest.mark.parametrize(("latency_ms", "dead_time_ms"), [(0, 0.0), (50, 50.0), (200, 300.0)])
def test_loop_settles_with_a_slow_couch(latency_ms: int, dead_time_ms: float) -> None:
    parts = {"acceleration_mm_s2": 50.0, "lag_ms": 80.0, "backlash_mm": 0.4}
    residual = close_loop(latency_ms, dead_time_ms, couch_parts=parts)
    assert np.abs(residual[-1]).max() < 0.3
    assert np.ptp(residual[-300:], axis=0).max() < 0.01
    assert residual[:, 1].min() > -0.1


@pytest.mark.parametrize("report_late_ms", [-100, -50, -20, 20, 50, 100])
@pytest.mark.parametrize(("latency_ms", "dead_time_ms"), [(0, 0.0), (50, 50.0), (200, 300.0)])
def test_loop_is_stable_with_wrong_stamps_of_the_couch(
    report_late_ms: int, latency_ms: int, dead_time_ms: float
) -> None:
    """The default low-pass settles what a phase error of up to 100 ms feeds back, at any delay."""
    residual = close_loop(
        latency_ms, dead_time_ms, report_late_ms=report_late_ms, interval_ms=30, deadband_mm=0.1
    )
    limits = CouchParameters()
    # the couch's speed times the error is all that can be mistaken for motion
    bound_mm = limits.speed_limit_mm_s * abs(report_late_ms) / 1e3 + limits.deadband_mm
    assert residual[:, 1].min() > -bound_mm
    assert np.linalg.norm(residual[-1]) < 0.2
    assert np.ptp(residual[-300:], axis=0).max() < 0.15


@pytest.mark.parametrize("gain", [0.2, 0.5, 0.8, 1.2, 1.5, 1.8])
@pytest.mark.parametrize(("latency_ms", "dead_time_ms"), [(0, 0.0), (50, 50.0), (200, 300.0)])
def test_gain_margin(gain: float, latency_ms: int, dead_time_ms: float) -> None:
    """A couch that moves another way than it reports leaves (1 - gain) of it in the loop: stable below 2."""
    residual = close_loop(latency_ms, dead_time_ms, gain=gain, seconds=40, range_mm=100.0)
    assert np.linalg.norm(residual[-1]) < 0.05
    assert np.ptp(residual[-200:], axis=0).max() < 0.05

"""The couch controller: where it sends the couch, when it does not, and the loop it closes."""

from collections import deque

import numpy as np
import pytest

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
    settings = {"tracking": True, "axes": YZ, "deadband_mm": 0.0, "range_mm": 30.0, **changes}
    return CouchController(CouchParameters(**settings), SESSION)  # type: ignore[arg-type]


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


@pytest.mark.parametrize("latency_ms", [0, 100, 200, 400])
@pytest.mark.parametrize("dead_time_ms", [0.0, 50.0, 200.0])
def test_delayed_loop_converges_without_overshoot(latency_ms: int, dead_time_ms: float) -> None:
    """A target that is off by a constant 10 mm is brought back once, however late the pictures are."""
    offset_mm = np.array([0.0, 10.0, -6.0])
    couch = CouchSimulator(CouchSimulatorParameters(dead_time_ms, 16.0), T0)
    history = CouchHistory(100.0)
    one = controller(speed_limit_mm_s=16.0, validity_ms=1000.0)
    pictures: deque[tuple[int, np.ndarray]] = deque()
    residuals = []
    for now_ms in range(0, 4000, 20):
        now_ns = T0 + now_ms * NS_PER_MS
        status = couch.advance(now_ns)
        history.add(status)
        residuals.append(offset_mm + status.position_mm)
        pictures.append((now_ns, offset_mm + status.position_mm))
        while pictures and pictures[0][0] <= now_ns - latency_ms * NS_PER_MS:
            stamp_ns, displacement_mm = pictures.popleft()
            seen = Target(displacement_mm, YZ, Reason(0), history.position_mm(stamp_ns), radius_mm=0.5)
            couch.command(one.update(seen, stamp_ns), now_ns)
    residual = np.array(residuals)
    np.testing.assert_allclose(residual[-1], 0, atol=1e-6)
    # never past the plan: the residual keeps its sign and never grows
    assert residual[:, 1].min() > -1e-6
    assert residual[:, 2].max() < 1e-6
    assert np.diff(np.linalg.norm(residual, axis=1)).max() < 1e-6

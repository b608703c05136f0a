"""The simulated couch: dead time, speed, straight lines, and the commands it must ignore."""

from dataclasses import replace

import numpy as np
import pytest

from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S, CouchMode, CouchShift
from lmtrack_ros.phantoms.couch import CouchFailure, CouchSimulator, CouchSimulatorParameters

T0 = 10 * NS_PER_S
SESSION = 3
ALL = (True, True, True)


def ms(value: float) -> int:
    return T0 + int(value * NS_PER_MS)


def shift(
    target_mm: tuple[float, float, float],
    sequence: int = 1,
    *,
    at_ms: float = 0.0,
    lasts_ms: float = 60_000.0,
    session: int = SESSION,
    mode: CouchMode = CouchMode.TRACKING,
    axes: tuple[bool, bool, bool] = ALL,
    speed_limit_mm_s: float = 10.0,
) -> CouchShift:
    return CouchShift(
        ms(at_ms),
        session,
        sequence,
        mode,
        np.array(target_mm),
        axes=axes,
        speed_limit_mm_s=speed_limit_mm_s,
        valid_until_ns=ms(at_ms + lasts_ms),
    )


def couch(dead_time_ms: float = 0.0, speed_mm_s: float = 10.0, **parameters: float) -> CouchSimulator:
    return CouchSimulator(CouchSimulatorParameters(dead_time_ms, speed_mm_s, **parameters), T0)


def y_mm(simulator: CouchSimulator, at_ms: float) -> float:
    return float(simulator.advance(ms(at_ms)).position_mm[1])


def test_stands_at_zero_without_a_command() -> None:
    status = couch().advance(ms(1000))
    assert status.position_mm.tolist() == [0, 0, 0]
    assert not status.moving
    assert status.acknowledged_session == 0
    assert status.stamp_ns == ms(1000)


def test_dead_time_before_the_motion() -> None:
    simulator = couch(dead_time_ms=50.0)
    simulator.command(shift((0, 10, 0)), ms(0))
    assert y_mm(simulator, 50) == 0
    assert y_mm(simulator, 150) == pytest.approx(1.0)


def test_dead_time_does_not_depend_on_when_it_is_asked() -> None:
    """One step over the dead time ends where many small steps do."""
    coarse, fine = couch(dead_time_ms=50.0), couch(dead_time_ms=50.0)
    for simulator in (coarse, fine):
        simulator.command(shift((3, 10, -4)), ms(0))
    for at_ms in range(0, 400, 7):
        fine.advance(ms(at_ms))
    np.testing.assert_allclose(
        coarse.advance(ms(400)).position_mm, fine.advance(ms(400)).position_mm, atol=1e-9
    )


@pytest.mark.parametrize(
    ("own_mm_s", "limit_mm_s", "expected_mm"),
    [
        pytest.param(10.0, 50.0, 1.0, id="its-own-speed"),
        pytest.param(50.0, 10.0, 1.0, id="the-limit-of-the-shift"),
        pytest.param(10.0, 0.0, 0.0, id="limit-of-zero"),
    ],
)
def test_speed(own_mm_s: float, limit_mm_s: float, expected_mm: float) -> None:
    simulator = couch(speed_mm_s=own_mm_s)
    simulator.command(shift((0, 10, 0), speed_limit_mm_s=limit_mm_s), ms(0))
    assert y_mm(simulator, 100) == pytest.approx(expected_mm)


def test_speed_is_that_along_the_way() -> None:
    """With three axes at once, the length of the way counts, not each axis by itself."""
    simulator = couch(speed_mm_s=10.0)
    simulator.command(shift((3, 4, 12)), ms(0))
    position = simulator.advance(ms(650)).position_mm
    np.testing.assert_allclose(position, np.array([3, 4, 12]) / 2)


def test_stops_on_the_target() -> None:
    simulator = couch()
    simulator.command(shift((0, 5, 0)), ms(0))
    assert simulator.advance(ms(400)).moving
    status = simulator.advance(ms(5000))
    assert status.position_mm.tolist() == [0, 5, 0]
    assert not status.moving


def test_only_the_axes_named_move() -> None:
    simulator = couch()
    simulator.command(shift((5, 5, 5), axes=(False, True, False)), ms(0))
    assert simulator.advance(ms(5000)).position_mm.tolist() == [0, 5, 0]


def test_newer_target_replaces_the_older() -> None:
    simulator = couch()
    simulator.command(shift((0, 5, 0), 1), ms(0))
    simulator.advance(ms(200))
    simulator.command(shift((0, -5, 0), 2), ms(200))
    assert y_mm(simulator, 300) == pytest.approx(1.0)
    assert y_mm(simulator, 5000) == -5


def test_command_during_the_dead_time_of_another_waits_for_its_own() -> None:
    simulator = couch(dead_time_ms=100.0)
    simulator.command(shift((0, 5, 0), 1), ms(0))
    simulator.command(shift((0, -5, 0), 2), ms(50))
    assert y_mm(simulator, 150) == pytest.approx(0.5)
    assert y_mm(simulator, 250) == pytest.approx(-0.5)


def test_stops_when_the_shift_lapses() -> None:
    simulator = couch()
    simulator.command(shift((0, 50, 0), lasts_ms=300), ms(0))
    status = simulator.advance(ms(5000))
    assert status.position_mm[1] == pytest.approx(3.0)
    assert not status.moving


def test_stops_when_told() -> None:
    simulator = couch()
    simulator.command(shift((0, 50, 0), 1), ms(0))
    simulator.command(shift((0, 0, 0), 2, mode=CouchMode.NONE), ms(200))
    assert y_mm(simulator, 5000) == pytest.approx(2.0)


def test_acknowledges_what_it_took_up() -> None:
    simulator = couch()
    simulator.command(shift((0, 5, 0), 4), ms(0))
    status = simulator.advance(ms(10))
    assert (status.acknowledged_session, status.acknowledged_sequence) == (SESSION, 4)


@pytest.mark.parametrize(
    "ignored",
    [
        pytest.param(shift((0, -50, 0), 1), id="repeated"),
        pytest.param(shift((0, -50, 0), 0), id="older"),
        pytest.param(shift((0, -50, 0), 2, at_ms=-500, lasts_ms=300), id="lapsed"),
        pytest.param(shift((0, -50, 0), 9, session=SESSION + 1), id="foreign-session"),
        pytest.param(shift((0, np.nan, 0), 2), id="nan"),
        pytest.param(shift((np.inf, 0, 0), 2), id="infinite"),
        pytest.param(shift((0, 50, 0), 2, speed_limit_mm_s=-10.0), id="negative-speed-limit"),
        pytest.param(shift((0, -50, 0), 2, speed_limit_mm_s=np.nan), id="nan-speed-limit"),
    ],
)
def test_command_is_ignored(ignored: CouchShift) -> None:
    simulator = couch()
    simulator.command(shift((0, 5, 0), 1), ms(0))
    simulator.command(ignored, ms(100))
    status = simulator.advance(ms(5000))
    assert status.position_mm.tolist() == [0, 5, 0]
    assert (status.acknowledged_session, status.acknowledged_sequence) == (SESSION, 1)


def test_default_shift_moves_nothing() -> None:
    simulator = couch()
    simulator.command(CouchShift(stamp_ns=ms(0)), ms(0))
    assert simulator.advance(ms(1000)).position_mm.tolist() == [0, 0, 0]


def test_new_session_is_taken_up_once_the_last_shift_has_lapsed() -> None:
    """A restarted gate counts from one again and gets the couch after the old one fell silent."""
    simulator = couch()
    simulator.command(shift((0, 5, 0), 70, lasts_ms=300), ms(0))
    restarted = shift((0, -5, 0), 1, session=SESSION + 1)
    simulator.command(restarted, ms(299))
    assert simulator.advance(ms(299)).acknowledged_session == SESSION
    simulator.command(replace(restarted, sequence=2), ms(300))
    assert simulator.advance(ms(300)).acknowledged_session == SESSION + 1
    assert y_mm(simulator, 5000) == -5


# inertia, lag, backlash -----------------------------------------------------------------------


def track(simulator: CouchSimulator, until_ms: int) -> np.ndarray:
    """Return the positions (T, 3) every 10 ms from now on."""
    return np.array([simulator.advance(ms(k)).position_mm for k in range(0, until_ms, 10)])


def test_acceleration_limit() -> None:
    simulator = couch(acceleration_mm_s2=20.0)
    simulator.command(shift((0, 10, 0)), ms(0))
    y = track(simulator, 2500)[:, 1]
    assert np.diff(y, n=2).max() <= 20.0 * 0.01**2 + 1e-9
    assert np.diff(y).max() == pytest.approx(0.1)
    # half a second to start, half a second to stop, and half in between
    assert y[150] == pytest.approx(10.0, abs=0.02)
    assert y.max() <= 10 + 1e-9
    assert y[-1] == 10


def test_stop_takes_time_with_inertia() -> None:
    simulator = couch(acceleration_mm_s2=20.0)
    simulator.command(shift((0, 50, 0), 1), ms(0))
    simulator.command(shift((0, 0, 0), 2, mode=CouchMode.NONE), ms(1000))
    assert simulator.advance(ms(1000)).position_mm[1] == pytest.approx(7.5, abs=0.02)
    assert simulator.advance(ms(1200)).moving
    status = simulator.advance(ms(2000))
    assert status.position_mm[1] == pytest.approx(10.0, abs=0.02)
    assert not status.moving


def test_emergency_stop_is_at_once() -> None:
    simulator = couch(acceleration_mm_s2=20.0, lag_ms=100.0)
    simulator.command(shift((0, 50, 0), 1), ms(0))
    before = y_mm(simulator, 1000)
    simulator.stop(ms(1000))
    status = simulator.advance(ms(3000))
    assert status.position_mm[1] == before
    assert not status.moving


def test_lag() -> None:
    """A ramp is followed a time constant late, a stop exponentially."""
    simulator = couch(lag_ms=100.0)
    simulator.command(shift((0, 10, 0)), ms(0))
    assert y_mm(simulator, 1000) == pytest.approx(9.0, abs=0.01)
    assert simulator.advance(ms(1000)).moving
    assert y_mm(simulator, 1100) == pytest.approx(10 - np.exp(-1), abs=0.01)
    status = simulator.advance(ms(3000))
    assert status.position_mm[1] == pytest.approx(10.0, abs=1e-3)
    assert not status.moving


def test_backlash_of_each_axis_on_its_reversal() -> None:
    simulator = couch(backlash_mm=1.0)
    simulator.command(shift((0, 5, 5), 1), ms(0))
    assert simulator.advance(ms(2000)).position_mm.tolist() == [0, 4.5, 4.5]
    simulator.command(shift((0, 2, 8), 2), ms(2000))
    assert simulator.advance(ms(4000)).position_mm.tolist() == [0, 2.5, 7.5]
    simulator.command(shift((0, 2.9, 8), 3), ms(4000))
    assert simulator.advance(ms(6000)).position_mm.tolist() == [0, 2.5, 7.5]


def test_steps_do_not_depend_on_when_it_is_asked() -> None:
    parameters = {"acceleration_mm_s2": 30.0, "lag_ms": 60.0, "backlash_mm": 0.5}
    coarse, fine = couch(50.0, **parameters), couch(50.0, **parameters)
    for simulator in (coarse, fine):
        simulator.command(shift((3, 10, -4)), ms(0))
    for at_ms in range(0, 700, 7):
        fine.advance(ms(at_ms))
    np.testing.assert_allclose(
        coarse.advance(ms(700)).position_mm, fine.advance(ms(700)).position_mm, atol=1e-3
    )


# failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "moves", "acknowledges", "fault"),
    [
        (CouchFailure.NONE, True, True, ""),
        (CouchFailure.SILENT, True, True, ""),
        (CouchFailure.STUCK, False, True, ""),
        (CouchFailure.UNACKNOWLEDGED, True, False, ""),
        (CouchFailure.FAULT, False, True, "simulated fault"),
    ],
)
def test_failures(failure: CouchFailure, moves: bool, acknowledges: bool, fault: str) -> None:
    simulator = couch()
    simulator.failure = failure
    simulator.command(shift((0, 5, 0), 4), ms(0))
    status = simulator.advance(ms(1000))
    assert status.position_mm[1] == (5.0 if moves else 0.0)
    assert status.acknowledged_sequence == (4 if acknowledges else 0)
    assert status.fault == fault


def test_runaway() -> None:
    """It needs no command, and heeds none."""
    simulator = couch()
    simulator.failure = CouchFailure.OFF_PATH
    simulator.command(shift((0, -5, 0), mode=CouchMode.NONE), ms(0))
    status = simulator.advance(ms(1000))
    assert np.linalg.norm(status.position_mm) == pytest.approx(4.0)
    assert status.moving


def test_failure_ends() -> None:
    simulator = couch()
    simulator.failure = CouchFailure.STUCK
    simulator.command(shift((0, 5, 0)), ms(0))
    simulator.advance(ms(1000))
    simulator.failure = CouchFailure.NONE
    assert y_mm(simulator, 2000) == 5

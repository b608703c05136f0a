"""Whether the couch does what it was told: what is noticed when it does not, and what must not be."""

from collections.abc import Callable

import numpy as np
import pytest

from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S, CouchMode, CouchShift, CouchStatus, Reason
from lmtrack_ros.gating.couch_controller import CouchController, CouchParameters, Shifts
from lmtrack_ros.gating.couch_history import CouchHistory
from lmtrack_ros.gating.couch_watch import CouchWatch
from lmtrack_ros.gating.target import Target
from lmtrack_ros.phantoms.couch import CouchFailure, CouchSimulator, CouchSimulatorParameters

T0 = 10 * NS_PER_S
SESSION = 3
NOTHING = Reason(0)
YZ = (False, True, True)
PARAMETERS = CouchParameters(tracking=True, axes=YZ)


def ms(value: float) -> int:
    return T0 + int(value * NS_PER_MS)


class Bench:
    """Controller, watch and couch with frames at 50 Hz; remembers when the watch found what."""

    def __init__(self, parameters: CouchParameters = PARAMETERS, **couch: float) -> None:
        self.watch = CouchWatch(parameters)
        self.controller = CouchController(parameters, SESSION)
        self.couch = CouchSimulator(CouchSimulatorParameters(**couch), T0)
        self.history = CouchHistory(100.0)
        self.now_ms = 0
        self.found: dict[Reason, int] = {}

    def run(
        self,
        motion_mm: Callable[[float], float],
        until_ms: int,
        *,
        follow: Callable[[int], bool] = lambda now_ms: True,
        deliver: bool = True,
    ) -> dict[Reason, int]:
        for now_ms in range(self.now_ms, until_ms, 20):
            now_ns = ms(now_ms)
            status = self.couch.advance(now_ns)
            if self.couch.failure is not CouchFailure.SILENT:
                self.history.add(status)
                self.note(self.watch.reported(status, now_ns), now_ms)
            self.note(self.watch.tick(now_ns), now_ms)
            couch_mm = self.history.position_mm(now_ns)
            shown = np.array([0.0, motion_mm(now_ms / 1e3), 0.0]) + status.position_mm
            seen = Target(shown, YZ, NOTHING if follow(now_ms) else Reason.LANDMARK_LOST, couch_mm, 0.5)
            shift = self.controller.update(seen, now_ns)
            self.watch.commanded(shift, now_ns)
            if deliver:
                self.couch.command(shift, now_ns)
        self.now_ms = until_ms
        return self.found

    def note(self, reasons: Reason, now_ms: int) -> None:
        if reasons:
            self.found.setdefault(reasons, now_ms)


def breathing(time_s: float) -> float:
    return 8 * np.sin(2 * np.pi * time_s / 4) + 3


def far(time_s: float) -> float:
    return 20.0


@pytest.mark.parametrize("motion", [breathing, far, lambda time_s: 0.05 * time_s])
@pytest.mark.parametrize(
    "couch",
    [
        pytest.param({}, id="as-it-comes"),
        pytest.param({"dead_time_ms": 400.0}, id="late"),
        pytest.param(
            {"dead_time_ms": 300.0, "lag_ms": 150.0, "acceleration_mm_s2": 40.0, "backlash_mm": 1.0},
            id="slow",
        ),
    ],
)
def test_sound_couch_is_not_suspected(motion: Callable[[float], float], couch: dict[str, float]) -> None:
    """Neither while it follows, nor when it loses the target on the way and is stopped."""
    bench = Bench(**couch)
    assert bench.run(motion, 30_000, follow=lambda now_ms: now_ms % 5000 < 4200) == {}
    assert bench.run(motion, 40_000, follow=lambda now_ms: False) == {}


@pytest.mark.parametrize("motion", [breathing, far])
def test_missing_acknowledgement_is_noticed(motion: Callable[[float], float]) -> None:
    bench = Bench()
    bench.run(motion, 3000)
    bench.couch.failure = CouchFailure.UNACKNOWLEDGED
    found = bench.run(motion, 6000)
    assert set(found) == {Reason.COUCH_TIMEOUT}
    assert 0 < found[Reason.COUCH_TIMEOUT] - 3000 - PARAMETERS.acknowledge_timeout_ms <= 40


def test_silent_couch_runs_into_the_timeout_of_its_acknowledgement() -> None:
    bench = Bench()
    bench.run(breathing, 3000)
    bench.couch.failure = CouchFailure.SILENT
    # the controller needs the couch's position: only what was sent before it was missing counts
    assert set(bench.run(breathing, 6000)) == {Reason.COUCH_TIMEOUT}


def test_shift_that_never_arrived_is_noticed() -> None:
    assert Reason.COUCH_TIMEOUT in Bench().run(breathing, 1000, deliver=False)


@pytest.mark.parametrize("motion", [breathing, far])
def test_stuck_couch_is_noticed(motion: Callable[[float], float]) -> None:
    """Though it acknowledges everything, and though a breathing target comes near it now and then."""
    bench = Bench()
    bench.couch.failure = CouchFailure.STUCK
    found = bench.run(motion, 6000)
    assert set(found) == {Reason.COUCH_OFF_PATH}
    assert found[Reason.COUCH_OFF_PATH] > PARAMETERS.stuck_ms


@pytest.mark.parametrize("motion", [breathing, far])
def test_runaway_couch_is_noticed(motion: Callable[[float], float]) -> None:
    bench = Bench()
    bench.run(motion, 8000)
    bench.couch.failure = CouchFailure.OFF_PATH
    found = bench.run(motion, 12_000)
    assert Reason.COUCH_OFF_PATH in found
    # at 4 mm/s, of which two thirds are across the way
    assert found[Reason.COUCH_OFF_PATH] - 8000 < 1e3 * PARAMETERS.off_path_mm / 2.5


def test_couch_that_runs_the_wrong_way_is_noticed() -> None:
    watch = CouchWatch(PARAMETERS)
    shifts = Shifts(PARAMETERS, SESSION)
    watch.reported(CouchStatus(ms(0)), ms(0))
    found = NOTHING
    for k in range(1, 100):
        now_ns = ms(20 * k)
        shift = shifts.make(now_ns, CouchMode.TRACKING, np.array([0.0, 10.0, 0.0]), np.zeros(3), YZ)
        watch.commanded(shift, now_ns)
        position_mm = np.array([0.0, -0.1 * k, 0.0])
        status = CouchStatus(now_ns, position_mm, True, "", SESSION, shift.sequence)
        found |= watch.reported(status, now_ns)
        assert bool(found) == (0.1 * k > PARAMETERS.off_path_mm)
    assert found == Reason.COUCH_OFF_PATH


@pytest.mark.parametrize(
    ("position_mm", "moving", "expected"),
    [
        pytest.param((0, 0, 0), False, NOTHING, id="stands"),
        pytest.param((0.3, 0, 0.3), False, NOTHING, id="trembles"),
        pytest.param((0, 0, 0), True, Reason.COUCH_MOVING, id="motor-turns"),
        pytest.param((0, 0.6, 0), False, Reason.COUCH_MOVING, id="is-elsewhere"),
        pytest.param((0.6, 0, 0), False, Reason.COUCH_MOVING, id="along-an-axis-that-is-not-driven"),
    ],
)
def test_motion_that_nobody_asked_for(
    position_mm: tuple[float, float, float], moving: bool, expected: Reason
) -> None:
    watch = CouchWatch(PARAMETERS)
    assert watch.reported(CouchStatus(ms(0)), ms(0)) == NOTHING
    assert watch.reported(CouchStatus(ms(20), np.array(position_mm), moving), ms(20)) == expected


def test_creeping_adds_up() -> None:
    watch = CouchWatch(PARAMETERS)
    found = [
        watch.reported(CouchStatus(ms(20 * k), np.array([0, 0.02 * k, 0])), ms(20 * k)) for k in range(40)
    ]
    assert Reason.COUCH_MOVING in found


def test_couch_that_does_not_stop_is_noticed_after_the_time_to_stop() -> None:
    bench = Bench()
    bench.run(far, 1000)
    bench.couch.failure = CouchFailure.OFF_PATH
    found = bench.run(far, 3000, follow=lambda now_ms: False)
    assert found[Reason.COUCH_MOVING] - 1000 == pytest.approx(PARAMETERS.stop_ms, abs=60)


def test_lapsed_shift_counts_as_a_stop() -> None:
    """A gate that sends nothing more, as while nothing is heard of the tracker, expects a stop too."""
    watch = CouchWatch(PARAMETERS)
    shift = Shifts(PARAMETERS, SESSION).make(
        ms(0), CouchMode.TRACKING, np.array([0, 2.0, 0]), np.zeros(3), YZ
    )
    watch.commanded(shift, ms(0))

    def report(at_ms: float) -> Reason:
        status = CouchStatus(ms(at_ms), np.array([0, 1.0, 0]), True, "", SESSION, shift.sequence)
        return watch.reported(status, ms(at_ms))

    stopped_ms = PARAMETERS.validity_ms + PARAMETERS.stop_ms
    assert report(stopped_ms - 1) == NOTHING
    assert report(stopped_ms + 1) == Reason.COUCH_MOVING


def test_proposal_expects_nothing() -> None:
    """A set-up shift that was not confirmed has lapsed when it is sent: the couch must ignore it."""
    watch = CouchWatch(PARAMETERS)
    target_mm = np.array([0, 9.0, 0])
    proposal = Shifts(PARAMETERS, SESSION).make(
        ms(0), CouchMode.SETUP, target_mm, np.zeros(3), YZ, lapsed=True
    )
    watch.reported(CouchStatus(ms(0)), ms(0))
    watch.commanded(proposal, ms(0))
    assert watch.tick(ms(5000)) == NOTHING
    assert watch.reported(CouchStatus(ms(5000), np.array([0, 2.0, 0])), ms(5000)) == Reason.COUCH_MOVING


def test_long_way_is_remembered_until_it_is_gone() -> None:
    """One target far away, repeated for longer than any lag: where the couch came from stays on the way."""
    bench = Bench(
        CouchParameters(tracking=True, axes=YZ, range_mm=100.0, speed_limit_mm_s=20.0), speed_mm_s=3.0
    )
    assert bench.run(lambda time_s: -60.0, 19_000) == {}


def test_operator_acknowledges() -> None:
    bench = Bench()
    bench.couch.failure = CouchFailure.STUCK
    assert Reason.COUCH_OFF_PATH in bench.run(far, 3000)
    bench.watch.acknowledge()
    bench.couch.failure = CouchFailure.NONE
    bench.found.clear()
    assert bench.run(far, 9000) == {}


def test_late_and_broken_reports_count_for_nothing() -> None:
    watch = CouchWatch(PARAMETERS)
    watch.reported(CouchStatus(ms(100)), ms(100))
    for stamp_ms, y_mm in ((50, 9.0), (100, 9.0), (120, np.nan), (120, np.inf)):
        assert watch.reported(CouchStatus(ms(stamp_ms), np.array([0, y_mm, 0])), ms(120)) == NOTHING


@pytest.mark.parametrize("session", [0, SESSION + 1])
def test_acknowledgement_of_another_session_is_none(session: int) -> None:
    watch = CouchWatch(PARAMETERS)
    watch.commanded(
        CouchShift(ms(0), SESSION, 5, CouchMode.TRACKING, np.zeros(3), valid_until_ns=ms(300)), ms(0)
    )
    assert (
        watch.reported(CouchStatus(ms(20), acknowledged_session=session, acknowledged_sequence=9), ms(20))
        == NOTHING
    )
    assert watch.tick(ms(PARAMETERS.acknowledge_timeout_ms + 1)) == Reason.COUCH_TIMEOUT
    late = CouchStatus(ms(900), acknowledged_session=SESSION, acknowledged_sequence=6)
    assert watch.reported(late, ms(900)) == NOTHING

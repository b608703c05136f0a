"""Breathing: mean, extent, direction, shape, what varies and what interrupts it. Traces: smooth."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.parameters import build
from lmtrack_ros.phantoms.motion import (
    Breathing,
    MotionParameters,
    MotionRange,
    Trace,
    read_trace,
    write_trace,
)
from lmtrack_ros.phantoms.phantom import PhantomParameters
from lmtrack_ros.phantoms.ultrasound import UltrasoundPhantom


def one_period(parameters: MotionParameters, samples: int = 1000) -> np.ndarray:
    breathing = Breathing(parameters)
    times_s = np.arange(samples) * parameters.period_s / samples
    return np.array([breathing.displacement_mm(t) for t in times_s])


@pytest.mark.parametrize("power", [1, 2, 3, 10])
@pytest.mark.parametrize("period_s", [3.0, 4.7])
def test_mean_over_a_period_is_zero(power: int, period_s: float) -> None:
    motion = one_period(
        MotionParameters(
            kind="breathing", peak_to_peak_mm=15.0, anterior_mm=3.0, period_s=period_s, power=power
        )
    )
    np.testing.assert_allclose(motion.mean(axis=0), 0, atol=1e-9)


def test_peak_to_peak() -> None:
    motion = one_period(MotionParameters(kind="breathing", peak_to_peak_mm=15.0, anterior_mm=3.0))
    np.testing.assert_allclose(np.ptp(motion, axis=0), (0, 15, 3), atol=1e-9)


def test_inhaling_moves_the_target_to_the_feet_and_to_the_front() -> None:
    """Time zero is end-inhale; head first and supine, the feet are towards -Y and the front towards +Z."""
    parameters = MotionParameters(kind="breathing", peak_to_peak_mm=15.0, anterior_mm=3.0, period_s=4.0)
    breathing = Breathing(parameters)
    way = breathing.displacement_mm(0.0) - breathing.displacement_mm(2.0)
    np.testing.assert_allclose(way, (0, -15, 3), atol=1e-9)
    assert breathing.inhaled(0.0) == pytest.approx(1)
    assert breathing.inhaled(2.0) == pytest.approx(0)


def test_breath_repeats() -> None:
    breathing = Breathing(MotionParameters(kind="breathing", period_s=4.0))
    np.testing.assert_allclose(breathing.displacement_mm(0.7), breathing.displacement_mm(40.7), atol=1e-9)


def test_exhale_lasts_longer_with_a_higher_power() -> None:
    """The share of the period spent within a fifth of end-exhale grows with n."""
    shares = []
    for power in (1, 2, 4):
        breathing = Breathing(MotionParameters(kind="breathing", power=power))
        drawn = np.array([breathing.inhaled(4.0 * i / 400) for i in range(400)])
        shares.append((drawn < 0.2).mean())
    assert shares[0] < shares[1] < shares[2]


def sampled(rate_hz: float = 10.0) -> tuple[np.ndarray, np.ndarray]:
    time_s = np.arange(0.0, 20.0, 1.0 / rate_hz)
    phase = 2 * np.pi * time_s / 4.0
    position_mm = np.stack([0.1 * time_s, -8.0 * np.sin(phase), 2.0 * np.cos(phase)], axis=1)
    return time_s, position_mm + np.array([100.0, 5.0, -7.0])


def test_trace_goes_through_its_samples_from_the_first() -> None:
    time_s, position_mm = sampled()
    trace = Trace(time_s, position_mm)
    went = np.array([trace.displacement_mm(t) for t in time_s])
    np.testing.assert_allclose(went, position_mm - position_mm[0], atol=1e-9)


def test_trace_is_smooth_between_its_samples() -> None:
    """Ten samples a second give the true path of a breath within a tenth of a millimetre, without kinks."""
    time_s, position_mm = sampled()
    trace = Trace(time_s, position_mm)
    fine_s = np.arange(1.0, 18.0, 0.001)
    went = np.array([trace.displacement_mm(t) for t in fine_s])
    np.testing.assert_allclose(went[:, 1], -8.0 * np.sin(2 * np.pi * fine_s / 4.0), atol=0.1)
    velocity = np.diff(went, axis=0) / 0.001
    assert np.abs(np.diff(velocity, axis=0)).max() < 0.2


def test_trace_stands_still_outside_its_time() -> None:
    time_s, position_mm = sampled()
    trace = Trace(time_s, position_mm)
    np.testing.assert_allclose(trace.displacement_mm(-3.0), 0, atol=1e-12)
    np.testing.assert_allclose(trace.displacement_mm(99.0), position_mm[-1] - position_mm[0], atol=1e-12)


def test_trace_knows_how_far_the_breath_is_drawn() -> None:
    """The feet are towards -Y."""
    trace = Trace(*sampled())
    assert trace.inhaled(1.0) == pytest.approx(1)
    assert trace.inhaled(3.0) == pytest.approx(0)
    assert Trace(np.arange(3.0), np.zeros((3, 3))).inhaled(1.0) == 0


def test_trace_survives_its_file(tmp_path: Path) -> None:
    time_s, position_mm = sampled()
    write_trace(tmp_path / "trace.csv", time_s, position_mm)
    read_s, read_mm = read_trace(tmp_path / "trace.csv")
    np.testing.assert_allclose(read_s, time_s, atol=1e-4)
    np.testing.assert_allclose(read_mm, position_mm, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot read"),
        ("", "first line"),
        ("time_s,y_mm\n0,1\n", "first line"),
        ("time_s,x_mm,y_mm,z_mm\n0,1,2,3\n", "two or more"),
        ("time_s,x_mm,y_mm,z_mm\n0,1,2,3\n0,1,2,3\n", "grow"),
        ("time_s,x_mm,y_mm,z_mm\n0,1,2,3\n1,1,nan,3\n", "finite"),
        ("time_s,x_mm,y_mm,z_mm\n0,1,2,3\n1,1,2\n", "line 3"),
        ("time_s,x_mm,y_mm,z_mm\n0,1,2,3\n1,1,2,far\n", "line 3"),
    ],
    ids=["absent", "empty", "columns", "one", "time", "nan", "short", "text"],
)
def test_broken_trace_is_refused_in_one_line(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "trace.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        UltrasoundPhantom(
            PhantomParameters(preset="demo", motion=MotionParameters(kind="trace", trace=str(path)))
        )
    assert "\n" not in str(caught.value)


def test_phantom_follows_a_trace(tmp_path: Path) -> None:
    time_s, position_mm = sampled()
    write_trace(tmp_path / "trace.csv", time_s, position_mm)
    phantom = UltrasoundPhantom(
        PhantomParameters(
            preset="demo", motion=MotionParameters(kind="trace", trace=str(tmp_path / "trace.csv"))
        )
    )
    start, later = (phantom.truth(1, t).estimates[0].position_mm for t in (0.0, 7.3))
    np.testing.assert_allclose(start, 0, atol=1e-9)
    np.testing.assert_allclose(later, position_mm[73] - position_mm[0], atol=1e-3)


def drawn(breathing: Breathing, until_s: float, rate_hz: float = 100.0) -> np.ndarray:
    times_s = np.arange(0.0, until_s, 1.0 / rate_hz)
    return np.array([breathing.displacement_mm(t) for t in times_s])


def test_breaths_differ_in_depth_and_duration() -> None:
    """Depths and durations measured from the path have about the deviations asked for."""
    parameters = MotionParameters(period_s=4.0, amplitude_variation=0.2, period_variation=0.1)
    path_mm = -drawn(Breathing(parameters, seed=1), 800.0, 50.0)[:, 1]
    tops = np.flatnonzero((path_mm[1:-1] > path_mm[:-2]) & (path_mm[1:-1] >= path_mm[2:])) + 1
    bottoms = np.flatnonzero((path_mm[1:-1] < path_mm[:-2]) & (path_mm[1:-1] <= path_mm[2:])) + 1
    assert 150 < len(tops) < 250
    depths_mm = path_mm[tops] - path_mm.min()
    assert 0.15 < depths_mm.std() / 15.0 < 0.25
    assert 0.07 < np.diff(bottoms).std() / 50.0 / 4.0 < 0.13


def test_irregular_breathing_is_smooth() -> None:
    """No jump in position or velocity where breaths meet."""
    parameters = MotionParameters(amplitude_variation=0.3, period_variation=0.2, baseline_mm=2.0)
    path_mm = drawn(Breathing(parameters, seed=3), 60.0, 500.0)
    velocity_mm_s = np.diff(path_mm, axis=0) * 500.0
    assert np.abs(velocity_mm_s).max() < 60.0
    assert np.abs(np.diff(velocity_mm_s, axis=0)).max() < 1.0


def test_end_exhale_shifts_and_drifts() -> None:
    still = MotionParameters(period_s=4.0)
    shifting = MotionParameters(period_s=4.0, baseline_mm=2.0)
    ends_s = np.arange(2.0, 400.0, 4.0)
    regular, shifted = (Breathing(p, seed=5) for p in (still, shifting))
    moved_mm = [shifted.displacement_mm(t)[1] - regular.displacement_mm(t)[1] for t in ends_s]
    assert 1.5 < np.std(moved_mm) < 2.5
    drifting = Breathing(MotionParameters(drift_mm_min=3.0))
    way_mm = drifting.displacement_mm(122.0) - drifting.displacement_mm(2.0)
    np.testing.assert_allclose(way_mm, (0, 6, 0), atol=1e-9)


def test_hysteresis_opens_a_loop() -> None:
    """With a lag, the front is elsewhere on the way in than on the way out."""
    without, with_lag = (Breathing(MotionParameters(anterior_mm=4.0, lag_s=lag)) for lag in (0.0, 0.4))
    lagging_mm = 4.0 * (np.cos(np.pi * 0.1 / 4.0) ** 4 - np.cos(np.pi * 0.9 / 4.0) ** 4)
    for breathing, opening_mm in ((without, 0.0), (with_lag, lagging_mm)):
        # at the same height, half a second before and after end-inhale
        before, after = (breathing.displacement_mm(4.0 + dt) for dt in (-0.5, 0.5))
        assert before[1] == pytest.approx(after[1], abs=1e-9)
        assert abs(after[2] - before[2]) == pytest.approx(opening_mm, abs=1e-9)


def test_one_seed_one_breathing_whatever_was_asked_before() -> None:
    parameters = MotionParameters(amplitude_variation=0.2, period_variation=0.1, baseline_mm=1.0)
    one, other = Breathing(parameters, seed=4), Breathing(parameters, seed=4)
    one.displacement_mm(300.0)
    for t in (0.0, 7.7, 123.4):
        np.testing.assert_array_equal(one.displacement_mm(t), other.displacement_mm(t))
    assert (Breathing(parameters, seed=5).displacement_mm(50.0) != one.displacement_mm(50.0)).any()


def test_breath_hold_holds() -> None:
    breathing = Breathing(MotionParameters(events=("breath_hold@10",)))
    path_mm = drawn(breathing, 40.0)
    held = np.abs(np.diff(path_mm[:, 1])) < 1e-9
    longest = max(len(run) for run in "".join("h" if h else " " for h in held).split())
    assert 11.5 < longest / 100.0 < 12.5
    # at a deeper inhale than usual, and then on
    assert -path_mm[:, 1].min() > 1.2 * 15.0 * (1 - 3 / 8)
    assert np.ptp(path_mm[-400:, 1]) == pytest.approx(15.0, abs=0.1)


@pytest.mark.parametrize(
    ("event", "window_s", "least_mm", "most_mm"),
    [("cough@10", (9.8, 11.2), 5.0, 7.0), ("sneeze@10", (9.0, 10.6), 10.0, 20.0)],
)
def test_cough_and_sneeze_throw_the_diaphragm_up(
    event: str, window_s: tuple[float, float], least_mm: float, most_mm: float
) -> None:
    quiet = drawn(Breathing(MotionParameters()), 20.0)
    disturbed = drawn(Breathing(MotionParameters(events=(event,))), 20.0)
    difference_mm = (disturbed - quiet)[:, 1]
    inside = slice(round(window_s[0] * 100), round(window_s[1] * 100))
    assert least_mm < np.ptp(difference_mm[inside]) < most_mm
    assert difference_mm.max() > 5.0
    np.testing.assert_allclose(difference_mm[:800], 0, atol=1e-3)
    np.testing.assert_allclose(difference_mm[1300:], 0, atol=1e-3)


def test_deep_breath_is_twice_as_deep() -> None:
    path_mm = drawn(Breathing(MotionParameters(events=("deep_breath@9",))), 30.0)
    assert np.ptp(path_mm[:, 1]) == pytest.approx(30.0, abs=0.1)


def test_heart_beats_at_its_rate() -> None:
    breathing = Breathing(MotionParameters(heart_rate_hz=1.2))
    contracted = np.array([breathing.contracted(0.01 * i) for i in range(6000)])
    beats = np.count_nonzero((contracted[1:] > 0.5) & (contracted[:-1] <= 0.5))
    assert abs(beats - 72) <= 1
    assert contracted.min() == 0
    assert contracted.max() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"events": ("caugh@3",)}, "Did you mean 'cough'"),
        ({"events": ("cough",)}, "NAME@SECONDS"),
        ({"events": ("cough@-1",)}, "at least 0"),
        ({"events": ("cough@nan",)}, "at least 0"),
        ({"trace": "path.csv"}, "kind 'trace'"),
        ({"kind": "trace"}, "kind 'trace'"),
    ],
    ids=["name", "time", "negative", "nan", "trace-without-kind", "kind-without-trace"],
)
def test_impossible_motion_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        build(MotionParameters, values, "motion")


def test_patients_of_a_preset_differ_within_its_range() -> None:
    usual = MotionRange(peak_to_peak_mm=(10.0, 20.0))
    drawn_mm = [usual.draw(np.random.default_rng(seed)).peak_to_peak_mm for seed in range(50)]
    assert 10.0 <= min(drawn_mm) < 12.0
    assert 18.0 < max(drawn_mm) <= 20.0
    exact = MotionRange.exactly(15.0, 3.0, 4.0).draw(np.random.default_rng(0))
    regular = MotionParameters(kind="breathing", heart_rate_hz=exact.heart_rate_hz)
    assert exact == regular


def test_trace_that_leads_out_of_the_body_is_refused(tmp_path: Path) -> None:
    write_trace(tmp_path / "far.csv", np.array([0.0, 1.0]), np.array([[5.0, 0.0, 0.0], [5.0, 90.0, 0.0]]))
    with pytest.raises(UserError, match="no body moves so far"):
        UltrasoundPhantom(
            PhantomParameters(
                preset="demo", motion=MotionParameters(kind="trace", trace=str(tmp_path / "far.csv"))
            )
        )

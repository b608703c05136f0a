"""Regular breathing: mean, extent, direction and shape. Traces: smooth between their samples."""

from pathlib import Path

import numpy as np
import pytest

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.phantoms.motion import Breathing, MotionParameters, Trace, read_trace, write_trace
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
        UltrasoundPhantom(PhantomParameters(motion=MotionParameters(kind="trace", trace=str(path))))
    assert "\n" not in str(caught.value)


def test_phantom_follows_a_trace(tmp_path: Path) -> None:
    time_s, position_mm = sampled()
    write_trace(tmp_path / "trace.csv", time_s, position_mm)
    phantom = UltrasoundPhantom(
        PhantomParameters(motion=MotionParameters(kind="trace", trace=str(tmp_path / "trace.csv")))
    )
    start, later = (phantom.truth(1, t).estimates[0].position_mm for t in (0.0, 7.3))
    np.testing.assert_allclose(start, 0, atol=1e-9)
    np.testing.assert_allclose(later, position_mm[73] - position_mm[0], atol=1e-3)

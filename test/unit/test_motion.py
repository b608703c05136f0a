"""Regular breathing: mean, extent, direction and shape."""

import numpy as np
import pytest

from lmtrack_ros.phantoms.motion import Breathing, BreathingParameters


def one_period(parameters: BreathingParameters, samples: int = 1000) -> np.ndarray:
    breathing = Breathing(parameters)
    times_s = np.arange(samples) * parameters.period_s / samples
    return np.array([breathing.displacement_mm(t) for t in times_s])


@pytest.mark.parametrize("power", [1, 2, 3, 10])
@pytest.mark.parametrize("period_s", [3.0, 4.7])
def test_mean_over_a_period_is_zero(power: int, period_s: float) -> None:
    motion = one_period(BreathingParameters(15.0, 3.0, period_s, power))
    np.testing.assert_allclose(motion.mean(axis=0), 0, atol=1e-9)


def test_peak_to_peak() -> None:
    motion = one_period(BreathingParameters(15.0, 3.0))
    np.testing.assert_allclose(np.ptp(motion, axis=0), (0, 15, 3), atol=1e-9)


def test_inhaling_moves_the_target_to_the_feet_and_to_the_front() -> None:
    """Time zero is end-inhale; head first and supine, the feet are towards -Y and the front towards +Z."""
    parameters = BreathingParameters(15.0, 3.0, 4.0)
    breathing = Breathing(parameters)
    way = breathing.displacement_mm(0.0) - breathing.displacement_mm(2.0)
    np.testing.assert_allclose(way, (0, -15, 3), atol=1e-9)
    assert breathing.inhaled(0.0) == pytest.approx(1)
    assert breathing.inhaled(2.0) == pytest.approx(0)


def test_breath_repeats() -> None:
    breathing = Breathing(BreathingParameters(period_s=4.0))
    np.testing.assert_allclose(breathing.displacement_mm(0.7), breathing.displacement_mm(40.7), atol=1e-9)


def test_exhale_lasts_longer_with_a_higher_power() -> None:
    """The share of the period spent within a fifth of end-exhale grows with n."""
    shares = []
    for power in (1, 2, 4):
        breathing = Breathing(BreathingParameters(power=power))
        drawn = np.array([breathing.inhaled(4.0 * i / 400) for i in range(400)])
        shares.append((drawn < 0.2).mean())
    assert shares[0] < shares[1] < shares[2]

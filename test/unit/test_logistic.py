"""The fit of how likely something is, by its score."""

import numpy as np
import pytest

from lmtrack_ros.models.logistic import logistic


def test_finds_the_line_that_examples_were_drawn_by() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0.7, 0.02, 20_000)
    slope, offset = 90.0, -62.0
    right = rng.random(len(scores)) < 1 / (1 + np.exp(-(slope * scores + offset)))
    found_slope, found_offset = logistic(scores, right)
    assert found_slope == pytest.approx(slope, rel=0.05)
    assert found_slope * 0.7 + found_offset == pytest.approx(slope * 0.7 + offset, abs=0.1)


@pytest.mark.parametrize("right", [[True] * 6, [False] * 6, [False, False, False, True, True, True]])
def test_few_examples_make_nothing_certain(right: list[bool]) -> None:
    scores = np.arange(6.0)
    slope, offset = logistic(scores, np.array(right))
    likely = 1 / (1 + np.exp(-(slope * scores + offset)))
    assert np.isfinite([slope, offset]).all()
    assert ((likely > 0.01) & (likely < 0.99)).all()
    assert (np.diff(likely) >= -1e-6).all() or len(set(right)) == 1


def test_scores_that_are_all_the_same() -> None:
    slope, offset = logistic(np.ones(4), np.array([True, True, True, False]))
    assert 0.5 < 1 / (1 + np.exp(-(slope + offset))) < 1.0

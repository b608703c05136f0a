"""Sub-pixel peaks of known surfaces."""

import numpy as np
import pytest

from lmtrack_ros.trackers.subpixel import refine_peak


def surface(row, column, cross=0.0, shape=(9, 9)):
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    return 1 - 0.02 * (y - row) ** 2 - 0.05 * (x - column) ** 2 - cross * (y - row) * (x - column)


@pytest.mark.parametrize("cross", [0.0, 0.03], ids=["upright", "oblique"])
@pytest.mark.parametrize(("row", "column"), [(4.0, 4.0), (4.3, 3.6), (3.75, 4.49)])
def test_finds_the_peak_of_a_quadratic_exactly(row, column, cross):
    scores = surface(row, column, cross)
    at = np.unravel_index(np.argmax(scores), scores.shape)
    peak = refine_peak(scores, int(at[0]), int(at[1]))
    assert (peak.row, peak.column) == pytest.approx((row, column), abs=1e-9)
    assert (peak.row_curvature, peak.column_curvature) == pytest.approx((0.04, 0.1))


def test_a_ridge_keeps_the_sample_along_it():
    y, _ = np.mgrid[:7, :7].astype(float)
    peak = refine_peak(1 - 0.1 * (y - 3.2) ** 2, 3, 2)
    assert peak.row == pytest.approx(3.2)
    assert peak.column == 2
    assert peak.column_curvature == 0


def test_a_plateau_keeps_the_sample():
    assert refine_peak(np.ones((5, 5)), 2, 2) == (2, 2, 0, 0)


@pytest.mark.parametrize("at", [(0, 0), (0, 4), (8, 8), (4, 0)])
def test_a_peak_on_the_edge_stays_inside_the_map(at):
    peak = refine_peak(surface(*at), *at)
    assert (peak.row, peak.column) == pytest.approx(at)


def test_a_single_sample():
    assert refine_peak(np.zeros((1, 1)), 0, 0) == (0, 0, 0, 0)

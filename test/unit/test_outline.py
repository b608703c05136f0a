"""Outlines of targets: from masks, and the points inside them."""

import numpy as np
import pytest

from lmtrack_ros.core.geometry import ImageGeometry, Modality
from lmtrack_ros.core.outline import contour_of_mask, interior

GEOMETRY = ImageGeometry(Modality.MR, (0.5, 2.0, 0.0))


def test_mask_gives_its_outline_in_millimetres() -> None:
    mask = np.zeros((40, 60), bool)
    mask[10:21, 20:41] = True
    contour = contour_of_mask(mask, GEOMETRY)
    low, high = contour.min(axis=0), contour.max(axis=0)
    assert (high - low).tolist() == pytest.approx([20 * 0.5, 10 * 2.0, 0.0])
    np.testing.assert_allclose(contour.mean(axis=0), GEOMETRY.position_mm((30.0, 15.0)))


def test_largest_part_of_a_mask_counts() -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[2:4, 2:4] = 255
    mask[10:30, 20:40] = 255
    assert contour_of_mask(mask, GEOMETRY)[:, 0].min() == pytest.approx(GEOMETRY.position_mm((20.0, 0.0))[0])


def test_empty_mask_has_no_outline() -> None:
    assert contour_of_mask(np.zeros((4, 4)), GEOMETRY).shape == (0, 3)


def test_interior_of_a_tilted_triangle() -> None:
    corners = np.array([[0.0, 0.0, 0.0], [12.0, 0.0, 0.0], [0.0, 9.0, 9.0]])
    points = interior(corners)
    np.testing.assert_allclose(points[:, 1], points[:, 2], atol=1e-9)
    np.testing.assert_allclose(points.mean(axis=0), corners.mean(axis=0), atol=0.2)
    # half of a triangle's height holds three quarters of its area
    assert (points[:, 1] < 4.5).mean() == pytest.approx(0.75, abs=0.04)


@pytest.mark.parametrize("corners", [1, 2, 3])
def test_outline_without_area_is_its_corners(corners: int) -> None:
    line = np.outer(np.arange(corners), (1.0, 2.0, 3.0))
    assert interior(line).tolist() == line.tolist()

"""Outlines of targets: from masks, and the points inside them."""

import numpy as np
import pytest

from lmtrack_ros.core.geometry import ImageGeometry, Modality
from lmtrack_ros.gating.contour import interior
from lmtrack_ros.trackers.outline import contour_of_mask

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


def test_interior_of_a_ring_cut_open_leaves_its_hole_out() -> None:
    """A polygon need not be convex."""
    angle = np.linspace(0.1, 2 * np.pi - 0.1, 60)
    ring = np.concatenate(
        [
            np.stack([r * np.cos(a), r * np.sin(a), 0 * a], axis=1)
            for r, a in ((10.0, angle), (6.0, angle[::-1]))
        ]
    )
    radii = np.linalg.norm(interior(ring), axis=1)
    assert radii.min() > 5.9
    assert radii.max() < 10.1


def test_cost_does_not_depend_on_the_plane() -> None:
    corners = np.array([[0.0, 0.0, 0.0], [0.0, 8.0, 0.0], [0.0, 8.0, 4.0], [0.0, 0.0, 4.0]])
    assert len(interior(corners)) == 40 * 20


def test_many_corners_on_one_side_weigh_nothing() -> None:
    """A contour from a mask has a corner at every step of its edge."""
    plain = np.array([[0.0, 0.0, 0.0], [20.0, 0.0, 0.0], [20.0, 10.0, 0.0], [0.0, 10.0, 0.0]])
    edge = np.array([[0.0, y, 0.0] for y in np.linspace(10, 0, 400)[1:-1]])
    crowded = np.concatenate([plain, edge])
    for x in (2.0, 10.0, 18.0):
        shares = [(interior(contour)[:, 0] < x).mean() for contour in (plain, crowded)]
        assert shares[0] == pytest.approx(shares[1], abs=0.02)

"""A group of landmarks as one target: centroid and rigid fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtrack_ros.core.frames import Array
from lmtrack_ros.gating.target import Points, centroid, rigid

PLANNED = np.array([[10.0, 0.0, 0.0], [-10.0, 0.0, 5.0], [0.0, 12.0, -5.0], [3.0, -9.0, 8.0]])
ANGLE = st.floats(-np.pi, np.pi)
SHIFT = st.tuples(*[st.floats(-30, 30)] * 3).map(np.array)
ALL = (True, True, True)


def rotation(a: float, b: float, c: float) -> Array:
    def about(axis: int, angle: float) -> Array:
        i, j = ((1, 2), (2, 0), (0, 1))[axis]
        matrix = np.eye(3)
        matrix[[i, j], [i, j]] = np.cos(angle)
        matrix[i, j], matrix[j, i] = -np.sin(angle), np.sin(angle)
        return matrix

    return about(0, a) @ about(1, b) @ about(2, c)


def points(found: Array, planned: Array = PLANNED, radius_mm: float = 0.5) -> Points:
    return Points(found, planned, np.full(len(planned), radius_mm))


@given(ANGLE, ANGLE, ANGLE, SHIFT, SHIFT)
def test_target_moves_rigidly_with_its_landmarks(
    a: float, b: float, c: float, shift: Array, target: Array
) -> None:
    turn = rotation(a, b, c)
    fitted = rigid(points(PLANNED @ turn.T + shift), target, ALL)
    assert fitted is not None
    np.testing.assert_allclose(fitted.positions_mm[0], turn @ target + shift, atol=1e-8)
    np.testing.assert_allclose(fitted.planned_mm[0], target, atol=1e-12)


@given(ANGLE, SHIFT)
def test_target_turns_in_the_plane_that_is_seen(angle: float, shift: Array) -> None:
    """Where x is not observed, its values must not matter."""
    turn = rotation(angle, 0, 0)
    target = np.array([0.0, 4.0, 6.0])
    found = PLANNED @ turn.T + shift
    found[:, 0] = np.nan
    fitted = rigid(points(found), target, (False, True, True))
    assert fitted is not None
    np.testing.assert_allclose(fitted.positions_mm[0, 1:], (turn @ target + shift)[1:], atol=1e-8)


def test_mirrored_landmarks_are_not_fitted_by_a_mirror() -> None:
    mirrored = PLANNED * (-1, 1, 1)
    fitted = rigid(points(mirrored), None, ALL)
    assert fitted is not None
    assert fitted.radii_mm[0] > 0.7


@pytest.mark.parametrize(
    ("planned", "observed"),
    [
        pytest.param(PLANNED[:2], ALL, id="two-in-space"),
        pytest.param(PLANNED[:1], ALL, id="one"),
        pytest.param(np.outer(np.arange(4.0), (1, 2, 3)), ALL, id="in-a-line"),
        pytest.param(np.zeros((3, 3)), ALL, id="in-a-point"),
        pytest.param(PLANNED, (False, True, False), id="one-axis"),
        pytest.param(PLANNED[:1], (False, True, True), id="one-in-a-plane"),
    ],
)
def test_rotation_that_cannot_be_told(planned: Array, observed: tuple[bool, ...]) -> None:
    assert rigid(points(planned, planned), None, observed) is None


def test_radius_grows_with_distance_and_misfit() -> None:
    near = rigid(points(PLANNED), None, ALL)
    far = rigid(points(PLANNED), np.array([0.0, 0.0, 100.0]), ALL)
    bent = PLANNED.copy()
    bent[0] += (0.0, 0.0, 4.0)
    misfit = rigid(points(bent), None, ALL)
    assert near is not None
    assert far is not None
    assert misfit is not None
    assert near.radii_mm[0] == pytest.approx(0.5)
    assert far.radii_mm[0] > 3.0
    assert misfit.radii_mm[0] > 0.9


def test_radius_covers_the_error_that_the_landmarks_cause() -> None:
    """Landmark errors within their radius move the target within its own in at least 95 % of cases."""
    rng = np.random.default_rng(3)
    target = np.array([20.0, 0.0, 10.0])
    covered = 0
    for _ in range(500):
        errors = rng.normal(size=PLANNED.shape)
        errors *= 0.5 * rng.random((len(PLANNED), 1)) / np.linalg.norm(errors, axis=1, keepdims=True)
        fitted = rigid(points(PLANNED + errors), target, ALL)
        assert fitted is not None
        covered += np.linalg.norm(fitted.positions_mm[0] - target) <= fitted.radii_mm[0]
    assert covered >= 0.95 * 500


def test_centroid() -> None:
    one = centroid(Points(PLANNED + 1.0, PLANNED, np.array([0.1, 0.2, 0.3, 0.4])))
    np.testing.assert_allclose(one.positions_mm - one.planned_mm, 1.0)
    assert one.radii_mm == pytest.approx(0.25)

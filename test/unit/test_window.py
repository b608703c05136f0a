"""The gating window: boxes, ellipsoids and convex regions, with a sphere inside or not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtrack_ros.gating.window import Window, WindowParameters

ALL = np.array([True, True, True])
PLANE = np.array([False, True, True])
LINE = np.array([False, True, False])
COORDINATE = st.floats(-15, 15)


def ellipsoid(
    lower: tuple[float, ...], upper: tuple[float, ...], axes: tuple[bool, ...] = (True,) * 3
) -> Window:
    parameters = WindowParameters(
        window_shape="ellipsoid", window_lower_mm=lower, window_upper_mm=upper, window_axes=axes
    )
    return parameters.windows()[0]


@given(COORDINATE, COORDINATE, COORDINATE)
def test_box_margin_is_the_nearest_face(x: float, y: float, z: float) -> None:
    lower, upper = np.array([-1.0, -2.0, -3.0]), np.array([4.0, 5.0, 6.0])
    d = np.array([x, y, z])
    margin = Window.box(lower, upper, ALL).margin_mm(d)
    assert margin == pytest.approx(min((d - lower).min(), (upper - d).min()))


@given(COORDINATE, COORDINATE, COORDINATE)
def test_ellipsoid_is_never_larger_than_the_true_one_nor_much_smaller(x: float, y: float, z: float) -> None:
    window = ellipsoid((-10.0, -5.0, -4.0), (8.0, 5.0, 7.0))
    axes = np.where(np.array([x, y, z]) > 0, (8.0, 5.0, 7.0), (10.0, 5.0, 4.0))
    level = float(np.linalg.norm(np.array([x, y, z]) / axes))
    margin = window.margin_mm(np.array([x, y, z]))
    if level >= 1:
        assert margin <= 1e-9
    if level <= 0.98:
        assert margin > 0


@pytest.mark.parametrize("axes", [(True, True, True), (False, True, True)])
def test_sphere_keeps_its_distance_in_every_direction(axes: tuple[bool, ...]) -> None:
    window = ellipsoid((-6.0,) * 3, (6.0,) * 3, axes)
    rng = np.random.default_rng(1)
    for _ in range(100):
        d = np.where(axes, rng.normal(size=3), 0.0)
        d *= 4.0 / np.linalg.norm(d)
        assert window.margin_mm(d) == pytest.approx(2.0, abs=0.06)
        assert window.margin_mm(d) <= 2.0 + 1e-9


def test_axes_of_an_ellipsoid_are_exact() -> None:
    window = ellipsoid((-10.0, -5.0, -4.0), (8.0, 5.0, 7.0))
    for end in ((8, 0, 0), (-10, 0, 0), (0, 5, 0), (0, 0, 7), (0, 0, -4)):
        assert window.margin_mm(np.array(end, float)) == pytest.approx(0.0, abs=1e-6)


def test_free_axis_does_not_matter() -> None:
    window = ellipsoid((-1.0, -5.0, -4.0), (1.0, 5.0, 7.0), (False, True, True))
    assert window.margin_mm(np.array([1e6, 0, 0])) == window.margin_mm(np.zeros(3))


def test_one_axis_of_an_ellipsoid_is_an_interval() -> None:
    window = ellipsoid((0.0, -5.0, 0.0), (0.0, 3.0, 0.0), (False, True, False))
    assert window.margin_mm(np.array([9.0, 2.0, 9.0])) == pytest.approx(1.0)


def test_tetrahedron() -> None:
    corners = (0.0, 0.0, 0.0, 6.0, 0.0, 0.0, 0.0, 6.0, 0.0, 0.0, 0.0, 6.0)
    window = WindowParameters(window_shape="convex", window_corners_mm=corners).windows()[0]
    assert window.margin_mm(np.array([1.0, 1.0, 1.0])) == pytest.approx(1.0)
    assert window.margin_mm(np.array([2.0, 2.0, 2.0])) == pytest.approx(0.0, abs=1e-6)
    assert window.margin_mm(np.array([3.0, 3.0, 3.0])) == pytest.approx(-np.sqrt(3), abs=1e-6)


@given(st.lists(st.tuples(COORDINATE, COORDINATE, COORDINATE), min_size=4, max_size=12), st.integers(0, 3))
def test_convex_window_holds_what_lies_between_its_corners(
    corners: list[tuple[float, float, float]], seed: int
) -> None:
    try:
        window = Window.of_corners(np.array(corners), ALL)
    except ValueError:
        return
    weights = np.random.default_rng(seed).dirichlet(np.ones(len(corners)), 20)
    assert (window.margins_mm(weights @ np.array(corners)) >= -1e-6).all()
    beyond = np.max(np.abs(corners)) + 1.0
    assert window.margin_mm(np.array([beyond, 0.0, 0.0])) < 0


def test_many_margins_are_those_of_each() -> None:
    window = ellipsoid((-3.0,) * 3, (3.0,) * 3)
    points = np.random.default_rng(0).normal(size=(50, 3))
    np.testing.assert_allclose(window.margins_mm(points), [window.margin_mm(p) for p in points])


def test_projected_corners() -> None:
    """Along a free axis the corners are laid over one another."""
    window = Window.of_corners(np.array([[0, -1, -1], [9, 1, -1], [5, 1, 1], [2, -1, 1.0]]), PLANE)
    assert window.margin_mm(np.array([100.0, 0.0, 0.0])) == pytest.approx(1.0)
    assert Window.of_corners(np.array([[0, -1, 0], [0, 3.0, 0]]), LINE).margin_mm(np.zeros(3)) == 1.0


def test_zero_window_never_opens() -> None:
    assert WindowParameters().windows()[0].margin_mm(np.zeros(3)) == 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window_shape": "ellipsoid"}, "below and upper bounds above zero"),
        ({"window_shape": "convex"}, "window_corners_mm"),
        ({"window_shape": "convex", "window_corners_mm": (1.0, 2.0)}, "window_corners_mm"),
        ({"window_corners_mm": (1.0, 2.0, 3.0)}, "for a convex window"),
        ({"window_shape": "convex", "window_corners_mm": (1.0, 2.0, 3.0) * 4}, "span no region"),
        ({"window_shape": "convex", "window_corners_mm": (np.nan,) * 12}, "finite"),
    ],
)
def test_windows_that_cannot_be(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WindowParameters(**changes)  # type: ignore[arg-type]

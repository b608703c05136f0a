"""A view shows its square of the image, on pixels of the size that the network knows."""

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from lmtrack_ros.models.sampling import cut  # noqa: E402
from lmtrack_ros.models.template_matching.matcher import weighted  # noqa: E402
from lmtrack_ros.models.views import View  # noqa: E402

SHAPE = (90, 130)


def waves(scale_px: float = 9.0) -> NDArray[np.float32]:
    rows, columns = np.indices(SHAPE, dtype=np.float32)
    return np.asarray(1 + np.sin(columns / scale_px) * np.cos(rows / scale_px), dtype=np.float32)


@pytest.mark.parametrize("side_px", [20.0, 64.0, 200.0])
def test_to_view_and_back(side_px: float) -> None:
    view = View.around(np.array([31.7, 44.2]), side_px, 64)
    places = np.random.default_rng(0).uniform(-20, 150, (30, 2))
    np.testing.assert_allclose(view.to_image(view.to_view(places)), places, atol=1e-9)
    np.testing.assert_allclose(view.to_view(np.array([31.7, 44.2])), [31.5, 31.5])


def test_whole_image_is_shown_and_no_more_than_needed() -> None:
    view = View.whole(SHAPE, 65)
    corners = np.array([[-0.5, -0.5], [SHAPE[1] - 0.5, SHAPE[0] - 0.5]])
    seen = view.to_view(corners)
    np.testing.assert_allclose(seen[:, 0], [-0.5, 64.5])
    assert (seen[:, 1] > -0.5).all()
    assert (seen[:, 1] < 64.5).all()


@pytest.mark.parametrize("centre", [(50.0, 40.0), (61.3, 37.8)], ids=["at-a-pixel", "between"])
def test_at_the_scale_of_the_image_a_view_is_a_cut(centre: tuple[float, float]) -> None:
    """What training cuts with grid_sample and what tracking cuts with OpenCV are the same patch."""
    side = 31
    by_tracking = View.around(np.array(centre), float(side), side).of(waves())
    at = torch.tensor([[centre]], dtype=torch.float32)
    by_training = cut(torch.from_numpy(waves())[None], at, side)[0, 0].numpy()
    np.testing.assert_allclose(by_tracking, by_training, atol=0.01)


@pytest.mark.parametrize("side_px", [40.0, 80.0, 127.0], ids=["finer", "alike", "coarser"])
def test_pixel_of_a_view_shows_its_place(side_px: float) -> None:
    view = View.around(np.array([64.0, 45.0]), side_px, 64)
    columns, rows = np.meshgrid(np.arange(64.0), np.arange(64.0))
    at = view.to_image(np.stack([columns, rows], -1))
    inside = ((at > 2) & (at < np.array(SHAPE[::-1]) - 3)).all(-1)
    expected = 1 + np.sin(at[..., 0] / 9.0) * np.cos(at[..., 1] / 9.0)
    np.testing.assert_allclose(view.of(waves())[inside], expected[inside], atol=0.03)


def test_coarse_pixels_are_means() -> None:
    """A chequerboard of single pixels is grey from afar, not whatever a sample meets."""
    rows, columns = np.indices((80, 80))
    board = ((rows + columns) % 2).astype(np.float32)
    seen = View.whole((80, 80), 20).of(board)
    np.testing.assert_allclose(seen, 0.5, atol=1e-5)


def test_zero_beyond_the_border() -> None:
    seen = View.around(np.array([0.0, 0.0]), 41.0, 41).of(np.ones(SHAPE, np.float32))
    assert (seen[:19] == 0).all()
    assert (seen[:, :19] == 0).all()
    assert (seen[20:, 20:] == 1).all()


def test_several_examples_are_weighted_by_equation_3() -> None:
    """By hand: x̂ = Σ x̂ᵢ/σ̂ᵢ / Σ 1/σ̂ᵢ for either axis by itself."""
    found = np.array([[[10.0, 40.0, 1.0, 2.0], [20.0, 10.0, 4.0, 2.0]]])
    ((x, y, sigma_x, sigma_y),) = weighted(found)
    assert x == pytest.approx((10 / 1 + 20 / 4) / (1 / 1 + 1 / 4))
    assert y == pytest.approx(25.0)
    assert sigma_x == pytest.approx(2 / (1 + 1 / 4))
    assert sigma_y == pytest.approx(2.0)


def test_one_example_stands_for_itself() -> None:
    found = np.random.default_rng(0).uniform(1, 9, (5, 1, 4))
    np.testing.assert_allclose(weighted(found), found[:, 0])


def test_example_that_is_not_a_number_gives_none() -> None:
    found = np.ones((1, 3, 4))
    found[0, 1] = np.nan
    assert np.isnan(weighted(found)).all()

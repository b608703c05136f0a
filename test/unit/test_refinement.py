"""Refinement: sub-pixel where the reference patch fits, and disbelief where it only seems to."""

import cv2
import numpy as np
import pytest

from lmtrack_ros.core.records import Landmark
from lmtrack_ros.trackers.patches import as_float_image
from lmtrack_ros.trackers.refinement import RefinementParameters, Refiner

AT = np.array([60.0, 50.0])
RADIUS = np.array([8.0, 8.0])


def texture(seed: int, shape: tuple[int, int] = (120, 140), blur_px: float = 2.0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(shape)
    return cv2.GaussianBlur(noise, (0, 0), blur_px).astype(np.float32)


def moved(image: np.ndarray, by: tuple[float, float]) -> np.ndarray:
    matrix = np.array([[1.0, 0.0, by[0]], [0.0, 1.0, by[1]]])
    return cv2.warpAffine(
        image, matrix, image.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )


def refiner(image: np.ndarray, axes: tuple[bool, bool] = (True, True), **parameters: float) -> Refiner:
    landmark = Landmark("here", (float(AT[0]), float(AT[1])), axes)
    return Refiner(RefinementParameters(**parameters), as_float_image(image), [landmark])


@pytest.mark.parametrize("by", [(0.0, 0.0), (3.4, -2.7), (-5.25, 5.5)])
def test_finds_the_place_to_a_tenth_of_a_pixel(by: tuple[float, float]) -> None:
    image = texture(0)
    start = AT + by + np.array([2.0, -2.0])
    found = refiner(image).refine(as_float_image(moved(image, by)), 0, start, RADIUS)
    assert found.accepted
    np.testing.assert_allclose(found.uv_px, AT + by, atol=0.1)
    assert (found.sigma_px < 0.5).all()


def test_noise_makes_it_less_sure() -> None:
    image = texture(0)
    noise = 0.5 * image.std() * np.random.default_rng(1).standard_normal(image.shape).astype(np.float32)
    stage = refiner(image)
    clean = stage.refine(as_float_image(image), 0, AT, RADIUS)
    noisy = stage.refine(as_float_image(image + noise), 0, AT, RADIUS)
    assert noisy.similarity < clean.similarity
    assert (noisy.sigma_px > clean.sigma_px).all()


def bent(image: np.ndarray, by_px: float) -> np.ndarray:
    """Return the image with what is 12 px above and below the landmark moved to the right, itself not."""
    rows, columns = np.indices(image.shape, dtype=np.float32)
    away = by_px * np.square((rows - AT[1]) / 12)
    return cv2.remap(image, columns - away.astype(np.float32), rows, cv2.INTER_CUBIC)


def test_tissue_that_moves_otherwise_round_it_misleads_little_and_makes_it_less_sure() -> None:
    image = texture(0)
    stage = refiner(image)
    rigid = stage.refine(as_float_image(image), 0, AT, RADIUS)
    found = stage.refine(as_float_image(bent(image, 1.5)), 0, AT, RADIUS)
    assert found.accepted
    # over the patch of the search the tissue moves by 0.5 px in the mean, over the largest by 1.1 px
    assert np.linalg.norm(found.uv_px - AT) < 0.3
    assert found.sigma_px[0] > 3 * rigid.sigma_px[0]


def test_other_structure_is_not_believed() -> None:
    found = refiner(texture(0)).refine(as_float_image(texture(5)), 0, AT, RADIUS)
    assert not found.accepted


def test_twin_is_not_believed() -> None:
    """What looks alike but was elsewhere in the frame of marking leads back to there."""
    image = texture(0)
    twin = AT + np.array([30.0, 0.0])
    patch = image[35:66, 45:76]
    image[35:66, 75:106] = 0.9 * patch + 0.1 * image[35:66, 75:106]
    stage = refiner(image)
    right = stage.refine(as_float_image(image), 0, AT, RADIUS)
    wrong = stage.refine(as_float_image(image), 0, twin, RADIUS)
    assert right.accepted
    assert wrong.similarity > 0.9
    assert not wrong.accepted


def test_beyond_the_radius_is_not_sought() -> None:
    image = texture(0)
    found = refiner(image).refine(as_float_image(moved(image, (12.0, 0.0))), 0, AT, np.array([4.0, 4.0]))
    assert not found.accepted


def test_undefined_axis_does_not_move() -> None:
    """Along a straight edge there is no place: the column stays where it was marked."""
    rows = np.tanh((np.arange(120) - AT[1]) / 2.0)
    edge = np.repeat(rows[:, None], 140, axis=1).astype(np.float32) + 0.02 * texture(3)
    stage = refiner(edge, axes=(False, True))
    found = stage.refine(
        as_float_image(moved(edge, (0.0, 4.0))), 0, AT + np.array([0.0, 3.0]), np.array([0.0, 8.0])
    )
    assert found.accepted
    assert found.uv_px[1] == pytest.approx(AT[1] + 4.0, abs=0.15)
    assert abs(found.uv_px[0] - AT[0]) <= 4.0


def test_flat_image_is_not_believed() -> None:
    image = texture(0)
    blank = np.zeros_like(image)
    blank[0, 0] = 1.0
    assert not refiner(image).refine(as_float_image(blank), 0, AT, RADIUS).accepted


def test_window_is_never_larger_than_allowed() -> None:
    image = texture(0)
    stage = refiner(image, most_px=6)
    found = stage.refine(as_float_image(moved(image, (10.0, 0.0))), 0, AT, np.array([np.inf, np.inf]))
    assert not found.accepted

"""Detection of landmarks in another subject from examples, equation (3)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")

import template_matching_example
import torch

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.inference.parameters import InferenceParameters
from lmtrack_ros.models.template_matching.configuration import DETECTION, TemplateMatchingConfiguration
from lmtrack_ros.models.template_matching.detection import Detector, Example
from lmtrack_ros.models.template_matching.training import build_network

SIDE_PX = 64
EAGER = InferenceParameters(device="cpu", backend="eager")
TINY = replace(DETECTION, image_px=SIDE_PX, patch_px=24, hidden=8)


def run_folder(path: Path, configuration: TemplateMatchingConfiguration) -> str:
    torch.manual_seed(1)
    network = build_network(configuration).eval()
    with torch.no_grad():
        # weights by chance hardly look at the patch
        network.layers[0].weight.mul_(3.0)
    return template_matching_example.write_run(path, configuration, network)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    return run_folder(tmp_path / "run", TINY)


def picture(seed: int, height: int = SIDE_PX, width: int = SIDE_PX) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    coarse = rng.random((height // 4, width // 4))
    return (np.kron(coarse, np.ones((4, 4))) * 255).astype(np.uint8)


def example(seed: int) -> Example:
    rng = np.random.default_rng(seed + 100)
    return Example(picture(seed), {name: rng.uniform(8, 55, 2) for name in ("carina", "dome")})


def test_place_is_the_mean_of_examples_weighted_by_their_sureness(weights: str) -> None:
    image = picture(9)
    detector = Detector(weights, [example(seed) for seed in range(3)], EAGER)
    each = detector.find(image)
    assert each.shape == (2, 3, 4)
    assert np.ptp(each[..., :2], axis=1).min() > 1e-3
    for row, name in zip(each, ("carina", "dome"), strict=True):
        for axis in (0, 1):
            numerator = sum(one[axis] / one[2 + axis] for one in row)
            expected = numerator / sum(1 / one[2 + axis] for one in row)
            assert detector.detect(image)[name].uv_px[axis] == pytest.approx(expected)


def test_each_example_speaks_for_itself(weights: str) -> None:
    image = picture(9)
    examples = [example(seed) for seed in range(3)]
    together = Detector(weights, examples, EAGER).find(image)
    for index, one in enumerate(examples):
        alone = Detector(weights, [one], EAGER).find(image)[:, 0]
        np.testing.assert_allclose(alone, together[:, index], atol=1e-3)


def test_order_of_landmarks_in_an_example_does_not_matter(weights: str) -> None:
    first, second = example(0), example(1)
    turned = Example(second.image, dict(reversed(second.uv_px.items())))
    expected = Detector(weights, [first, second], EAGER).find(picture(9))
    np.testing.assert_array_equal(Detector(weights, [first, turned], EAGER).find(picture(9)), expected)


def test_places_are_pixels_of_the_image_whatever_its_shape(weights: str) -> None:
    """A wide image is seen with dark bands above and below: the same as if they were part of it."""
    detector = Detector(weights, [example(0)], EAGER)
    wide = picture(9, 32, 64)
    wide[0], wide[-1], wide[1:3] = 0, 0, 0
    padded = np.zeros((64, 64), np.uint8)
    padded[16:48] = wide
    # the grey scale is taken from the image, and the bands would change it
    fixed = np.arange(64, dtype=np.uint8) % 2 * 255
    wide[0], padded[16] = fixed, fixed
    found, expected = detector.find(wide), detector.find(padded)
    np.testing.assert_allclose(found[..., 0], expected[..., 0], atol=1.0)
    np.testing.assert_allclose(found[..., 1] + 16, expected[..., 1], atol=1.0)


def test_twice_the_pixels_are_twice_the_coordinates(weights: str) -> None:
    detector = Detector(weights, [example(0)], EAGER)
    image = picture(9)
    found = detector.find(image)
    large = detector.find(np.kron(image, np.ones((2, 2), np.uint8)))
    np.testing.assert_allclose((large[..., :2] + 0.5) / 2 - 0.5, found[..., :2], atol=0.05)
    np.testing.assert_allclose(large[..., 2:] / 2, found[..., 2:], rtol=0.02)


@pytest.mark.parametrize(
    "image", [np.full((64, 64), np.nan, np.float32), np.full((64, 64), 7, np.uint8)], ids=["nan", "flat"]
)
def test_nothing_is_found_in_nothing(weights: str, image: NDArray[np.generic]) -> None:
    found = Detector(weights, [example(0)], EAGER).detect(image)
    assert all(np.isnan(place.uv_px).all() and np.isnan(place.sigma_px).all() for place in found.values())


REFUSED: dict[str, tuple[Callable[[], list[Example]], str]] = {
    "none": (list, "at least one example"),
    "other landmarks": (
        lambda: [example(0), Example(picture(1), {"carina": np.array([9.0, 9.0])})],
        "example 1 and the first differ in their landmarks: dome",
    ),
    "outside": (lambda: [Example(picture(1), {"carina": np.array([64.0, 9.0])})], "outside the image"),
    "nan": (lambda: [Example(picture(1), {"carina": np.array([np.nan, 9.0])})], "outside the image"),
    "colour": (
        lambda: [Example(np.zeros((64, 64, 3), np.uint8), {"carina": np.array([9.0, 9.0])})],
        r"\(H, W\) images",
    ),
}


@pytest.mark.parametrize(("examples", "said"), REFUSED.values(), ids=REFUSED)
def test_examples_that_cannot_be_used_are_refused(
    weights: str, examples: Callable[[], list[Example]], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        Detector(weights, examples(), EAGER)


def test_weights_that_see_a_region_are_refused(tmp_path: Path) -> None:
    weights = run_folder(tmp_path / "region", replace(TINY, view_mm=180.0))
    with pytest.raises(UserError, match="preset detection"):
        Detector(weights, [example(0)], EAGER)

"""Appearance: the measures say of made textures what they were made of."""

import cv2
import numpy as np
import pytest

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import ImageGeometry, Modality
from lmtrack_ros.core.records import Frame
from lmtrack_ros.evaluation.likeness import appearance, field_of_view, ratio

SPACING_MM = 0.5
SIZE_PX = 160


def frames(images: list[np.ndarray], spacing_mm: float = SPACING_MM) -> list[Frame]:
    geometry = ImageGeometry(Modality.ULTRASOUND, (spacing_mm, spacing_mm, 0.0))
    return [Frame(i + 1, image.astype(np.float32), geometry) for i, image in enumerate(images)]


def texture(
    sigma_px: tuple[float, float], seed: int = 0, mean: float = 100.0, spread: float = 10.0
) -> np.ndarray:
    """Return grey noise whose autocorrelation is a Gaussian of sqrt(2) times these widths (columns, rows)."""
    noise = np.random.default_rng(seed).standard_normal((SIZE_PX, SIZE_PX)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), sigma_px[0], sigmaY=sigma_px[1])
    return mean + spread * blurred / blurred.std()


def test_texture_correlation_is_that_of_its_blur() -> None:
    """A Gaussian blur of s gives half the correlation at 2 s sqrt(ln 2)."""
    look = appearance(frames([texture((1.5, 0.8), seed) for seed in range(6)]), SPACING_MM)
    expected_mm = 2 * np.sqrt(np.log(2)) * np.array([1.5, 0.8]) * SPACING_MM
    np.testing.assert_allclose(look.correlation_mm, expected_mm, rtol=0.12)


def test_mean_and_spread() -> None:
    look = appearance(frames([texture((1.0, 1.0), seed) for seed in range(4)]), SPACING_MM)
    brightest = 100 + 10 * 2.576  # the 99.5th percentile
    assert look.mean == pytest.approx(100 / brightest, rel=0.02)
    assert look.spread == pytest.approx(10 / brightest, rel=0.05)


def test_half_the_noise_is_twice_the_snr() -> None:
    noisy, clean = (
        appearance(frames([texture((1.0, 1.0), seed, spread=s) for seed in range(4)]), SPACING_MM).snr
        for s in (10.0, 5.0)
    )
    assert clean == pytest.approx(2 * noisy, rel=0.1)


def test_decorrelation_of_frames_that_share_half_of_their_power() -> None:
    still = texture((1.0, 1.0), 99, mean=0.0)
    images = [100 + (still + texture((1.0, 1.0), seed, mean=0.0)) / np.sqrt(2) for seed in range(8)]
    assert appearance(frames(images), SPACING_MM).decorrelation == pytest.approx(0.5, abs=0.05)


def test_finer_texture_has_the_flatter_spectrum() -> None:
    coarse, fine = (
        appearance(frames([texture((s, s), seed) for seed in range(2)]), SPACING_MM) for s in (2.5, 0.7)
    )
    assert fine.slope < coarse.slope - 0.5


def test_both_are_looked_at_on_the_coarser_grid() -> None:
    """The same texture at twice the pixels measures the same."""
    fine = [cv2.GaussianBlur(texture((4.0, 4.0), seed), (0, 0), 0.5) for seed in range(3)]
    coarse = [cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for image in fine]
    one = appearance(frames(fine, 0.25), 0.5)
    other = appearance(frames(coarse, 0.5), 0.5)
    np.testing.assert_allclose(one.correlation_mm, other.correlation_mm, rtol=0.02)


def test_field_of_view_leaves_out_what_stands_still() -> None:
    images = np.stack([texture((1.0, 1.0), seed) for seed in range(3)]).astype(np.float32)
    images[:, :, :60] = 68.0
    images[:, 100:110, 10:20] = 255.0
    seen = field_of_view(images)
    assert not seen[:, :60].any()
    assert seen[20:140, 70:150].all()


def test_a_sequence_without_change_is_refused() -> None:
    with pytest.raises(UserError, match="changes"):
        appearance(frames([np.ones((50, 50))] * 3), SPACING_MM)
    with pytest.raises(UserError, match="two frames"):
        appearance(frames([np.ones((50, 50))]), SPACING_MM)


@pytest.mark.parametrize(("real", "simulated", "factor"), [(2, 1, 2), (1, 2, 2), (3, 3, 1), (0, 1, np.inf)])
def test_ratio(real: float, simulated: float, factor: float) -> None:
    assert ratio(real, simulated) == factor

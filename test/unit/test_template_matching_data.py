"""A training pair is what it says: the patch is what the view shows where it was drawn."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lmtrack_ros.models.grey import scaled  # noqa: E402
from lmtrack_ros.models.randomness import seed_all  # noqa: E402
from lmtrack_ros.models.sampling import cut  # noqa: E402
from lmtrack_ros.models.template_matching.data import Augmentation, Batch, draw  # noqa: E402

PLAIN = Augmentation(
    image_rotation_deg=0.0,
    image_scale=(1.0, 1.0),
    crop=1.0,
    aspect=1.0,
    patch_rotation_deg=0.0,
    patch_scale=(1.0, 1.0),
    gamma=(1.0, 1.0),
)
"""No augmentation at all."""
IMAGE_PX, INPUT_PX, PATCH_PX = 60, 60, 17


def images(count: int = 3) -> torch.Tensor:
    """Smooth images, so that what lies between pixels is known."""
    chance = torch.Generator().manual_seed(5)
    coarse = torch.rand(count, 1, 9, 9, generator=chance)
    size = (IMAGE_PX, IMAGE_PX)
    return torch.nn.functional.interpolate(coarse, size, mode="bicubic", align_corners=True)[:, 0].clamp(0.05)


def drawn(augmentation: Augmentation, seed: int = 0, patches: int = 8) -> Batch:
    seed_all(seed)
    grey = images()
    size_px = torch.full((len(grey), 2), float(IMAGE_PX))
    view_px = torch.full((len(grey),), float(IMAGE_PX))
    return draw(grey, size_px, view_px, INPUT_PX, patches, PATCH_PX, augmentation)


def test_without_augmentation_the_view_is_the_image() -> None:
    assert torch.allclose(drawn(PLAIN).views, images(), atol=1e-4)


def test_patch_is_what_the_view_shows_at_its_place() -> None:
    for augmentation in (PLAIN, Augmentation(**{**vars(PLAIN), "image_rotation_deg": 10.0, "crop": 0.5})):
        batch = drawn(augmentation)
        assert torch.allclose(cut(batch.views, batch.place_px, PATCH_PX), batch.patches, atol=1e-4)


def test_centre_of_a_patch_stays_where_it_is() -> None:
    """However a patch is turned, scaled and brightened, its middle pixel shows its place."""
    gamma = drawn(Augmentation(gamma=(1.0, 1.0)))
    middle = PATCH_PX // 2
    at_place = cut(gamma.views, gamma.place_px, 1)[..., 0, 0]
    assert torch.allclose(gamma.patches[..., middle, middle], at_place, atol=1e-4)
    other = drawn(Augmentation())
    assert not torch.allclose(cut(other.views, other.place_px, PATCH_PX), other.patches, atol=0.02)


def test_patches_are_drawn_over_the_whole_view_and_zero_beyond_its_border() -> None:
    batch = drawn(PLAIN, patches=400)
    assert (batch.place_px >= 0).all()
    assert (batch.place_px <= INPUT_PX - 1).all()
    # uniform: every quarter of either axis has its share of 1200
    for axis in range(2):
        counts = torch.histc(batch.place_px[..., axis], 4, 0, INPUT_PX - 1)
        assert (counts > 240).all()
    corner = cut(images(), torch.zeros(3, 1, 2), PATCH_PX)[:, 0]
    middle = PATCH_PX // 2
    assert (corner[:, :middle] == 0).all()
    assert (corner[:, :, :middle] == 0).all()
    assert (corner[:, middle:, middle:] > 0).all()


def test_cut_at_a_pixel_is_that_part_of_the_image() -> None:
    grey = images()
    column, row = 31, 22
    place = torch.tensor([float(column), float(row)]).expand(len(grey), 1, 2)
    half = PATCH_PX // 2
    part = grey[:, row - half : row + half + 1, column - half : column + half + 1]
    assert torch.allclose(cut(grey, place, PATCH_PX)[:, 0], part, atol=1e-4)


def test_views_and_patches_vary_within_what_is_asked() -> None:
    """A view of a rotated, larger patch is not the plain one; noise has the strength that is asked."""
    noisy, clear = drawn(Augmentation(noise=0.2)), drawn(Augmentation())
    spread = (noisy.views - clear.views).std((1, 2))
    assert (spread < 0.22).all()
    assert spread.max() > 0.02


def test_same_seed_same_batch_to_the_bit() -> None:
    augmentation = Augmentation(noise=0.1, overhang=0.2)
    first, again, other = (drawn(augmentation, seed) for seed in (4, 4, 5))
    for name in Batch._fields:
        assert torch.equal(getattr(first, name), getattr(again, name))
        assert not torch.equal(getattr(first, name), getattr(other, name))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_scaled_is_the_same_for_every_pixel_format(dtype: type) -> None:
    image = np.random.default_rng(0).integers(0, 200, (80, 120)).astype(dtype)
    values = scaled(image)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, scaled(image.astype(np.float32) * 3 + 7), atol=1e-4)
    assert 0 <= values.min() < 0.02
    assert 0.98 < values.max() <= 1.5


def test_scaled_is_finite_whatever_the_image() -> None:
    broken = np.random.default_rng(0).random((50, 50), dtype=np.float32)
    broken[3], broken[4, 5], broken[6, 7] = np.nan, np.inf, -np.inf
    for image in (broken, np.full((50, 50), np.nan), np.zeros((50, 50)), np.full((50, 50), 1e30)):
        values = scaled(image)
        assert np.isfinite(values).all()
        assert ((values >= 0) & (values <= 1.5)).all()

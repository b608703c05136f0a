"""The template matching network computes what the paper says, at whatever size."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from template_matching_example import TINY, tiny_network  # noqa: E402

from lmtrack_ros.core.errors import UserError  # noqa: E402
from lmtrack_ros.models.matching import Matching  # noqa: E402
from lmtrack_ros.models.template_matching.encoders import ENCODERS, create_encoder  # noqa: E402
from lmtrack_ros.models.template_matching.training import build_network  # noqa: E402

IMAGES, PATCHES = 2, 3


def inputs(side_px: int = TINY.image_px, patch_px: int = TINY.patch_px) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(3)
    views = torch.rand(IMAGES, side_px, side_px, generator=chance)
    return views, torch.rand(IMAGES, PATCHES, patch_px, patch_px, generator=chance)


@pytest.mark.parametrize("encoder", sorted(ENCODERS))
@torch.inference_mode()
def test_four_outputs_for_each_patch_with_every_encoder(encoder: str) -> None:
    """Shapes alone, on a device that computes nothing."""
    with torch.device("meta"):
        network = tiny_network(encoder=encoder, patch_px=32)
        encoded = network.encode_patches(torch.empty(IMAGES, PATCHES, 32, 32))
        found = network(torch.empty(IMAGES, TINY.image_px, TINY.image_px), encoded)
    assert encoded.shape[:2] == (IMAGES, PATCHES)
    assert found.shape == (IMAGES, PATCHES, 4)


@pytest.mark.long
@pytest.mark.parametrize("encoder", sorted(ENCODERS))
@torch.inference_mode()
def test_every_encoder_gives_numbers(encoder: str) -> None:
    network = tiny_network(encoder=encoder, patch_px=32)
    views, patches = inputs(patch_px=32)
    assert torch.isfinite(network(views, network.encode_patches(patches))).all()


def test_unknown_encoder_is_named() -> None:
    with pytest.raises(UserError, match="Did you mean 'vgg16'"):
        create_encoder("vgg6", pretrained=False)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@torch.inference_mode()
def test_depth_counts_the_fully_connected_layers(depth: int) -> None:
    network = tiny_network(depth=depth)
    assert len(network.layers) == depth
    assert [layer.out_features for layer in network.layers] == [TINY.hidden] * (depth - 1) + [4]
    views, patches = inputs()
    assert network(views, network.encode_patches(patches)).shape == (IMAGES, PATCHES, 4)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("matching", [True, False], ids=["matching", "paper"])
@torch.inference_mode()
def test_splitting_the_first_layer_is_stacking_the_vectors(matching: bool, depth: int) -> None:
    """Figure 1 of the paper, literally: both vectors of every pair stacked, through all layers."""
    network = tiny_network(matching=matching, depth=depth)
    views, patches = inputs()
    found = network.find(views, network.encode_patches(patches))
    image = network.image_encoder(views[:, None])
    patch = network.patch_encoder(patches.reshape(-1, 1, TINY.patch_px, TINY.patch_px))
    vectors = [
        image.vector[:, None].expand(-1, PATCHES, -1),
        patch.vector.reshape(IMAGES, PATCHES, -1),
    ]
    if network.matching:
        templates = network.matching.template(patch.map).reshape(IMAGES, PATCHES, -1)
        vectors.append(network.matching.describe(network.matching.log_shares(image.map, templates)))
    hidden = torch.cat(vectors, dim=-1)
    for index, layer in enumerate(network.layers):
        hidden = layer(torch.relu(hidden) if index else hidden)
    expected_px = (hidden[..., :2] + 0.5) * (TINY.image_px - 1)
    assert torch.allclose(found.place_px, expected_px, atol=1e-3)


@torch.inference_mode()
def test_a_patch_is_found_alone_as_among_others() -> None:
    network = tiny_network()
    views, patches = inputs()
    encoded = network.encode_patches(patches)
    together = network(views, encoded)
    for image in range(IMAGES):
        for patch in range(PATCHES):
            one = slice(image, image + 1), slice(patch, patch + 1)
            alone = network(views[one[0]], network.encode_patches(patches[one]))
            assert torch.allclose(alone[0, 0], together[image, patch], atol=1e-3)


@pytest.mark.parametrize("bias", [-1e6, -30.0, 0.0, 30.0, 1e6])
@torch.inference_mode()
def test_no_standard_deviation_is_zero_negative_or_infinite(bias: float) -> None:
    network = tiny_network()
    network.layers[-1].bias[2:] = bias
    views, patches = inputs()
    sigma_px = network.find(views, network.encode_patches(patches)).sigma_px
    assert (sigma_px > 0).all()
    assert torch.isfinite(sigma_px).all()


def test_image_and_patch_encoder_share_no_weights() -> None:
    network = tiny_network()
    pointers = [
        {p.data_ptr() for p in e.parameters()} for e in (network.image_encoder, network.patch_encoder)
    ]
    assert pointers[0].isdisjoint(pointers[1])


def test_every_weight_is_trained() -> None:
    network = build_network(replace(TINY, dropout=0.0)).train()
    views, patches = inputs()
    found = network.find(views, network.encode_patches(patches))
    assert found.log_shares is not None
    (found.place_px.sum() + found.sigma_px.sum() + found.log_shares[..., 0].sum()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


@torch.inference_mode()
def test_matching_finds_a_template_where_it_was_cut() -> None:
    """Features that are alike nowhere else: all of the distribution lies where the patch is from."""
    torch.manual_seed(0)
    matching = Matching(channels=32, image_side=9, patch_side=3)
    matching.sharpness.fill_(6.0)
    matching.patch_features.load_state_dict(matching.image_features.state_dict())
    places = torch.randn(1, 32, 9, 9)
    row, column = 2, 6
    template = matching.template(places[:, :, row - 1 : row + 2, column - 1 : column + 2])
    log_shares = matching.log_shares(places, template[None])
    assert log_shares.shape == (1, 1, 81)
    assert log_shares.argmax() == row * 9 + column
    mean = matching.describe(log_shares)[0, 0, :2]
    assert torch.allclose(mean, torch.tensor([column / 8 - 0.5, row / 8 - 0.5]), atol=0.02)

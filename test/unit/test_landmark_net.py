"""LandmarkNet: maps of landmarks and back, its pathways, and its losses."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lmtrack_ros.models.landmark_net import KINDS  # noqa: E402
from lmtrack_ros.models.landmark_net.backbone import BLOCKS, STRIDES  # noqa: E402
from lmtrack_ros.models.landmark_net.configuration import PAPER, REALTIME  # noqa: E402
from lmtrack_ros.models.landmark_net.heat_maps import heat_maps, peaks  # noqa: E402
from lmtrack_ros.models.landmark_net.losses import map_losses  # noqa: E402
from lmtrack_ros.models.landmark_net.network import Found, LandmarkNet  # noqa: E402

NONE = [np.nan, np.nan]
SMALL = replace(REALTIME, image_px=64, width=4, pyramid_channels=8, detection_channels=8)


def places(*of_kinds: list[list[float]]) -> torch.Tensor:
    most = max(map(len, of_kinds))
    return torch.tensor([[*some, *[NONE] * (most - len(some))] for some in of_kinds])


def test_target_is_a_gaussian_of_three_pixels_at_each_landmark() -> None:
    maps = heat_maps(places([[20.0, 30.0], [20.0, 44.0]], [[5.5, 7.25]], []), 64, 1, 3.0)
    assert maps.shape == (3, 64, 64)
    assert maps[0, 30, 20] == maps[0, 44, 20] == 1.0
    assert maps[0, 33, 20] == pytest.approx(np.exp(-0.5))
    assert maps[0, 30, 26] == pytest.approx(np.exp(-2.0))
    # between two, the nearer counts and not their sum
    assert maps[0, 37, 20] == pytest.approx(np.exp(-0.5 * (7 / 3) ** 2))
    assert maps[1, 7, 5] == pytest.approx(np.exp(-0.5 * (0.5**2 + 0.25**2) / 9))
    assert not maps[2].any()


def test_coarse_target_lies_where_the_image_has_it() -> None:
    # pixel 0 of the map is the middle of pixels 0 to 3
    maps = heat_maps(places([[1.5, 5.5]]), 16, 4, 3.0)
    assert maps[0, 1, 0] == 1.0
    assert maps[0, 1, 1] == pytest.approx(np.exp(-0.5))


@pytest.mark.parametrize(("stride", "sigma_px"), [(1, 3.0), (4, 3.0), (2, 5.0)])
def test_peaks_give_the_places_back_to_a_fraction_of_a_pixel(stride: int, sigma_px: float) -> None:
    where = [[20.3, 30.9], [21.7, 75.2], [70.1, 33.6]]
    maps = heat_maps(places(where), 96 // stride, stride, sigma_px)
    found = peaks(maps[0].numpy(), stride, sigma_px, 0.3, 8.0)
    assert len(found) == 3
    for at in where:
        assert min(np.linalg.norm(one.uv_px - at) for one in found) < 0.02
    assert all(one.height > 0.7 and one.sigma_px.max() < 0.3 for one in found)


def test_near_a_peak_lower_ones_are_none() -> None:
    maps = torch.maximum(
        heat_maps(places([[30.0, 30.0]]), 64, 1, 3.0), 0.7 * heat_maps(places([[39.0, 30.0]]), 64, 1, 3.0)
    )
    assert len(peaks(maps[0].numpy(), 1, 3.0, 0.3, 6.0)) == 2
    assert [one.uv_px.round().tolist() for one in peaks(maps[0].numpy(), 1, 3.0, 0.3, 12.0)] == [[30.0, 30.0]]
    assert peaks(0.2 * maps[0].numpy(), 1, 3.0, 0.3, 6.0) == []
    assert peaks(np.zeros((32, 32), np.float32), 1, 3.0, 0.3, 6.0) == []


def test_smeared_peak_says_how_uncertain_it_is() -> None:
    # what minimises the mean square: the mean of maps, the landmark being here or there
    rng = np.random.default_rng(0)
    some = torch.tensor(rng.normal([40.0, 40.0], [4.0, 2.0], (4000, 2)), dtype=torch.float32)
    mean = torch.stack([heat_maps(one[None], 80, 1, 3.0) for one in some]).mean(0)
    (found,) = peaks(mean.numpy(), 1, 3.0, 0.1, 20.0)
    np.testing.assert_allclose(found.uv_px, (40.0, 40.0), atol=0.5)
    np.testing.assert_allclose(found.sigma_px, (4.0, 2.0), rtol=0.15)


def test_pathways_have_the_sizes_of_table_1() -> None:
    assert BLOCKS == (3, 4, 6, 3)
    with torch.device("meta"):
        network = LandmarkNet(replace(PAPER, image_px=480))
        stages = network.bottom_up(torch.zeros(1, 1, 480, 480))
        levels = network.top_down(stages)
        found = network(torch.zeros(1, 1, 480, 480))
    assert [tuple(maps.shape[1:]) for maps in stages] == [
        (256, 120, 120), (512, 60, 60), (1024, 30, 30), (2048, 15, 15)
    ]  # fmt: skip
    assert {maps.shape[1] for maps in levels} == {256}
    assert [maps.shape[-1] for maps in found.intermediate] == [120, 60, 30, 15]
    assert found.maps.shape == (1, len(KINDS), 480, 480)
    assert network.maps[0].in_channels == 512


def test_coarse_levels_reach_the_finest_and_all_reach_the_maps() -> None:
    torch.manual_seed(0)
    network = LandmarkNet(SMALL).eval()
    stages = [maps.detach().requires_grad_() for maps in network.bottom_up(torch.rand(1, 1, 64, 64))]
    finest = network.top_down(stages)[0]
    finest.sum().backward()
    assert all(maps.grad is not None and maps.grad.abs().sum() > 0 for maps in stages)


def test_excitation_weighs_each_kind_by_a_share() -> None:
    torch.manual_seed(0)
    network = LandmarkNet(SMALL)
    shares = []
    network.excitation.register_forward_hook(lambda *args: shares.append(args[2]))
    unweighed = []
    network.maps.register_forward_hook(lambda *args: unweighed.append(args[2]))
    found = network(torch.rand(2, 1, 64, 64))
    assert shares[0].shape == (2, len(KINDS))
    assert ((shares[0] > 0) & (shares[0] < 1)).all()
    torch.testing.assert_close(found.maps, unweighed[0] * shares[0][:, :, None, None])


def test_loss_is_the_mean_square_at_the_end_and_at_each_level() -> None:
    at = places([[20.0, 30.0]], [[5.5, 7.25]], [])[None]
    right = Found(
        heat_maps(at, 16, 4, SMALL.sigma_px),
        tuple(heat_maps(at, 64 // stride, stride, SMALL.sigma_px) for stride in STRIDES),
    )
    assert all(loss == 0 for loss in map_losses(right, at, SMALL).values())
    off = Found(right.maps + 0.1, (right.intermediate[0] + 0.2, *right.intermediate[1:]))
    losses = map_losses(off, at, SMALL)
    assert losses["maps"] == pytest.approx(1000 * 0.01, rel=1e-4)
    assert losses["intermediate"] == pytest.approx(SMALL.intermediate_weight * 1000 * 0.04 / 4, rel=1e-4)


def test_learns_where_a_dot_is() -> None:
    torch.manual_seed(0)
    network = LandmarkNet(SMALL)
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, 200)

    def drawn(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        at = torch.rand(count, len(KINDS), 1, 2) * 40 + 12
        at[:, 1:] = torch.nan
        return heat_maps(at[:, 0], 64, 1, 2.0)[:, None] + 0.1 * torch.randn(count, 1, 64, 64), at

    for _ in range(200):
        images, at = drawn(16)
        loss = sum(map_losses(network(images), at, SMALL).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    network.eval()
    images, at = drawn(20)
    with torch.no_grad():
        maps = network(images).maps
    away = []
    for found, true in zip(maps[:, 0].numpy(), at[:, 0, 0].numpy(), strict=True):
        shown = peaks(found, SMALL.map_stride, SMALL.sigma_px, 0.2, 8.0)
        away.append(np.linalg.norm(shown[0].uv_px - true) if shown else np.inf)
    # by chance it would be some 20
    assert np.median(away) < 6.0
    assert maps[:, 1:].max() < 0.3

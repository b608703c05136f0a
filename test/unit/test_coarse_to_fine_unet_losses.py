"""The losses of the coarse-to-fine U-Net against values worked out by hand."""

import math

import pytest

torch = pytest.importorskip("torch")

from lmtrack_ros.models.coarse_to_fine_unet.losses import (  # noqa: E402
    critic_loss,
    deception_loss,
    entropy_loss,
    iou_loss,
    l1_loss,
    ssim_loss,
)


def test_l1_is_the_mean_difference() -> None:
    found, truth = torch.tensor([[0.0, 0.25], [1.0, 0.5]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert l1_loss(found, truth).item() == pytest.approx((0.75 + 0.5) / 4)


def test_iou_of_soft_masks() -> None:
    truth = torch.zeros(1, 4, 4)
    truth[:, :2, :2] = 1.0
    found = 0.5 * torch.ones(1, 4, 4)
    # 4 pixels share 0.5; the union is 0.5 on each of 12, and 1 on each of 4; one pixel is added to both
    assert iou_loss(found, truth).item() == pytest.approx(1 - (2 + 1) / (10 + 1))
    assert iou_loss(truth, truth).item() == pytest.approx(0.0)
    # of each mask by itself, then the mean
    both = iou_loss(torch.cat([found, truth]), torch.cat([truth, truth])).item()
    assert both == pytest.approx((1 - 3 / 11) / 2)


def test_iou_of_nothing_is_to_find_nothing() -> None:
    none = torch.zeros(1, 4, 4)
    assert iou_loss(none, none).item() == pytest.approx(0.0)
    assert iou_loss(none + 0.5, none).item() == pytest.approx(1 - 1 / 9)


def test_ssim_of_even_masks() -> None:
    """Without any spread, the second factor of equation (7) is 1."""
    found, truth = torch.full((16, 16), 0.5), torch.ones(16, 16)
    expected = 1 - (2 * 0.5 * 1.0 + 1e-4) / (0.25 + 1.0 + 1e-4)
    assert ssim_loss(found, truth).item() == pytest.approx(expected, abs=1e-5)
    assert ssim_loss(truth, truth).item() == pytest.approx(0.0, abs=1e-6)


def test_ssim_of_opposite_stripes() -> None:
    """In an 11 x 11 window of the weights w on stripes one pixel wide."""
    stripes = (torch.arange(11) % 2).float().expand(11, 11)
    weights = torch.exp(-((torch.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    share = (weights[1::2].sum() / weights.sum()).item()
    variance = share * (1 - share)
    first = (2 * share * (1 - share) + 1e-4) / (share**2 + (1 - share) ** 2 + 1e-4)
    second = (-2 * variance + 9e-4) / (2 * variance + 9e-4)
    assert ssim_loss(stripes, 1 - stripes).item() == pytest.approx(1 - first * second, abs=1e-5)


def test_both_masks_are_judged_by_cross_entropy_the_coarse_one_most_where_there_is_tumour() -> None:
    truth = torch.tensor([1.0, 0.0])
    coarse, refined = torch.tensor([0.0, math.log(3.0)]), torch.tensor([math.log(3.0), 0.0])
    of_coarse = (3 * math.log(2.0) + math.log(4.0)) / 2
    of_refined = (math.log(4.0 / 3.0) + math.log(2.0)) / 2
    assert entropy_loss(coarse, refined, truth).item() == pytest.approx(of_coarse + of_refined)


def steep(slope: float) -> "torch.nn.Module":
    """Return a critic whose score is the sum of the masks times a slope."""
    critic = torch.nn.Module()
    critic.slope = torch.nn.Parameter(torch.tensor(slope))
    critic.forward = lambda masks: critic.slope * masks.flatten(1).sum(1)  # type: ignore[method-assign]
    return critic


def test_critic_is_to_score_truth_higher_with_a_gradient_of_length_one() -> None:
    truth = torch.ones(2, 3, 1, 2, 2)
    found = torch.zeros_like(truth)
    shares = torch.tensor([0.3, 0.8])
    # 12 pixels: scores 0 and 12 s, a gradient of s on each
    slope = 0.5
    loss = critic_loss(steep(slope), found, truth, shares, 10.0)
    assert loss.item() == pytest.approx(-12 * slope + 10 * (slope * math.sqrt(12) - 1) ** 2, rel=1e-5)


def test_gradient_is_penalised_between_found_and_true() -> None:
    """A score of half the squared sum has the sum itself as each pixel's gradient."""
    truth, found = torch.ones(1, 1, 1, 1, 4), torch.zeros(1, 1, 1, 1, 4)

    def critic(masks: "torch.Tensor") -> "torch.Tensor":
        return masks.flatten(1).sum(1) ** 2 / 2

    # at a share of 0.25 the sum is 1, the gradient's length 2
    loss = critic_loss(critic, found, truth, torch.tensor([0.25]), 10.0)
    assert loss.item() == pytest.approx(0.0 - 8.0 + 10 * (2 - 1) ** 2)


def test_generator_is_to_be_scored_high() -> None:
    assert deception_loss(steep(2.0), torch.ones(1, 1, 1, 1, 3)).item() == pytest.approx(-6.0)

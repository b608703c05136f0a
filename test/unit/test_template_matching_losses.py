"""The losses are equation (2) of the paper as printed, and its Laplace counterpart."""

import math

import pytest

torch = pytest.importorskip("torch")

from lmtrack_ros.models.template_matching.losses import LOSSES, laplace_nll, match_loss, normal_nll  # noqa: E402
from lmtrack_ros.models.template_matching.network import Found  # noqa: E402


def found(place: torch.Tensor, sigma: torch.Tensor) -> Found:
    return Found(place, sigma, None)


def pairs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(1)
    place, true = (100 * torch.rand(2, 3, 2, generator=chance) for _ in range(2))
    return place, 1 + 10 * torch.rand(2, 3, 2, generator=chance), true


def test_normal_is_equation_2_by_hand() -> None:
    place, sigma, true = pairs()
    by_hand = 0.0
    for image in range(2):
        for patch in range(3):
            for axis in range(2):
                p, s, t = (float(v[image, patch, axis]) for v in (place, sigma, true))
                by_hand += (t - p) ** 2 / s**2 + math.log(s)
    assert normal_nll(found(place, sigma), true).item() == pytest.approx(by_hand / 6, rel=1e-5)


def test_laplace_by_hand() -> None:
    place, sigma, true = pairs()
    by_hand = (torch.abs(true - place) / sigma + torch.log(sigma)).sum() / 6
    assert laplace_nll(found(place, sigma), true).item() == pytest.approx(by_hand.item(), rel=1e-5)


@pytest.mark.parametrize(("loss", "factor"), [("normal", math.sqrt(2)), ("laplace", 1.0)])
@pytest.mark.parametrize("error_px", [0.5, 4.0])
def test_what_standard_deviation_is_best_for_an_error(loss: str, factor: float, error_px: float) -> None:
    """Equation (2) lacks the ½, so for the normal distribution it is √2 times the error."""
    true = torch.zeros(1, 1, 2)
    place = torch.full((1, 1, 2), error_px)

    def value(sigma_px: float) -> float:
        return LOSSES[loss](found(place, torch.full((1, 1, 2), sigma_px)), true).item()

    best = factor * error_px
    assert value(best) < min(value(0.97 * best), value(1.03 * best))


def test_match_loss_is_least_where_the_match_is_right() -> None:
    """A distribution of 5 × 5 places over 41 px: one at every 10 px, rows first."""
    place_px = torch.tensor([[[30.0, 10.0]]])
    losses = []
    for index in range(25):
        logits = torch.zeros(1, 1, 25)
        logits[..., index] = 5.0
        losses.append(match_loss(torch.log_softmax(logits, -1), place_px, 41).item())
    assert losses.index(min(losses)) == 1 * 5 + 3
    uniform = torch.full((1, 1, 25), -math.log(25))
    assert match_loss(uniform, place_px, 41).item() == pytest.approx(math.log(25))

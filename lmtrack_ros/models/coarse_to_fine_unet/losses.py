"""The losses of the generator and of the critic (section 3.3)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

_WINDOW_PX, _SIGMA_PX = 11, 1.5
"""Of the neighbourhood of equation (7), as in the paper that introduced the measure (Wang et al. 2004)."""
_STEADY = 0.01**2, 0.03**2
"""Constants of equation (7)."""
_TUMOUR_COUNTS = 3.0
"""Times as much as other tissue in the coarse mask's cross entropy."""
_SMOOTH_PX = 1.0
"""Added to both areas of equation (8), so that an empty mask has a gradient too."""


def l1_loss(found: Tensor, truth: Tensor) -> Tensor:
    """Equation (6): mean difference of masks of any shape."""
    return functional.l1_loss(found, truth)


def ssim_loss(found: Tensor, truth: Tensor) -> Tensor:
    """Equation (7): 1 less the mean structural similarity of masks.

    Args:
        found: (..., H, W) from 0 to 1.
        truth: likewise.
    """
    rows, columns = (_smoothing(length, found) for length in found.shape[-2:])

    def mean(masks: Tensor) -> Tensor:
        return rows @ masks @ columns.T

    of_found, of_truth = mean(found), mean(truth)
    var_found = mean(found * found) - of_found**2
    var_truth = mean(truth * truth) - of_truth**2
    shared = mean(found * truth) - of_found * of_truth
    first, second = _STEADY
    similarity = (2 * of_found * of_truth + first) * (2 * shared + second)
    similarity = similarity / ((of_found**2 + of_truth**2 + first) * (var_found + var_truth + second))
    return 1 - similarity.mean()


def iou_loss(found: Tensor, truth: Tensor) -> Tensor:
    """Equation (8): 1 less the mean intersection over union of soft masks.

    Args:
        found: (..., H, W) from 0 to 1.
        truth: likewise, 0 or 1; where it is empty, so should the found mask be.
    """
    intersection = (found * truth).sum((-2, -1))
    union = (found + truth - found * truth).sum((-2, -1))
    return 1 - ((intersection + _SMOOTH_PX) / (union + _SMOOTH_PX)).mean()


def entropy_loss(coarse: Tensor, refined: Tensor, truth: Tensor) -> Tensor:
    """Cross entropy of both masks, which BASNet has beside equations (7) and (8).

    Where masks are all but empty, equations (6) to (8) lead to finding nothing at all, and hardly away from
    it. In the coarse mask, tumour counts more than the rest: what is missed there nobody refines.

    Args:
        coarse: logits of any shape.
        refined: likewise.
        truth: masks, 0 or 1.
    """
    weight = 1 + (_TUMOUR_COUNTS - 1) * truth
    found = functional.binary_cross_entropy_with_logits(coarse, truth, weight)
    return found + functional.binary_cross_entropy_with_logits(refined, truth)


def critic_loss(
    critic: Callable[[Tensor], Tensor], found: Tensor, truth: Tensor, shares: Tensor, penalty: float
) -> Tensor:
    """Equation (4), as the critic sees it: to be lowered.

    Args:
        critic: from (B, N, 1, H, W) sequences of masks to (B,) scores.
        found: (B, N, 1, H, W) of the generator, without its gradient.
        truth: likewise.
        shares: (B,) from 0 to 1: where between found and truth the gradient is penalised.
        penalty: λ of equation (4).
    """
    mix = shares.reshape(-1, *[1] * (found.ndim - 1))
    between = (mix * truth + (1 - mix) * found).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    norm = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    loss: Tensor = critic(found).mean() - critic(truth).mean() + penalty * ((norm - 1) ** 2).mean()
    return loss


def deception_loss(critic: Callable[[Tensor], Tensor], found: Tensor) -> Tensor:
    """Equation (4), as the generator sees it: to be lowered; (B, N, 1, H, W) with its gradient."""
    return -critic(found).mean()


def _smoothing(length: int, like: Tensor) -> Tensor:
    """Return the (L - 10, L) matrix that weighs neighbours along one axis.

    As products of matrices the means of two axes cost a small part of what a convolution of one channel does.
    """
    offsets = torch.arange(_WINDOW_PX, dtype=like.dtype, device=like.device) - _WINDOW_PX // 2
    weights = torch.exp(-(offsets**2) / (2 * _SIGMA_PX**2))
    weights = weights / weights.sum()
    ends = length - _WINDOW_PX + 1
    matrix = like.new_zeros(ends, length)
    first = torch.arange(ends, device=like.device)[:, None]
    return matrix.scatter(1, first + torch.arange(_WINDOW_PX, device=like.device), weights.expand(ends, -1))

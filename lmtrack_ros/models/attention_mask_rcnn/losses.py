"""Losses of the attention Mask R-CNN with LSTM; a sum over a mini-batch is divided by its size.

The paper's discussion calls the loss of the pixels the large margin loss and that of the proposals the large
margin softmax; here as in section 2.B.2, it is the other way round.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from lmtrack_ros.models.attention_mask_rcnn.boxes import corners

_EPSILON = 1e-6
_LEAST_NORM = 1e-6


def attention_loss(regions: Tensor, found: Tensor, true: Tensor, anchors: Tensor, boxes: Tensor) -> Tensor:
    """Return the loss of equation (1), a scalar.

    Its second term compares U and V, the images in the box that was found and in the true one, pixel by pixel
    of a common grid; N are the pixels that lie in both boxes.

    Args:
        regions: (B, S, S) images that the boxes lie in.
        found: (B, A, 4) parameters o of the box, by anchor.
        true: (B, A, 4) parameters t of the true box.
        anchors: (A, 4) that both are relative to, px of the region.
        boxes: (B, 2, 4) the box that was found and the true one, px of the region.
    """
    parameters = torch.square(true - found).sum(-1).mean()
    return parameters + _patch_difference(regions, boxes)


def _patch_difference(regions: Tensor, boxes: Tensor, grid_px: int = 32) -> Tensor:
    """Return the mean squared difference of the images in two boxes, over the pixels that lie in both."""
    side = regions.shape[-1]
    steps = (torch.arange(grid_px, device=boxes.device) + 0.5) / grid_px - 0.5
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    unit = torch.stack([columns, rows], dim=-1)
    places = boxes[:, :, None, None, :2] + unit * boxes[:, :, None, None, 2:]
    sampled = functional.grid_sample(
        regions[:, None].repeat_interleave(2, 0),
        ((places + 0.5) * (2 / side) - 1).flatten(0, 1),
        align_corners=False,
    )
    one, other = sampled.reshape(-1, 2, grid_px, grid_px).unbind(1)
    # a pixel of one box counts where it lies in the other
    true = corners(boxes)[:, 1, None, None]
    low, high = true[..., :2], true[..., 2:]
    inside = ((places[:, 0] >= low) & (places[:, 0] <= high)).all(-1)
    count = inside.sum((1, 2)).clamp(min=1)
    squares: Tensor = torch.square(one - other) * inside
    return (squares.sum((1, 2)) / count).mean()


def large_margin_loss(scores: Tensor, labels: Tensor, layers: Sequence[Tensor], margin: float) -> Tensor:
    """Return the classification loss of equation (3), a scalar (Elsayed et al. 2018).

    Args:
        scores: (N, 2) f of both classes.
        labels: (N,) the true class t of each; the other one is o.
        layers: (N, D) activations that the scores were computed from: each is supervised.
        margin: γ, the distance from the decision boundary that is asked for.
    """
    true = scores.gather(1, labels[:, None])[:, 0]
    other = scores.gather(1, 1 - labels[:, None])[:, 0]
    excess = other - true
    gradients = torch.autograd.grad(excess.sum(), list(layers), create_graph=True)
    losses = [
        torch.relu(margin + excess / (_EPSILON + torch.linalg.vector_norm(gradient, dim=1))).mean()
        for gradient in gradients
    ]
    return torch.stack(losses).sum()


def large_margin_softmax_loss(
    features: Tensor, weight: Tensor, labels: Tensor, m: int, decay: float
) -> Tensor:
    """Return the loss of the pixels of equation (4), a scalar (Liu et al. 2016).

    Args:
        features: (N, D) x of each pixel.
        weight: (2, D) W of the last layer, which has no bias.
        labels: (N,) 1 of a pixel of the landmark, 0 of any other.
        m: of the angular margin φ.
        decay: λ.
    """
    lengths = torch.linalg.vector_norm(features, dim=1, keepdim=True) * torch.linalg.vector_norm(
        weight, dim=1
    )
    cosines = (features @ weight.T / lengths.clamp(min=_LEAST_NORM)).clamp(-1.0, 1.0)
    is_true = functional.one_hot(labels, 2).bool()
    logits = lengths * torch.where(is_true, angular_margin(cosines, m), cosines)
    return functional.cross_entropy(logits, labels) + decay * torch.square(weight).sum()


def angular_margin(cosine: Tensor, m: int) -> Tensor:
    """Return φ(θ) = (-1)^k cos(mθ) - 2k for θ in [kπ/m, (k+1)π/m], of the cosine of θ."""
    k = torch.floor(m / math.pi * torch.arccos(cosine.detach())).clamp(0, m - 1)
    sign = 1 - 2 * torch.remainder(k, 2)
    return sign * _chebyshev(cosine, m) - 2 * k


def _chebyshev(cosine: Tensor, m: int) -> Tensor:
    """Return cos(mθ) as a polynomial in cos θ, which has a gradient everywhere."""
    before, now = torch.ones_like(cosine), cosine
    for _ in range(m - 1):
        before, now = now, 2 * cosine * now - before
    return now


def box_loss(found: Tensor, true: Tensor) -> Tensor:
    """Return the loss of the boxes' centres of equation (5), a scalar.

    Args:
        found: (N, 2) o_x and o_y.
        true: (N, 2) t_x and t_y.
    """
    return functional.smooth_l1_loss(found, true, reduction="sum") / max(1, len(found))

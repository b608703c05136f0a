"""Losses of the template matching network."""

import torch
from torch import Tensor

from lmtrack_ros.models.template_matching.network import Found


def normal_nll(found: Found, place_px: Tensor) -> Tensor:
    """Return the negative log-likelihood of equation (2), a scalar: mean over patches, sum over x and y.

    As printed, equation (2) lacks the ½ before the squared error, so its minimum lies at σ̂ = √2 times the
    standard deviation of the error. It is kept as printed; the calibration of the radius takes care of it.

    Args:
        found: by the network.
        place_px: (B, N, 2) where the patches were drawn, px.
    """
    away = (found.place_px - place_px) / found.sigma_px
    return (torch.square(away) + torch.log(found.sigma_px)).sum(-1).mean()


def laplace_nll(found: Found, place_px: Tensor) -> Tensor:
    """Return the same for a Laplace distribution of scale σ̂, the ablation of section III.E.4."""
    away = torch.abs(found.place_px - place_px) / found.sigma_px
    return (away + torch.log(found.sigma_px)).sum(-1).mean()


LOSSES = {"normal": normal_nll, "laplace": laplace_nll}


def match_loss(log_shares: Tensor, place_px: Tensor, image_px: int) -> Tensor:
    """Return the cross-entropy of the matching with the place that each patch was drawn at, a scalar.

    Not of the paper. It tells a small network early on what its matching is for.

    Args:
        log_shares: (B, N, h·w) of the matching.
        place_px: (B, N, 2) where the patches were drawn, px.
        image_px: side of the image.
    """
    side = round(log_shares.shape[-1] ** 0.5)
    column, row = (place_px * ((side - 1) / (image_px - 1))).round().long().unbind(-1)
    return -log_shares.gather(-1, (row * side + column)[..., None]).mean()

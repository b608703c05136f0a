"""How well found masks agree with true ones (section 4): overlap and distance of the centres."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FOUND = 0.5
"""A pixel whose output is more than this is found to be tumour."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Agreement:
    """Of N frames with a tumour.

    Attributes:
        iou: (N,) intersection over union.
        dice: (N,) coefficient.
        away_mm: (N, 2) from the true to the found centroid along columns and rows; NaN where nothing is
            found.
    """

    iou: Array
    dice: Array
    away_mm: Array


class Figures(NamedTuple):
    """Of some frames, as section 4 of the paper has them.

    Attributes:
        iou: mean intersection over union.
        dice: mean coefficient.
        vertical_mm: mean distance of the centroids along rows, where something is found.
        horizontal_mm: along columns.
        missed: share of the frames in which nothing is found.
    """

    iou: float
    dice: float
    vertical_mm: float
    horizontal_mm: float
    missed: float


def figures(of: Sequence[Agreement]) -> Figures:
    """Return the figures of all frames together."""
    iou, dice = (np.concatenate([getattr(one, name) for one in of]) for name in ("iou", "dice"))
    away = np.abs(np.concatenate([one.away_mm for one in of]))
    found = np.isfinite(away).all(axis=1)
    horizontal, vertical = away[found].mean(axis=0).tolist() if found.any() else (np.nan, np.nan)
    return Figures(float(iou.mean()), float(dice.mean()), vertical, horizontal, float(1 - found.mean()))


def agreement(found: Tensor, truth: Tensor, spacing_mm: float) -> Agreement:
    """Return how (N, H, W) outputs from 0 to 1 agree with masks that are not empty."""
    inside, true = found > FOUND, truth > FOUND
    both = (inside & true).sum((-2, -1)).double()
    either = (inside | true).sum((-2, -1)).double()
    away = (centroids(inside) - centroids(true)) * spacing_mm
    return Agreement((both / either).numpy(), (2 * both / (both + either)).numpy(), away.numpy())


def centroids(masks: Tensor) -> Tensor:
    """Return the (N, 2) mean column and row of (N, H, W) masks; NaN of an empty one."""
    height, width = masks.shape[-2:]
    weight = masks.double()
    total = weight.sum((-2, -1))
    columns = (weight.sum(-2) * torch.arange(width)).sum(-1) / total
    rows = (weight.sum(-1) * torch.arange(height)).sum(-1) / total
    return torch.stack([columns, rows], -1)

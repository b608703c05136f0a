"""Landmarks as maps with a Gaussian at each (Training), and landmarks from such maps (Results)."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_SMALL = 1e-6


def heat_maps(places_px: Tensor, side: int, stride: float, sigma_px: float) -> Tensor:
    """Return maps that are 1 at each landmark and fall off as a Gaussian; where two meet, the greater counts.

    Args:
        places_px: (..., N, 2) column and row of landmarks of one kind in the image, NaN of none.
        side: of the maps.
        stride: pixels of the image to one of the map.
        sigma_px: of the Gaussian, pixels of the image; at least one of the map is taken.

    Returns:
        (..., side, side).
    """
    centres = (torch.arange(side, device=places_px.device) + 0.5) * stride - 0.5
    away = (places_px[..., None] - centres) / max(sigma_px, stride)
    columns, rows = torch.exp(-0.5 * away**2).nan_to_num(0.0).unbind(-2)
    return (rows[..., :, None] * columns[..., None, :]).amax(-3)


@dataclass(frozen=True, eq=False)
class Peak:
    """A landmark that a map shows.

    Attributes:
        uv_px: (2,) column and row in the image.
        height: of the peak; 1 where the network is certain.
        sigma_px: (2,) by how much the peak is wider than the Gaussian that was learnt, pixels of the image. A
            network that minimises the mean square shows that Gaussian, smeared by how uncertain it is.
    """

    uv_px: NDArray[np.float64]
    height: float
    sigma_px: NDArray[np.float64]


def peaks(
    found: NDArray[np.float32], stride: float, sigma_px: float, least: float, apart_px: float
) -> list[Peak]:
    """Return the maxima of a map, the highest first, without those that are less than others near them.

    Non-maximum suppression in a window that slides over the map; the place is the vertex of the parabola
    through the logarithms of maximum and neighbours, exact for a Gaussian.

    Args:
        found: (H, W).
        stride: pixels of the image to one of the map.
        sigma_px: of the Gaussian that was learnt, as for :func:`heat_maps`.
        least: height of a peak.
        apart_px: half the window's side, pixels of the image.
    """
    window = 2 * max(1, round(apart_px / stride)) + 1
    greatest = cv2.dilate(found, np.ones((window, window), np.uint8))
    rows, columns = np.nonzero((found == greatest) & (found >= least))
    logs = np.log(np.maximum(found, _SMALL))
    learnt_px = max(sigma_px, stride)
    shown = []
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        across = _vertex(logs[row, :], column)
        along = _vertex(logs[:, column], row)
        uv = (np.array([column + across[0], row + along[0]]) + 0.5) * stride - 0.5
        widths_px2 = np.array([across[1], along[1]]) * stride**2
        sigma = np.sqrt(np.maximum(widths_px2 - learnt_px**2, 0.0))
        shown.append(Peak(uv, float(found[row, column]), sigma))
    return sorted(shown, key=lambda one: -one.height)


def _vertex(logs: NDArray[np.float32], at: int) -> tuple[float, float]:
    """Return where the parabola through a maximum and its neighbours is highest, from it on; its variance."""
    if not 0 < at < len(logs) - 1:
        return 0.0, np.inf
    before, here, after = (float(logs[i]) for i in (at - 1, at, at + 1))
    bend = 2 * here - before - after
    if bend <= _SMALL:
        return 0.0, np.inf
    return float(np.clip(0.5 * (after - before) / bend, -0.5, 0.5)), 1 / bend

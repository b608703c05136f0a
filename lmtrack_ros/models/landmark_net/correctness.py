"""Which landmarks are found: percentage of correct keypoints (Results, table 2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Array = NDArray[np.float64]

CORRECT_PX = 8.0
"""In an image of 384 x 384 pixels."""
THRESHOLDS_PX = (4.0, 6.0, 8.0, 10.0, 12.0)
"""Fig. 4 a."""


@dataclass(frozen=True, eq=False)
class Matches:
    """Of the landmarks of one kind in one image.

    Attributes:
        away_px: (T,) distance of each true one from the one found for it; infinite where there is none.
        false: how many were found that are none.
    """

    away_px: Array
    false: int


def matches(true_px: Array, found_px: Array, most_px: float) -> Matches:
    """Return which of (F, 2) found landmarks are which of (T, 2) true ones, each at most once.

    Args:
        true_px: column and row.
        found_px: likewise.
        most_px: distance from which on one is not the other.
    """
    away = np.linalg.norm(true_px[:, None] - found_px[None], axis=-1)
    # the sum is least where all that can be matched is
    rows, columns = linear_sum_assignment(np.minimum(away, most_px))
    of = np.full(len(true_px), np.inf)
    near = away[rows, columns] < most_px
    of[rows[near]] = away[rows[near], columns[near]]
    return Matches(of, len(found_px) - int(near.sum()))


@dataclass(frozen=True)
class Correctness:
    """Of one kind of landmark in some images.

    Attributes:
        of_landmarks: share of the true ones that are found within each of :data:`THRESHOLDS_PX`.
        of_patients: share of the images in which at least one is, likewise.
        mean_px: mean distance of those that are found.
        false: found ones that are none, per image.
        landmarks: how many there are.
        images: in how many images.
    """

    of_landmarks: tuple[float, ...]
    of_patients: tuple[float, ...]
    mean_px: float
    false: float
    landmarks: int
    images: int


def correctness(every: Sequence[Matches]) -> Correctness:
    """Return the figures of images; those without such a landmark count for what is found there wrongly."""
    shown = [one.away_px for one in every if len(one.away_px)]
    away = np.concatenate([*shown, np.zeros(0)])
    near = away[np.isfinite(away)]
    return Correctness(
        tuple(float(np.mean(away < limit)) for limit in THRESHOLDS_PX),
        tuple(float(np.mean([one.min() < limit for one in shown])) for limit in THRESHOLDS_PX),
        float(near.mean()) if len(near) else np.nan,
        sum(one.false for one in every) / max(len(every), 1),
        len(away),
        len(shown),
    )

"""What the places that were found say of a method."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.evaluation.detection_study.radiographs import Radiographs

_RESAMPLES = 4000
_LIMITS = (2.5, 97.5)


@dataclass(frozen=True)
class Score:
    """Errors in pixels of the radiographs, over draws of examples, patients and landmarks.

    Attributes:
        mean_px: of the distance.
        std_px: of the same.
        max_px: of the same.
        interval_px: of the mean, 95 %, bootstrap over patients.
        by_landmark_px: mean of each.
    """

    mean_px: float
    std_px: float
    max_px: float
    interval_px: tuple[float, float]
    by_landmark_px: tuple[float, ...]


def distances_px(found_px: NDArray[np.float64], truth: Radiographs) -> NDArray[np.float64]:
    """Return (draws, patients, landmarks) distances; for an edge, along its defined axis.

    Args:
        found_px: (draws, patients, landmarks, 2).
        truth: of the patients.
    """
    away = np.where(truth.axes, found_px - truth.uv_px, 0.0)
    # what is not a number stays none, even where its axis does not count
    return np.where(np.isfinite(found_px).all(-1), np.linalg.norm(away, axis=-1), np.nan)


def score(found_px: NDArray[np.float64], truth: Radiographs) -> Score:
    """Return what is told of a method; NaN where one place is not finite."""
    errors = distances_px(found_px, truth)
    return Score(
        float(errors.mean()),
        float(errors.std()),
        float(errors.max()),
        _interval(errors.mean(axis=(0, 2))),
        tuple(errors.mean(axis=(0, 1)).tolist()),
    )


def advantage_px(
    ours_px: NDArray[np.float64], theirs_px: NDArray[np.float64], truth: Radiographs
) -> tuple[float, float, float]:
    """Return by how much the mean error of one method is below another's, with its 95 % interval.

    Both are compared with the same examples on the same patients.

    Args:
        ours_px: (draws, patients, landmarks, 2).
        theirs_px: (fewer or as many draws, patients, landmarks, 2).
        truth: of the patients.
    """
    ours = distances_px(ours_px[: len(theirs_px)], truth)
    by_patient = (distances_px(theirs_px, truth) - ours).mean(axis=(0, 2))
    return float(by_patient.mean()), *_interval(by_patient)


def _interval(by_patient: NDArray[np.float64]) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(by_patient), size=(_RESAMPLES, len(by_patient)))
    low, high = np.percentile(by_patient[drawn].mean(axis=1), _LIMITS).tolist()
    return low, high

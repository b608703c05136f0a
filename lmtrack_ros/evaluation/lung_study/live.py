"""The tracker on cases as it runs live: what it says of the newest frame, and whether that is so."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.configuration import cache_directory
from lmtrack_ros.core.geometry import ImageGeometry, Modality
from lmtrack_ros.core.records import NS_PER_S, Frame, Status
from lmtrack_ros.models.coarse_to_fine_unet.tracker import CoarseToFineUnetTracker
from lmtrack_ros.phantoms import lung_cases
from lmtrack_ros.phantoms.lung_cases import Case, Pictures

FAR_MM = 3.0
_BEGUN_S = 5.0
"""What a breath shows of the first frames is not counted: the stream has just begun."""


@dataclass(frozen=True, eq=False)
class Said:
    """What the tracker says of N frames of a case.

    Attributes:
        case: which.
        pictures: what it looks like.
        status: (N,) values of ``Status``.
        error_mm: (N,) from the centroid of the true mask; infinite where nothing is found, NaN without a
            tumour.
        radius_mm: (N,) reported.
    """

    case: Case
    pictures: Pictures
    status: NDArray[np.int64]
    error_mm: NDArray[np.float64]
    radius_mm: NDArray[np.float64]

    @property
    def is_far(self) -> NDArray[np.bool_]:
        """Whether each error is far; nothing found is far from any tumour."""
        return np.asarray(self.error_mm > FAR_MM)

    @property
    def is_silent(self) -> NDArray[np.bool_]:
        """Whether a far error is what a gate would believe: TRACKED, and not within the radius."""
        return np.asarray(self.is_far & (self.status == Status.TRACKED) & (self.error_mm > self.radius_mm))


def followed(
    tracker: CoarseToFineUnetTracker, cases: Sequence[Case], progress: Callable[[int, int], None]
) -> list[Said]:
    """Return what a tracker says of cases; those of one breath are shown until all of it was counted once.

    Args:
        tracker: of the tumour.
        cases: with a tumour or without.
        progress: told how many cases are done, and how many there are.
    """
    folder = cache_directory("lung_cases")
    found = []
    for done, case in enumerate(cases):
        progress(done, len(cases))
        (pictures,) = lung_cases.load([case], folder)
        found.append(_followed(tracker, case, pictures))
    progress(len(cases), len(cases))
    return found


def _followed(tracker: CoarseToFineUnetTracker, case: Case, pictures: Pictures) -> Said:
    geometry = ImageGeometry(Modality.FLUOROSCOPY, (pictures.spacing_mm, pictures.spacing_mm, 0.0))
    begun = round(_BEGUN_S / case.step_s)
    count = begun + len(pictures.images) if case.is_cycle else len(pictures.images)
    status, error_mm, radius_mm = [], [], []
    for number in range(count):
        shown = number % len(pictures.images)
        stamp_ns = NS_PER_S + round(number * case.step_s * NS_PER_S)
        frame = Frame(stamp_ns, pictures.images[shown], geometry)
        if number == 0:
            tracker.initialize(frame, ())
        (estimate,) = tracker.update(frame).estimates
        if number < begun:
            continue
        status.append(int(estimate.status))
        radius_mm.append(estimate.radius_mm)
        error_mm.append(_error_mm(estimate.uv_px, pictures.masks[shown], pictures.spacing_mm))
    return Said(case, pictures, np.array(status), np.array(error_mm), np.array(radius_mm))


def _error_mm(uv_px: Sequence[float], mask: NDArray[np.bool_], spacing_mm: float) -> float:
    if not mask.any():
        return np.nan
    centre_px = np.argwhere(mask).mean(axis=0)[::-1]
    away_mm = float(np.linalg.norm(np.array(uv_px) - centre_px) * spacing_mm)
    return away_mm if np.isfinite(away_mm) else np.inf

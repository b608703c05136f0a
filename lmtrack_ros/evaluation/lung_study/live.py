"""The tracker on cases as it runs live: what it says of the newest frame, and whether that is so."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.configuration import cache_directory
from lmtrack_ros.core.geometry import ImageGeometry, Modality
from lmtrack_ros.core.records import NS_PER_S, Frame, Status
from lmtrack_ros.models.coarse_to_fine_unet.tracker import CoarseToFineUnetTracker
from lmtrack_ros.phantoms import lung_cases
from lmtrack_ros.phantoms.lung_cases import Case, Pictures

Array = NDArray[np.float64]

FAR_MM = 3.0
_BEGUN_S = 5.0
"""What a breath shows of the first frames is not counted: the stream has just begun."""


HEADINGS = (
    "frames",
    "median mm",
    "mean mm",
    "95 % mm",
    "lost",
    "TRACKED",
    "far",
    "flagged or in radius",
    "believed",
)
EXPLANATION = """\
*Lost* is where nothing is found. *Far* are errors beyond 3 mm and frames in which nothing is found; *flagged*
those of them that are not TRACKED; *believed* those that are, and not within the reported radius: what a gate
would act on."""


@dataclass(frozen=True, eq=False)
class Said:
    """What the tracker says of N frames.

    Attributes:
        status: (N,) values of ``Status``.
        error_mm: (N,) from the true centre; infinite where nothing is found, NaN without a tumour.
        radius_mm: (N,) reported.
    """

    status: NDArray[np.int64]
    error_mm: Array
    radius_mm: Array

    @property
    def is_far(self) -> NDArray[np.bool_]:
        """Whether each error is far; nothing found is far from any tumour."""
        return np.asarray(self.error_mm > FAR_MM)

    @property
    def is_believed(self) -> NDArray[np.bool_]:
        """Whether a far error is what a gate would believe: TRACKED, and not within the radius."""
        return np.asarray(self.is_far & (self.status == Status.TRACKED) & (self.error_mm > self.radius_mm))

    @property
    def claimed(self) -> tuple[Array, Array]:
        """Errors with the radii claimed for them: none where nothing is found."""
        return self.error_mm, np.where(np.isfinite(self.error_mm), self.radius_mm, np.inf)


def cells(every: Sequence[Said]) -> list[str]:
    """Return what stands under :data:`HEADINGS`."""
    if not every:
        return ["0", *["–"] * (len(HEADINGS) - 1)]
    status, error_mm, far, believed = (
        np.concatenate([getattr(one, what) for one in every])
        for what in ("status", "error_mm", "is_far", "is_believed")
    )
    found_mm = error_mm[np.isfinite(error_mm)]
    figures_mm = (*np.quantile(found_mm, (0.5, 0.95)), found_mm.mean()) if len(found_mm) else [np.nan] * 3
    median, high, mean = figures_mm
    return [
        str(len(error_mm)),
        f"{median:.2f}",
        f"{mean:.2f}",
        f"{high:.2f}",
        f"{np.isinf(error_mm).mean():.1%}",
        f"{(status == Status.TRACKED).mean():.1%}",
        f"{far.mean():.1%}",
        f"{1 - believed.sum() / far.sum():.1%}" if far.any() else "–",
        f"{believed.mean():.1%}",
    ]


def told(tracker: CoarseToFineUnetTracker, shown: Iterable[tuple[Frame, Array | None]]) -> Said:
    """Return what a tracker says of a stream that begins with the first frame.

    Args:
        tracker: of the tumour.
        shown: frames with the true (2,) column and row of the tumour's middle; None: there is none.
    """
    status, error_mm, radius_mm = [], [], []
    for number, (frame, true_px) in enumerate(shown):
        if number == 0:
            tracker.initialize(frame, ())
        (estimate,) = tracker.update(frame).estimates
        status.append(int(estimate.status))
        radius_mm.append(estimate.radius_mm)
        error_mm.append(np.nan if true_px is None else _error_mm(frame, estimate.uv_px, true_px))
    return Said(np.array(status), np.array(error_mm), np.array(radius_mm))


def _error_mm(frame: Frame, uv_px: Sequence[float], true_px: Array) -> float:
    assert frame.geometry is not None
    away_px = np.array(uv_px) - true_px
    away_mm = float(np.linalg.norm(away_px * frame.geometry.plane_spacing_mm[:2]))
    return away_mm if np.isfinite(away_mm) else np.inf


@dataclass(frozen=True, eq=False)
class Followed:
    """A case, what it looks like, and what the tracker says of its frames."""

    case: Case
    pictures: Pictures
    said: Said


def followed(
    tracker: CoarseToFineUnetTracker, cases: Sequence[Case], progress: Callable[[int, int], None]
) -> list[Followed]:
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


def _followed(tracker: CoarseToFineUnetTracker, case: Case, pictures: Pictures) -> Followed:
    begun = round(_BEGUN_S / case.step_s)
    count = begun + len(pictures.images) if case.is_cycle else len(pictures.images)
    every = told(tracker, (_shown(case, pictures, number) for number in range(count)))
    counted = Said(every.status[begun:], every.error_mm[begun:], every.radius_mm[begun:])
    return Followed(case, pictures, counted)


def _shown(case: Case, pictures: Pictures, number: int) -> tuple[Frame, Array | None]:
    spacing_mm = pictures.spacing_mm
    geometry = ImageGeometry(Modality.FLUOROSCOPY, (spacing_mm, spacing_mm, 0.0))
    stamp_ns = NS_PER_S + round(number * case.step_s * NS_PER_S)
    phase = number % len(pictures.images)
    mask = pictures.masks[phase]
    true_px = np.argwhere(mask).mean(axis=0)[::-1] if mask.any() else None
    return Frame(stamp_ns, pictures.images[phase], geometry), true_px

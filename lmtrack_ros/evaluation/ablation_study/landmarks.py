"""Within-subject tracking of known landmarks by the network alone, without refinement."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.geometry import ImageGeometry, Modality
from lmtrack_ros.core.records import Frame
from lmtrack_ros.evaluation.bootstrap import mean_interval
from lmtrack_ros.models.parts import Part
from lmtrack_ros.models.template_matching.images import PHANTOMS, phantom_pool
from lmtrack_ros.models.tracking import Measuring
from lmtrack_ros.phantoms.mr import MrPhantom
from lmtrack_ros.phantoms.phantom import marked
from lmtrack_ros.training.calibration import TrueSequence, measured


@dataclass(frozen=True, eq=False)
class LandmarkErrors:
    """Of one sequence, over its landmarks and frames; NaN where a landmark was not found.

    Attributes:
        error_px: (N,) Euclidean, over the axes on which a landmark is defined.
        error_mm: (N,) likewise.
        moved_mm: (N,) how far the landmark is from where it was marked, likewise.
    """

    error_px: NDArray[np.float64]
    error_mm: NDArray[np.float64]
    moved_mm: NDArray[np.float64]


def pooled(errors: Sequence[LandmarkErrors]) -> LandmarkErrors:
    """Return the errors of all sequences as those of one."""
    return LandmarkErrors(
        np.concatenate([e.error_px for e in errors]),
        np.concatenate([e.error_mm for e in errors]),
        np.concatenate([e.moved_mm for e in errors]),
    )


def mean_interval_mm(errors: Sequence[LandmarkErrors]) -> tuple[float, float]:
    """Return the 95 % interval of the mean over all errors, by bootstrap over the sequences."""
    return mean_interval([e.error_mm for e in errors])


def landmark_errors(tracker: Measuring, sequence: TrueSequence) -> LandmarkErrors:
    """Return how far from the truth the first measurement of each landmark is, in every frame but the first.

    Raises:
        UserError: the pixel spacing is unknown, or a landmark cannot be marked.
    """
    away_px, moved_px = [], []
    for landmark, true_px, found in measured(tracker, sequence):
        uv_px = found[0].uv_px if found else np.full(2, np.nan)
        away_px.append((uv_px - true_px) * np.array(landmark.axes))
        moved_px.append((landmark.uv_px - true_px) * np.array(landmark.axes))
    spacing_mm = np.array(sequence.geometry.plane_spacing_mm[:2])
    away, moved = (np.array(vectors).reshape(-1, 2) for vectors in (away_px, moved_px))
    lengths = (np.linalg.norm(v, axis=1) for v in (away, away * spacing_mm, moved * spacing_mm))
    return LandmarkErrors(*lengths)


def phantom_patients(data: str) -> Iterator[TrueSequence]:
    """Yield the MR phantoms whose images the test set of a data set is made of."""
    pool = phantom_pool(PHANTOMS[data], Part.TEST)
    for index in range(len(pool)):
        kept = pool.load(index)
        column_mm, row_mm, slice_mm = kept.spacing_mm.tolist()
        geometry = ImageGeometry(Modality.MR, (column_mm, row_mm, slice_mm))
        frames = [Frame(number, image, geometry) for number, image in enumerate(kept.images, 1)]
        marks = [dict(enumerate(map(tuple, uv_px.tolist()))) for uv_px in kept.uv_px.values()]
        landmarks = [
            marked(name, mark[0], MrPhantom.edges) for name, mark in zip(kept.uv_px, marks, strict=True)
        ]
        said = kept.parameters
        yield TrueSequence(f"{said.preset} {said.seed}", frames, landmarks, marks)

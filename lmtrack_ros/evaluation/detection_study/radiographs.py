"""Radiographs with known landmarks: examples to learn from, and targets to find the landmarks in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.models.parts import Part
from lmtrack_ros.models.template_matching.images import PHANTOMS, phantom_pool

_DATA = PHANTOMS["radiograph"]
EXAMPLE_SEEDS = (range(5000, 5020),)
TARGET_SEEDS = (_DATA.seeds[Part.TEST], range(5100, 5130))
"""Patients that no network is trained on."""
EDGES = frozenset({"dome_right", "dome_left"})
"""Landmarks of which only the row is defined, as the phantom says."""


@dataclass(frozen=True, eq=False)
class Radiographs:
    """One radiograph of each of several patients.

    Attributes:
        images: (N, H, W) uint8.
        uv_px: (N, L, 2) column and row of every landmark, px.
        axes: (L, 2) whether column and row of a landmark are defined; only the row of an edge is.
        landmarks: their L names.
        spacing_mm: pixel pitch in the isocentre plane.
    """

    images: NDArray[np.uint8]
    uv_px: NDArray[np.float64]
    axes: NDArray[np.bool_]
    landmarks: tuple[str, ...]
    spacing_mm: float

    def __len__(self) -> int:
        """Return how many patients there are."""
        return len(self.images)

    def __getitem__(self, chosen: Sequence[int] | NDArray[Any] | slice) -> "Radiographs":
        """Return those of some patients."""
        index = chosen if isinstance(chosen, slice) else np.asarray(chosen, dtype=int)
        return Radiographs(self.images[index], self.uv_px[index], self.axes, self.landmarks, self.spacing_mm)


def unlabelled() -> NDArray[np.uint8]:
    """Return the (N, H, W) radiographs that the model is trained on, all frames of all patients."""
    pool = phantom_pool(_DATA, Part.TRAINING)
    return np.concatenate([pool.load(index).images for index in range(len(pool))])


def labelled(seeds: Sequence[range], on_patient: Callable[[int, int], None]) -> Radiographs:
    """Return one radiograph of each patient, at another phase of breathing from one to the next.

    Args:
        seeds: of the patients.
        on_patient: called with how many are there, and how many there will be.
    """
    images, uv_px = [], []
    count = sum(map(len, seeds))
    for some in seeds:
        pool = phantom_pool(replace(_DATA, seeds={Part.TEST: some}), Part.TEST)
        for index in range(len(pool)):
            sequence = pool.load(index)
            frame = index % len(sequence.images)
            images.append(np.asarray(sequence.images[frame]))
            uv_px.append([at_px[frame] for at_px in sequence.uv_px.values()])
            on_patient(len(images), count)
    landmarks = tuple(sequence.uv_px)
    axes = np.array([[name not in EDGES, True] for name in landmarks])
    return Radiographs(np.stack(images), np.array(uv_px), axes, landmarks, float(sequence.spacing_mm[0]))

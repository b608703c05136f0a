"""From an output of the generator to the tumours that it may show."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.models.coarse_to_fine_unet.agreement import FOUND

Grey = NDArray[np.float32]

_SUSPECTED = 0.25
"""What joins the pixels of one candidate: at least this, and somewhere :data:`.FOUND`."""
_LEAST_PX = 4.0
"""A candidate whose pixels' outputs add up to less is none."""
_FLOOR_PX, _FLOOR_SHARE = 0.5, 0.05
"""Least standard deviation of a centroid, and what of the diameter is added: an outline may be off to one
side by more than it hesitates, most of all that of a large tumour, of which ribs and heart hide a part."""
_NEAR = 1.5
"""Of the diameter, how far from its centroid a candidate may reach."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One tumour that an output may show.

    Attributes:
        centroid_px: (2,) column and row of its outputs' centre.
        sigma_px: (2,) uncalibrated standard deviation of either.
        area_px: sum of its outputs.
        clarity: mean of its outputs: of a clear outline nearly 1.
        output: (S, S) its own part, 0 elsewhere.
    """

    centroid_px: NDArray[np.float64]
    sigma_px: NDArray[np.float64]
    area_px: float
    clarity: float
    output: Grey


def candidates(output: Grey) -> list[Candidate]:
    """Return what an (S, S) output may show, the largest first."""
    count, labels = cv2.connectedComponents((output > _SUSPECTED).astype(np.uint8))
    found = []
    for label in range(1, count):
        part = np.where(labels == label, output, np.float32(0))
        if part.max() > FOUND and part.sum() >= _LEAST_PX:
            found.append(_candidate(part, output))
    return sorted(found, key=lambda one: -one.area_px)


def _candidate(part: Grey, output: Grey) -> Candidate:
    """Return a candidate with how its centroid would vary if every pixel were tumour by its output's chance.

    Also pixels round it count, where the network hesitates. What is farther away is another one, or none.
    """
    rows, columns = np.indices(part.shape)
    places = np.stack([columns, rows], axis=-1)
    area_px = float(part.sum())
    centroid = np.tensordot(part, places, 2) / area_px
    pixels = np.count_nonzero(part)
    diameter_px = 2 * np.sqrt(pixels / np.pi)
    off_px2 = np.square(places - centroid)
    doubt = np.where(off_px2.sum(axis=-1) < (_NEAR * diameter_px) ** 2, output * (1.0 - output), 0.0)
    variance = np.tensordot(doubt, off_px2, 2) / area_px**2
    sigma_px = np.sqrt(variance + _FLOOR_PX**2 + np.square(_FLOOR_SHARE * diameter_px))
    return Candidate(centroid, sigma_px, area_px, area_px / pixels, part)

"""Radiographs to train on, to validate and to test with: phantoms in many poses."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmtrack_ros.configuration import cache_directory
from lmtrack_ros.models.grey import scaled, to_bytes
from lmtrack_ros.models.landmark_net import KINDS
from lmtrack_ros.models.parts import Part
from lmtrack_ros.models.trainee import Gathered
from lmtrack_ros.models.views import View
from lmtrack_ros.phantoms import portal_cases
from lmtrack_ros.phantoms.portal import LANDMARK_NAMES, SIZE_PX
from lmtrack_ros.phantoms.portal_cases import POSES, VIEWS

_PATIENTS = {
    Part.TRAINING: range(20000, 20200),
    Part.VALIDATION: range(21000, 21015),
    Part.TEST: range(22000, 22045),
}


@dataclass(frozen=True, eq=False)
class Radiographs:
    """Images with their landmarks, in the network's square.

    Attributes:
        images: (N, S, S) uint8; ``grey.from_bytes`` returns their values.
        places_px: (N, K, M, 2) column and row of the landmarks of each kind; NaN of none.
        views: (N,) number of the view, of ``portal_cases.VIEWS``.
        patients: (N,) number of the patient, each pose another one.
        subjects: how many anatomies there are.
        spacing_mm: pixel pitch of the square in the isocentre plane.
    """

    images: Tensor
    places_px: Tensor
    views: Tensor
    patients: Tensor
    subjects: int
    spacing_mm: float

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.images)


def seeds_of(part: Part) -> range:
    """Return the seeds of the anatomies of one part."""
    return _PATIENTS[part]


def radiographs(part: Part, image_px: int, gathered: Gathered) -> Radiographs:
    """Return the radiographs of one part.

    Args:
        part: wanted.
        image_px: side of the square.
        gathered: told how far they are.

    Raises:
        UserError: what is rendered cannot be kept.
    """
    seeds = seeds_of(part)
    every = portal_cases.load(
        seeds, cache_directory("portal_cases"), lambda done: gathered(part.value, done, len(seeds))
    )
    view = View.whole((SIZE_PX, SIZE_PX), image_px)
    count = POSES * len(VIEWS)
    images = np.zeros((len(seeds), count, image_px, image_px), np.uint8)
    for subject, one in enumerate(every):
        for number, image in enumerate(one.images.reshape(count, SIZE_PX, SIZE_PX)):
            images[subject, number] = to_bytes(view.of(scaled(image)))
    uv_px = view.to_view(np.stack([one.uv_px for one in every]).reshape(-1, len(LANDMARK_NAMES), 2))
    patients = np.repeat(np.arange(len(seeds) * POSES), len(VIEWS))
    return Radiographs(
        torch.from_numpy(images).flatten(0, 1),
        by_kind(uv_px),
        torch.arange(len(VIEWS)).repeat(len(seeds) * POSES),
        torch.from_numpy(patients),
        len(seeds),
        VIEWS[0].geometry.plane_spacing_mm[0] * view.scale,
    )


def by_kind(uv_px: NDArray[np.float64], names: Sequence[str] = LANDMARK_NAMES) -> Tensor:
    """Return (N, K, M, 2) places of (N, L, 2) named ones, those of a kind side by side, NaN of none."""
    of_kind = [[i for i, name in enumerate(names) if name.startswith(kind)] for kind in KINDS]
    most = max(map(len, of_kind))
    places = np.full((len(uv_px), len(KINDS), most, 2), np.nan, np.float32)
    for kind, mine in enumerate(of_kind):
        places[:, kind, : len(mine)] = uv_px[:, mine]
    return torch.from_numpy(places)

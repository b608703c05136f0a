"""Volumes to train on, to validate and to test with: phantoms, each seed another subject."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmtrack_ros.configuration import cache_directory
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.models.parts import Part
from lmtrack_ros.models.patch_iterative.configuration import PatchIterativeConfiguration
from lmtrack_ros.models.patch_iterative.data import Annotated, annotated, mirrored_order
from lmtrack_ros.models.patch_iterative.patches import grey_of
from lmtrack_ros.models.trainee import Gathered
from lmtrack_ros.phantoms import head_cases
from lmtrack_ros.phantoms.volume_ultrasound.head import LANDMARKS as OF_THE_HEAD

_ROWS = 1


@dataclass(frozen=True)
class Population:
    """Subjects of one kind.

    Attributes:
        seeds: of the subjects of each part.
        side_axis: along which their left and right are: 0 columns, 1 rows, 2 slices.
    """

    seeds: Mapping[Part, range]
    side_axis: int


POPULATIONS = {
    "fetal_head": Population(
        {
            # 70 % of 72, as in the paper; those to validate with are others
            Part.TRAINING: range(30000, 30050),
            Part.TEST: range(30050, 30072),
            Part.VALIDATION: range(30072, 30080),
        },
        _ROWS,
    ),
}


def volumes(data: str, part: Part, c: PatchIterativeConfiguration, gathered: Gathered) -> list[Annotated]:
    """Return the volumes of one part of a population.

    Args:
        data: name of the population.
        part: wanted.
        c: sizes, and which landmarks.
        gathered: told how far they are.

    Raises:
        UserError: it has no such landmarks, or what is rendered cannot be kept.
    """
    if missing := [name for name in c.landmarks if name not in OF_THE_HEAD]:
        raise UserError(f"{data} has no landmark '{missing[0]}'")
    seeds = POPULATIONS[data].seeds[part]
    every = []
    wanted = [OF_THE_HEAD.index(name) for name in c.landmarks]
    for done, seed in enumerate(seeds, 1):
        (case,) = head_cases.load([seed], cache_directory("head_cases"))
        every.append(_annotated(case.volume, case.uvw_px[wanted], (head_cases.SPACING_MM,) * 3, c))
        gathered(part.value, done, len(seeds))
    return every


def mirror(data: str, c: PatchIterativeConfiguration) -> tuple[int, Tensor] | None:
    """Return how volumes of a population may be mirrored: the axis, and the order of the landmarks then."""
    order = mirrored_order(c.landmarks)
    return None if order is None else (POPULATIONS[data].side_axis, order)


def _annotated(
    volume: NDArray[np.uint8],
    uvw_px: NDArray[np.float64],
    spacing_mm: Sequence[float],
    c: PatchIterativeConfiguration,
) -> Annotated:
    middle_px = (np.array(volume.shape[::-1]) - 1) / 2
    landmarks_mm = torch.from_numpy((uvw_px - middle_px) * spacing_mm)
    return annotated(grey_of(volume, torch.device("cpu")), spacing_mm, landmarks_mm, c)

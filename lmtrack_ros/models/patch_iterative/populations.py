"""Volumes to train on, to validate and to test with: phantoms, each seed another subject."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lmtrack_ros.configuration import cache_directory
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.models.parts import Part
from lmtrack_ros.models.patch_iterative.configuration import PatchIterativeConfiguration
from lmtrack_ros.models.patch_iterative.data import Annotated, Mirror, annotated, mirrored_order
from lmtrack_ros.models.trainee import Gathered
from lmtrack_ros.phantoms import head_cases
from lmtrack_ros.phantoms.pool import Pool
from lmtrack_ros.phantoms.prostate import LANDMARKS as OF_THE_PROSTATE
from lmtrack_ros.phantoms.volume_ultrasound.head import LANDMARKS as OF_THE_HEAD

_PROSTATE_VOLUMES, _BETWEEN_S = 2, 50.0
"""Of each gland, and how long after one another."""
_COLUMNS, _ROWS = 0, 1


@dataclass(frozen=True, eq=False)
class Shown:
    """A volume with what is known of it.

    Attributes:
        volume: (D, H, W).
        uvw_px: (L, 3) column, row and slice of its landmarks.
        spacing_mm: (3,) pitch along columns, rows and slices.
    """

    volume: NDArray[Any]
    uvw_px: NDArray[np.float64]
    spacing_mm: tuple[float, ...]


@dataclass(frozen=True)
class Population:
    """Subjects of one kind.

    Attributes:
        landmarks: their names.
        seeds: of the subjects of each part.
        side_axis: along which left and right are: 0 columns, 1 rows, 2 slices.
        shown: yields the volumes of a subject.
    """

    landmarks: tuple[str, ...]
    seeds: Mapping[Part, range]
    side_axis: int
    shown: Callable[[int], Iterator[Shown]]


def _heads(seed: int) -> Iterator[Shown]:
    for case in head_cases.load([seed], cache_directory("head_cases")):
        yield Shown(case.volume, case.uvw_px, (head_cases.SPACING_MM,) * 3)


def _prostates(seed: int) -> Iterator[Shown]:
    pool = Pool(
        "prostate",
        ("prostate",),
        (seed,),
        _PROSTATE_VOLUMES,
        cache_directory("pool"),
        rate_hz=1 / _BETWEEN_S,
        with_masks=False,
    )
    sequence = pool.load(0)
    for number, image in enumerate(sequence.images):
        uvw_px = np.stack([sequence.uv_px[name][number] for name in OF_THE_PROSTATE])
        yield Shown(np.asarray(image), uvw_px, tuple(sequence.spacing_mm.tolist()))


POPULATIONS = {
    "prostate": Population(
        OF_THE_PROSTATE,
        {
            Part.TRAINING: range(31000, 31160),
            Part.VALIDATION: range(31200, 31212),
            Part.TEST: range(31300, 31340),
        },
        _COLUMNS,
        _prostates,
    ),
    "fetal_head": Population(
        OF_THE_HEAD,
        {
            # 70 % of 72, as in the paper; those to validate with are others
            Part.TRAINING: range(30000, 30050),
            Part.TEST: range(30050, 30072),
            Part.VALIDATION: range(30072, 30080),
        },
        _ROWS,
        _heads,
    ),
}


def check(data: tuple[str, ...], c: PatchIterativeConfiguration) -> None:
    """See that the data is of one kind of organ, and has the landmarks.

    Raises:
        UserError: it is not, or has not.
    """
    if len(data) != 1:
        raise UserError(f"patch_iterative trains on one of {', '.join(POPULATIONS)}, not on several")
    known = POPULATIONS[data[0]].landmarks
    if missing := [name for name in c.landmarks if name not in known]:
        raise UserError(f"{data[0]} has no landmark '{missing[0]}'; '--mode' goes with its own data")


def volumes(data: str, part: Part, c: PatchIterativeConfiguration, gathered: Gathered) -> list[Annotated]:
    """Return the volumes of one part of a population.

    Args:
        data: name of the population.
        part: wanted.
        c: sizes, and which landmarks.
        gathered: told how far they are.

    Raises:
        UserError: what is rendered cannot be kept.
    """
    population = POPULATIONS[data]
    wanted = [population.landmarks.index(name) for name in c.landmarks]
    every, seeds = [], population.seeds[part]
    for done, seed in enumerate(seeds, 1):
        every += [as_seen(one, wanted, c) for one in population.shown(seed)]
        gathered(part.value, done, len(seeds))
    return every


def mirror(data: str, c: PatchIterativeConfiguration) -> Mirror | None:
    """Return how volumes of a population are mirrored; None where a configuration leaves them as they are."""
    order = mirrored_order(c.landmarks) if c.turned_deg else None
    return None if order is None else (POPULATIONS[data].side_axis, order)


def as_seen(one: Shown, wanted: list[int], c: PatchIterativeConfiguration) -> Annotated:
    """Return a volume as networks of a configuration see it, with some of its landmarks."""
    middle_px = (np.array(one.volume.shape[::-1]) - 1) / 2
    landmarks_mm = torch.from_numpy((one.uvw_px[wanted] - middle_px) * one.spacing_mm)
    return annotated(one.volume, one.spacing_mm, landmarks_mm, c)

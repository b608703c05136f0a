"""Training clips: some successive frames round a landmark, and the frame it was marked on.

From folders of annotated sequences, in the layout of the CLUST challenge or with ``landmarks.csv``. The last
frame of a clip is annotated; where the landmark is in those before follows from a cubic spline through the
annotations, and says only where to look: no loss is taken there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from torch import Tensor

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.models.grey import from_bytes, scaled, to_bytes
from lmtrack_ros.models.views import View
from lmtrack_ros.sources import clust, open_source
from lmtrack_ros.sources.annotations import Annotation, read_annotations

_MOST_OF_A_LANDMARK = 48
"""Clips, evenly over its sequence."""
_LEAST_MARKS = 4
"""For a spline."""


@dataclass(frozen=True, eq=False)
class Clips:
    """Clips of several landmarks.

    Attributes:
        frames: (N, F, C, C) uint8, squares round the landmark's place in the last of F successive frames.
        places_px: (N, F, 2) of the landmark in them.
        references: (N, C, C) uint8, round the landmark in the frame of marking.
        sequences: how many they are from.
    """

    frames: Tensor
    places_px: Tensor
    references: Tensor
    sequences: int

    def __len__(self) -> int:
        """Return how many clips there are."""
        return len(self.frames)

    def to(self, device: torch.device) -> "Clips":
        """Return the clips on a device."""
        return Clips(
            self.frames.to(device), self.places_px.to(device), self.references.to(device), self.sequences
        )

    def grey(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return (K, F, C, C) and (K, C, C) grey values by number, as ``grey.scaled`` gives them."""
        return from_bytes(self.frames[index]), from_bytes(self.references[index])


def sequence_folders(folders: Sequence[Path]) -> list[Path]:
    """Return the sequences that folders are or hold.

    Raises:
        UserError: one holds none.
    """
    found: list[Path] = []
    for folder in folders:
        single = clust.is_sequence(folder) or (folder / "landmarks.csv").is_file()
        found += [folder] if single else clust.sequences(folder)
    return found


def read_clips(
    folders: Sequence[Path], count: int, side_px: int, on_sequence: Callable[[int], None] = lambda done: None
) -> Clips:
    """Return the clips of some sequences.

    Args:
        folders: of the sequences.
        count: F of successive frames.
        side_px: C of the squares.
        on_sequence: called with how many are read.

    Raises:
        UserError: one cannot be read, or none holds a clip.
    """
    clips: list[_Clip] = []
    for done, folder in enumerate(folders):
        on_sequence(done)
        clips += _clips_of(folder, count, side_px)
    on_sequence(len(folders))
    if not clips:
        raise UserError(f"no landmark is annotated on frame {count} or later: nothing to learn from")
    return Clips(
        torch.from_numpy(np.stack([clip.frames for clip in clips])),
        torch.from_numpy(np.stack([clip.places_px for clip in clips])).float(),
        torch.from_numpy(np.stack([clip.reference for clip in clips])),
        len(folders),
    )


class _Clip(NamedTuple):
    """(F, C, C) frames, (F, 2) places in them, and the (C, C) frame of marking."""

    frames: NDArray[np.uint8]
    places_px: NDArray[np.float64]
    reference: NDArray[np.uint8]


def _clips_of(folder: Path, count: int, side_px: int) -> list[_Clip]:
    annotations = read_annotations(folder)
    ends = {a.landmark.id: _ends(a, count) for a in annotations}
    wanted = {n - back for chosen in ends.values() for n in chosen for back in range(count)}
    wanted |= {a.first_frame for a in annotations}
    source = open_source(folder)
    try:
        grey = {n: scaled(frame.image) for n, frame in enumerate(source) if n in wanted}
    finally:
        source.close()
    clips = []
    for annotation in annotations:
        path = _path(annotation)
        marked = _square(grey[annotation.first_frame], np.array(annotation.landmark.uv_px), side_px)
        for end in ends[annotation.landmark.id]:
            numbers = range(end - count + 1, end + 1)
            if not all(n in grey for n in numbers):
                continue
            last = np.array(annotation.marks[end].uv_px)
            squares = np.stack([_square(grey[n], last, side_px) for n in numbers])
            places_px = path(np.array(numbers)) - last + (side_px - 1) / 2
            clips.append(_Clip(squares, places_px, marked))
    return clips


def _ends(annotation: Annotation, count: int) -> list[int]:
    """Return the frames that clips end on: certain, and late enough for the frames before."""
    possible = [n for n, mark in annotation.marks.items() if mark.certain and n >= count - 1]
    chosen = np.unique(np.linspace(0, len(possible) - 1, _MOST_OF_A_LANDMARK).round().astype(int))
    return [possible[i] for i in chosen] if possible else []


def _path(annotation: Annotation) -> Callable[[NDArray[np.int64]], NDArray[np.float64]]:
    """Return the place of a landmark in any frames, (N, 2) of (N,)."""
    numbers = np.array(sorted(annotation.marks))
    marks = np.array([annotation.marks[n].uv_px for n in numbers])
    if len(numbers) >= _LEAST_MARKS:
        spline = CubicSpline(numbers, marks)
        return lambda at: np.asarray(spline(np.maximum(at, numbers[0])))
    return lambda at: np.stack([np.interp(at, numbers, marks[:, axis]) for axis in (0, 1)], axis=-1)


def _square(grey: NDArray[np.float32], centre_px: NDArray[np.float64], side_px: int) -> NDArray[np.uint8]:
    return to_bytes(View.around(centre_px, float(side_px), side_px).of(grey))

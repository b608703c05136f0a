"""Volumes of fetal heads as they are read: brought into the standard lie, kept once rendered.

A subject is a seed. Fetuses lie every way round; whoever scans one knows which, so volumes are turned by half
a turn where need be until the forehead is at the right and the vertex behind. What is left is up to 30° from
that lie about any axis. The probe is at the top or, of a turned one, at the bottom.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.phantoms.kept import keep, name_of
from lmtrack_ros.phantoms.phantom import PhantomParameters
from lmtrack_ros.phantoms.volume_ultrasound import VolumeUltrasoundPhantom
from lmtrack_ros.phantoms.volume_ultrasound.head import LANDMARKS

# to be raised when the pictures change: what is kept is then made anew
_VERSION = 1

PRESET = "fetal_head_full"
SPACING_MM = 0.5


@dataclass(frozen=True, eq=False)
class HeadCase:
    """One subject.

    Attributes:
        volume: (D, H, W) uint8, voxels of ``SPACING_MM``.
        uvw_px: (L, 3) column, row and slice of each of ``LANDMARKS``.
    """

    volume: NDArray[np.uint8]
    uvw_px: Array


def load(subjects: Sequence[int], folder: Path) -> list[HeadCase]:
    """Return subjects, rendered now where they are not kept yet.

    Args:
        subjects: their seeds.
        folder: where volumes are kept; several processes may share it.

    Raises:
        UserError: the folder cannot be written.
    """
    every = []
    for subject in subjects:
        path = folder / f"{name_of(_VERSION, PRESET, subject)}.npz"
        if not path.is_file():
            try:
                keep(path, partial(np.savez_compressed, **vars(_rendered(subject))))
            except OSError as error:
                raise UserError(f"cannot keep rendered volumes in {folder}: {error}") from error
        with np.load(path) as kept:
            every.append(HeadCase(**{name: kept[name] for name in kept.files}))
    return every


def _rendered(subject: int) -> HeadCase:
    phantom = VolumeUltrasoundPhantom(PhantomParameters(PRESET, subject))
    volume = phantom.render(1, 0.0).image
    shown = {one.id: one.uv_px for one in phantom.truth(1, 0.0).estimates}
    uvw_px = np.array([shown[name] for name in LANDMARKS])
    # a half turn of the head is one of the volume: two of its axes run the other way
    from_image = phantom.geometry.pose[:3, :3]
    is_turned = np.diag(from_image.T @ phantom.half_turn @ from_image) < 0
    size = np.array(volume.shape[::-1])
    uvw_px = np.where(is_turned, size - 1 - uvw_px, uvw_px)
    return HeadCase(np.ascontiguousarray(np.flip(volume, np.flatnonzero(is_turned[::-1]))), uvw_px)

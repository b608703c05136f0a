"""Patches: three orthogonal planes round a point, out of a volume at the patches' own pixel size.

Points are mm from the volume's centre along its columns, rows and slices.
"""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lmtrack_ros.models.grey import BRIGHTEST, dark_and_bright

PLANES = 3
_BYTES_IN_INT16 = 128
"""So many bytes may be added up."""


class Level(NamedTuple):
    """A volume with voxels of about a wanted size.

    Attributes:
        values: (D, H, W) float32 grey values.
        voxel_mm: (3,) pitch along columns, rows and slices.
        first_mm: (3,) centre of the first voxel.
    """

    values: Tensor
    voxel_mm: Tensor
    first_mm: Tensor

    def to(self, device: torch.device) -> "Level":
        """Return the level on a device."""
        return Level(self.values.to(device), self.voxel_mm.to(device), self.first_mm.to(device))


class Uploaded(NamedTuple):
    """A volume where the networks run.

    Attributes:
        voxels: (D, H, W) of bytes, or float32.
        dark: grey value that becomes 0.
        bright: grey value that becomes 1.
    """

    voxels: Tensor
    dark: float
    bright: float


def upload(volume: NDArray[Any], device: torch.device) -> Uploaded:
    """Bring a (D, H, W) volume of any numeric type to a device; what is not finite becomes dark."""
    dark, bright = dark_and_bright(volume)
    kept: NDArray[Any] = volume
    if volume.dtype != np.uint8:
        kept = np.nan_to_num(volume.astype(np.float32), nan=dark, posinf=dark, neginf=dark)
    # torch warns of memory that it may not write to, such as that of a message
    whole = torch.from_numpy(np.require(kept, requirements=("C", "W")))
    return Uploaded(whole.to(device), dark, bright)


def level_of(volume: Uploaded, voxel_mm: Sequence[float], wanted_mm: float) -> Level:
    """Return the means of blocks of voxels: as many along each axis as fit into a wanted size, one at least.

    Args:
        volume: with at least two blocks along each axis.
        voxel_mm: (3,) pitch along columns, rows and slices.
        wanted_mm: edge of a block.
    """
    blocks = [max(1, int(wanted_mm / mm + 1e-6)) for mm in voxel_mm]
    sums, size = volume.voxels, volume.voxels.shape[::-1]
    whole_numbers = torch.int16 if prod(blocks) <= _BYTES_IN_INT16 else torch.int32
    # by whole slices first, which lie together in memory
    for axis, block in enumerate(reversed(blocks)):
        whole = sums.narrow(axis, 0, sums.shape[axis] // block * block)
        first, *others = (whole[(slice(None),) * axis + (slice(i, None, block),)] for i in range(block))
        sums = first.to(whole_numbers if first.dtype == torch.uint8 else first.dtype, copy=True)
        for other in others:
            sums += other
    values = (sums.float() / prod(blocks) - volume.dark) / max(volume.bright - volume.dark, 1e-6)
    count, pitch, extent = (torch.tensor(one, device=values.device) for one in (blocks, voxel_mm, size))
    middle = (count - 1) / 2 - (extent - 1) / 2
    return Level(values.clamp_(0, BRIGHTEST), (pitch * count).float(), (pitch * middle).float())


def cut(level: Level, points_mm: Tensor, axes: Tensor, patch_px: int, pixel_mm: float) -> Tensor:
    """Return the patches round points, I(V, x, s) of the paper, by tri-linear interpolation; 0 outside.

    Args:
        level: to cut from.
        points_mm: (N, 3) middles.
        axes: (N, 3, 3) columns: where the axes of the patches point; the identity: along those of the volume.
        patch_px: s.
        pixel_mm: of the patches.

    Returns:
        (N, 3, s, s): the planes across the third, the second and the first axis.
    """
    offsets = _offsets(patch_px, pixel_mm).to(points_mm)
    # (N, 3 s, s, 3): all of it one gather
    where = points_mm[:, None, None] + torch.einsum("nij,abj->nabi", axes, offsets)
    last = torch.tensor(level.values.shape[::-1], device=points_mm.device) - 1
    grid = 2 * (where - level.first_mm) / (level.voxel_mm * last) - 1
    volume = level.values[None, None].expand(len(grid), -1, -1, -1, -1)
    found = functional.grid_sample(volume, grid[:, None], align_corners=True)
    return found.reshape(len(grid), PLANES, patch_px, patch_px)


def _offsets(patch_px: int, pixel_mm: float) -> Tensor:
    """Return (3 s, s, 3) offsets of the pixels of the three planes, mm."""
    along = (torch.arange(patch_px) - (patch_px - 1) / 2) * pixel_mm
    down, across = torch.meshgrid(along, along, indexing="ij")
    none = torch.zeros_like(across)
    planes = [(across, down, none), (across, none, down), (none, across, down)]
    return torch.cat([torch.stack(plane, -1) for plane in planes])


def upright(count: int, like: Tensor) -> Tensor:
    """Return (count, 3, 3) axes along those of the volume."""
    return torch.eye(3, dtype=like.dtype, device=like.device).expand(count, 3, 3)

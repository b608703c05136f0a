"""Patches: three orthogonal planes round a point, out of a volume at the patches' own pixel size.

Points are mm from the volume's centre along its columns, rows and slices.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lmtrack_ros.models.grey import scaled

PLANES = 3


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


def level_of(values: Tensor, voxel_mm: Sequence[float], wanted_mm: float) -> Level:
    """Return the means of blocks of voxels, as many as come nearest to a wanted size but no larger ones.

    Args:
        values: (D, H, W) float32 on any device.
        voxel_mm: (3,) pitch along columns, rows and slices.
        wanted_mm: edge of a block.
    """
    pitch = torch.tensor(voxel_mm, dtype=torch.float32, device=values.device)
    blocks = [max(1, int(wanted_mm / mm + 1e-6)) for mm in voxel_mm]
    size = torch.tensor(values.shape[::-1], dtype=torch.float32, device=values.device)
    if max(blocks) > 1:
        values = functional.avg_pool3d(values[None, None], blocks[::-1])[0, 0]
    count = torch.tensor(blocks, dtype=torch.float32, device=values.device)
    return Level(values, pitch * count, pitch * ((count - 1) / 2 - (size - 1) / 2))


def grey_of(volume: NDArray[Any], device: torch.device) -> Tensor:
    """Return a volume's grey values, most of them between 0 and 1, on a device."""
    return torch.from_numpy(scaled(volume)).to(device)


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


def as_array(patches: Tensor) -> NDArray[np.float32]:
    """Return patches as an engine takes them."""
    return np.ascontiguousarray(patches.cpu().numpy())

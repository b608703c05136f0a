"""Volumes with landmarks, and the points in them that the networks are trained at."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor

from lmtrack_ros.models.patch_iterative.configuration import PatchIterativeConfiguration, mirrored
from lmtrack_ros.models.patch_iterative.patches import Level, cut, level_of, upload
from lmtrack_ros.models.patch_iterative.search import lie
from lmtrack_ros.models.patch_iterative.shape_model import ShapeModel

_NEAREST = 0.02
"""Least distance of a point near the truth, in deviations of the shape model."""
_LIE_DEG = 4.0
"""How far off the axes of their patches are besides, standard deviation about each axis."""


class Annotated(NamedTuple):
    """A volume whose landmarks are known.

    Attributes:
        coarse: the volume at the patches' pixel size.
        fine: at that of the network that refines, or the same where none does.
        landmarks_mm: (L, 3) from the volume's centre.
        extent_mm: (3,) of the volume.
    """

    coarse: Level
    fine: Level
    landmarks_mm: Tensor
    extent_mm: Tensor


def annotated(
    volume: NDArray[Any], voxel_mm: Sequence[float], landmarks_mm: Tensor, c: PatchIterativeConfiguration
) -> Annotated:
    """Return a volume as the networks see it.

    Args:
        volume: (D, H, W) grey values of any numeric type.
        voxel_mm: (3,) pitch along columns, rows and slices.
        landmarks_mm: (L, 3).
        c: sizes.
    """
    size = torch.tensor(volume.shape[::-1], dtype=torch.float32)
    uploaded = upload(volume, torch.device("cpu"))
    coarse = level_of(uploaded, voxel_mm, c.pixel_mm)
    return Annotated(
        coarse,
        level_of(uploaded, voxel_mm, c.fine_pixel_mm) if c.refined else coarse,
        landmarks_mm.float(),
        (size - 1) * torch.tensor(voxel_mm),
    )


class Lie(NamedTuple):
    """A volume turned, scaled, shifted and perhaps mirrored.

    Attributes:
        matrix: (3, 3) from the volume to what it becomes.
        shift_mm: (3,) likewise.
        order: (L,) which landmark of the volume each one becomes.
    """

    matrix: Tensor
    shift_mm: Tensor
    order: Tensor

    def seen(self, positions_mm: Tensor) -> Tensor:
        """Return where (L, 3) landmarks of the volume are then."""
        return (positions_mm @ self.matrix.T + self.shift_mm)[..., self.order, :]

    def source(self, positions_mm: Tensor) -> Tensor:
        """Return where in the volume (..., 3) points are."""
        in_volume: Tensor = (positions_mm - self.shift_mm) @ torch.linalg.inv(self.matrix).T
        return in_volume


Mirror: TypeAlias = tuple[int, Tensor]
"""The axis along which left and right are, and the order of the landmarks in the mirror."""


def drawn_lie(c: PatchIterativeConfiguration, mirrored: Mirror | None) -> Lie:
    """Return a lie by chance, from torch's generator.

    Args:
        c: says how much.
        mirrored: how the volume may be mirrored; None: not at all.
    """
    matrix = rotation(torch.deg2rad(c.turned_deg * torch.randn(3)).clamp(-0.7, 0.7))
    matrix = matrix * torch.exp(c.scaled * torch.randn(1))
    order = torch.arange(len(c.landmarks))
    if mirrored is not None and torch.rand(()) < 0.5:
        axis, order = mirrored
        flip = torch.ones(3)
        flip[axis] = -1
        matrix = matrix * flip
    return Lie(matrix, c.shifted_mm * torch.randn(3), order)


def rotation(vector_rad: Tensor) -> Tensor:
    """Return the (3, 3) rotation about a (3,) axis by its length."""
    x, y, z = vector_rad
    none = torch.zeros(())
    skew = torch.stack([none, -z, y, z, none, -x, -y, x, none]).reshape(3, 3)
    matrix: Tensor = torch.linalg.matrix_exp(skew)
    return matrix


def mirrored_order(names: Sequence[str]) -> Tensor | None:
    """Return which landmark each one is in the mirror.

    None where volumes cannot be mirrored: no landmark has a side, or one lacks its fellow on the other.
    """
    swapped = mirrored(names)
    if swapped == list(names) or set(swapped) != set(names):
        return None
    return torch.tensor([list(names).index(name) for name in swapped])


class Batch(NamedTuple):
    """What one of the networks is trained by in a step.

    Attributes:
        patches: (B, C, s, s).
        true: (B, n_o) displacements to the truth, mm.
    """

    patches: Tensor
    true: Tensor


def coarse_points(
    one: Annotated, seen: Lie, model: ShapeModel, count: int, c: PatchIterativeConfiguration
) -> Batch:
    """Return points of one volume for the network of all landmarks."""
    truth = model.parameters(seen.seen(one.landmarks_mm))
    size = len(model.deviations_mm)
    anywhere = torch.randn(count, size).clamp(-3, 3) * model.deviations_mm
    if len(c.landmarks) == 1:
        anywhere = (torch.rand(count, 3) - 0.5) * one.extent_mm
    far = _NEAREST ** torch.rand(count, 1)
    near = truth + far * torch.randn(count, size) * model.deviations_mm
    b = torch.where(torch.rand(count, 1) < c.near_share, near, anywhere)
    points = model.positions_mm(b)
    inverse = torch.linalg.inv(seen.matrix)
    patches = cut(
        one.coarse, seen.source(points).flatten(0, 1), inverse.expand(count * points.shape[1], 3, 3),
        c.patch_px, c.pixel_mm,
    )  # fmt: skip
    return Batch(patches.reshape(count, -1, c.patch_px, c.patch_px), truth - b)


def fine_points(
    one: Annotated, seen: Lie, model: ShapeModel, count: int, c: PatchIterativeConfiguration
) -> Batch:
    """Return shapes of one volume for the network that refines: (count L) patches, along the shapes' axes."""
    truth = seen.seen(one.landmarks_mm)
    landmarks = len(truth)
    far = c.refined_mm * torch.rand(count, 1, 1)
    points = truth + far * (0.7 * torch.randn(count, 1, 3) + 0.7 * torch.randn(count, landmarks, 3))
    off = torch.stack([rotation(torch.deg2rad(_LIE_DEG * torch.randn(3))) for _ in range(count)])
    axes = lie(points, model) @ off
    inverse = torch.linalg.inv(seen.matrix)
    patches = cut(
        one.fine, seen.source(points).flatten(0, 1), (inverse @ axes).repeat_interleave(landmarks, 0),
        c.patch_px, c.fine_pixel_mm,
    )  # fmt: skip
    true = torch.einsum("nji,nlj->nli", axes, truth - points)
    return Batch(patches, true.flatten(0, 1))


def shown_otherwise(patches: Tensor, c: PatchIterativeConfiguration) -> Tensor:
    """Return patches of another gain, contrast and noise, by chance."""
    seen = patches
    if c.contrast > 0:
        gain, gamma = torch.exp(c.contrast * torch.randn(2, len(patches), 1, 1, 1))
        seen = gain * seen.clamp_min(0) ** gamma
    if c.noise > 0:
        seen = seen + c.noise * torch.rand(len(patches), 1, 1, 1) * torch.randn_like(seen)
    return seen.contiguous(memory_format=torch.channels_last)

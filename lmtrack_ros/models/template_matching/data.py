"""Self-supervised training pairs: an augmented view of an image, patches of it, and where they were drawn.

Frueh et al. 2022, sections II.B and II.C. All chance comes from torch's global generator.

A *view* is what the network sees of an image: a square that is resampled to the network's input. It is the
whole image, or a region of a given size in mm round a landmark, so that a pixel of the input is the same
length in every recording.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

_DARK, _BRIGHT = 1.0, 99.5
"""Percentiles of an image that become 0 and 1."""
_SAMPLES = 16384
"""About how many pixels they are taken from."""


@dataclass(frozen=True)
class Augmentation:
    """Within what images and patches are varied; the centre of a patch stays where it is (section II.C).

    Attributes:
        image_rotation_deg: of the view, either way.
        image_scale: of the view.
        crop: least part of its area that a random crop keeps.
        aspect: greatest ratio of the crop's sides.
        overhang: how far a view may reach beyond the image, in parts of its side.
        patch_rotation_deg: of a patch, either way.
        patch_scale: of a patch.
        gamma: of a patch's grey values.
        noise: greatest standard deviation of the noise added to view and patch, each for itself.
    """

    image_rotation_deg: float = 10.0
    image_scale: tuple[float, float] = (0.8, 1.2)
    crop: float = 0.5
    aspect: float = 1.2
    overhang: float = 0.0
    patch_rotation_deg: float = 5.0
    patch_scale: tuple[float, float] = (0.9, 1.3)
    gamma: tuple[float, float] = (0.5, 2.0)
    noise: float = 0.0


class Batch(NamedTuple):
    """Training pairs.

    Attributes:
        views: (B, S, S).
        patches: (B, N, P, P).
        place_px: (B, N, 2) column and row of each patch's centre in its view, px.
    """

    views: Tensor
    patches: Tensor
    place_px: Tensor


def scaled(image: NDArray[Any]) -> NDArray[np.float32]:
    """Return (H, W) grey values, most of them between 0 and 1; what is not finite is 0."""
    step = max(1, round((image.size / _SAMPLES) ** 0.5))
    sample = image[step // 2 :: step, step // 2 :: step].astype(np.float64)
    sample = sample[np.isfinite(sample)]
    dark, bright = np.percentile(sample, (_DARK, _BRIGHT)).tolist() if sample.size else (0.0, 1.0)
    values = (image.astype(np.float32) - np.float32(dark)) / np.float32(max(bright - dark, 1e-6))
    np.nan_to_num(values, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(values, 0.0, 1.5, out=values)


def draw(
    images: Tensor,
    size_px: Tensor,
    view_px: Tensor,
    input_px: int,
    patches: int,
    patch_px: int,
    augmentation: Augmentation,
) -> Batch:
    """Return augmented views, and patches drawn uniformly over each.

    Beyond its border an image is zero, so that patches are drawn at its margins too.

    Args:
        images: (B, H, W), each in the top-left corner of zeros.
        size_px: (B, 2) width and height of each.
        view_px: (B,) side of each view in its image.
        input_px: side S of the network's input.
        patches: N of each view.
        patch_px: side P of a patch.
        augmentation: within what.
    """
    a = augmentation
    count = images.shape[0]

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, device=images.device)

    side = view_px * torch.sqrt(uniform(a.crop, 1.0, count)) / uniform(*a.image_scale, count)
    stretch = torch.exp(uniform(-0.5, 0.5, count) * math.log(a.aspect))
    angle = torch.deg2rad(uniform(-a.image_rotation_deg, a.image_rotation_deg, count))
    zoom = torch.stack([stretch, 1 / stretch], -1) * (side / input_px)[:, None]
    room = (size_px - side[:, None]).clamp(min=0) / 2 + a.overhang * side[:, None]
    centre = (size_px - 1) / 2 + uniform(-1.0, 1.0, count, 2) * room
    matrix = rotation(angle) * zoom[:, None]
    views = sample(images, places(matrix, centre, input_px))

    place = uniform(0.0, input_px - 1.0, count, patches, 2)
    angle = torch.deg2rad(uniform(-a.patch_rotation_deg, a.patch_rotation_deg, count, patches))
    zoom = 1 / uniform(*a.patch_scale, count, patches)
    at = places(rotation(angle) * zoom[..., None, None], place, patch_px)
    patch = sample(views, at.flatten(1, 2)).reshape(count, patches, patch_px, patch_px)
    gamma = torch.exp(uniform(math.log(a.gamma[0]), math.log(a.gamma[1]), count, patches, 1, 1))
    patch = patch.clamp(min=1e-4) ** gamma
    if a.noise:
        views = views + torch.randn_like(views) * uniform(0, a.noise, count, 1, 1)
        spread = uniform(0, a.noise, count, patches, 1, 1)
        patch = patch + torch.randn_like(patch) * spread
    return Batch(views, patch, place)


def cut(views: Tensor, place_px: Tensor, patch_px: int) -> Tensor:
    """Return (B, N, P, P) patches of (B, S, S) views round (B, N, 2) places, between pixels if need be."""
    matrix = torch.eye(2, device=views.device).expand(*place_px.shape, 2)
    at = places(matrix, place_px, patch_px)
    return sample(views, at.flatten(1, 2)).reshape(*place_px.shape[:2], patch_px, patch_px)


def rotation(angle_rad: Tensor) -> Tensor:
    """Return the (..., 2, 2) rotations by angles."""
    cos, sin = torch.cos(angle_rad), torch.sin(angle_rad)
    return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)


def places(matrix: Tensor, centre_px: Tensor, side: int) -> Tensor:
    """Return (..., side, side, 2): which column and row each pixel of a square comes from.

    Args:
        matrix: (..., 2, 2) from steps in the square to steps in the image.
        centre_px: (..., 2) where the middle of the square comes from.
        side: of the square, px.
    """
    steps = torch.arange(side, dtype=torch.float32, device=centre_px.device) - (side - 1) / 2
    columns = matrix[..., None, :, 0] * steps[:, None]
    rows = matrix[..., None, :, 1] * steps[:, None] + centre_px[..., None, :]
    return columns[..., None, :, :] + rows[..., :, None, :]


def sample(images: Tensor, at_px: Tensor) -> Tensor:
    """Return the (B, h, w) values of (B, H, W) images at (B, h, w, 2) pixels, zero beyond the border."""
    size = torch.tensor([images.shape[2], images.shape[1]], device=images.device)
    normalised = at_px * (2 / (size - 1)) - 1
    return functional.grid_sample(images[:, None], normalised, align_corners=True, padding_mode="zeros")[:, 0]

"""Self-supervised training pairs: an augmented view of an image, patches of it, and where they were drawn.

Frueh et al. 2022, sections II.B and II.C. All chance comes from torch's global generator.

A *view* is what the network sees of an image: a square that is resampled to the network's input. It is the
whole image, or a region of a given size in mm round a landmark, so that a pixel of the input is the same
length in every recording.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lmtrack_ros.models.sampling import places, rotation, sample


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

"""Varied squares of images: what all baselines are trained on."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lmtrack_ros.models.sampling import places, rotation, sample


@dataclass(frozen=True)
class Variation:
    """Within what a square of an image is varied. There are no flips: left and right differ.

    Attributes:
        rotation_deg: either way.
        scale: of what is shown; log-uniform.
        shift: of the middle, in parts of the square's side, either way.
        gamma: of the grey values, log-uniform.
        gain: of the grey values.
        noise: greatest standard deviation of added noise.
    """

    rotation_deg: float = 10.0
    scale: tuple[float, float] = (0.8, 1.2)
    shift: float = 0.1
    gamma: tuple[float, float] = (0.5, 2.0)
    gain: tuple[float, float] = (0.8, 1.2)
    noise: float = 0.05


class Squares(NamedTuple):
    """Squares of images, and where their pixels come from.

    Attributes:
        grey: (B, S, S).
        matrix: (B, 2, 2) from steps in a square to steps in its image.
        centre_px: (B, 2) column and row in the image of the middle of each square.
    """

    grey: Tensor
    matrix: Tensor
    centre_px: Tensor

    def place(self, uv_px: Tensor) -> Tensor:
        """Return (B, L, 2) places in the images as places in the squares, px."""
        away = (uv_px - self.centre_px[:, None]).transpose(1, 2)
        steps: Tensor = torch.linalg.solve(self.matrix, away)
        return steps.transpose(1, 2) + (self.grey.shape[-1] - 1) / 2


def varied(images: Tensor, centre_px: Tensor, side_px: int, variation: Variation) -> Squares:
    """Return a square of each image, varied by torch's global chance; zero beyond the image.

    Args:
        images: (B, H, W) grey values, most of them between 0 and 1.
        centre_px: (B, 2) column and row round which the squares are taken.
        side_px: of a square, px.
        variation: within what.
    """
    v, count = variation, len(images)

    def uniform(low: float, high: float, *more: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *more)

    def ratio(between: tuple[float, float], *more: int) -> Tensor:
        logarithm: Tensor = uniform(math.log(between[0]), math.log(between[1]), *more)
        return torch.exp(logarithm)

    angle_rad = torch.deg2rad(uniform(-v.rotation_deg, v.rotation_deg))
    matrix = rotation(angle_rad) / ratio(v.scale, 1, 1)
    centre = centre_px + side_px * uniform(-v.shift, v.shift, 2)
    grey = sample(images, places(matrix, centre, side_px))
    grey = grey.clamp(min=1e-4) ** ratio(v.gamma, 1, 1) * uniform(*v.gain, 1, 1)
    return Squares(grey + torch.randn_like(grey) * uniform(0.0, v.noise, 1, 1), matrix, centre)

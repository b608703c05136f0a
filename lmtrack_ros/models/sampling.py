"""Images sampled at any places, by torch."""

import torch
from torch import Tensor
from torch.nn import functional


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

"""Images as other imagers and screens would show them, drawn by chance, to learn from."""

import torch
from torch import Tensor
from torch.nn import functional

from lmtrack_ros.models.sampling import rotation

_GAMMA, _CONTRAST, _BRIGHTNESS = (0.7, 1.4), (0.7, 1.3), 0.15
_NEGATIVE_SHARE = 0.15
_NOISE = 0.02


def shown_otherwise(frames: Tensor) -> Tensor:
    """Return (N, S, S) grey values of one sequence or image as shown otherwise, all frames alike.

    Now and then as a negative; with another gamma, contrast and brightness; blurred, and with noise.
    """
    device = frames.device
    if torch.rand(()) < _NEGATIVE_SHARE:
        frames = 1 - frames
    frames = frames.clamp(min=1e-4) ** uniform(*_GAMMA, device)
    frames = (frames - 0.5) * uniform(*_CONTRAST, device) + 0.5 + uniform(-_BRIGHTNESS, _BRIGHTNESS, device)
    if torch.rand(()) < 0.5:
        frames = functional.avg_pool2d(frames[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
    frames = frames + torch.rand((), device=device) * _NOISE * torch.randn_like(frames)
    return frames.clamp(0.0, 1.5)


def seen_otherwise(most_deg: float, scales: tuple[float, float], device: torch.device) -> Tensor:
    """Return a (2, 2) matrix for ``sampling.places``: turned, mirrored or not, and enlarged."""
    angle = torch.deg2rad(uniform(-most_deg, most_deg, device))
    flip = torch.where(torch.rand((), device=device) < 0.5, -1.0, 1.0)
    mirror = torch.diag(torch.stack([flip, torch.ones_like(flip)]))
    return rotation(angle) @ mirror / uniform(*scales, device)


def uniform(low: float, high: float, device: torch.device) -> Tensor:
    """Return a number between two, drawn on the device."""
    return low + (high - low) * torch.rand((), device=device)

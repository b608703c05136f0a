"""Windows of frames to learn from, cut out of sequences by chance and varied."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lmtrack_ros.models.grey import from_bytes, scaled, to_bytes
from lmtrack_ros.models.sampling import places, rotation, sample
from lmtrack_ros.models.views import View

_SCALE, _ROTATION_DEG, _SHIFT = (0.75, 1.4), 8.0, 0.08
_GAMMA, _CONTRAST, _BRIGHTNESS = (0.7, 1.4), (0.7, 1.3), 0.15
_NEGATIVE_SHARE = 0.15
_NOISE = 0.02
_INSIDE = 0.5
"""Of a pixel, what must be in the mask for it to be."""


@dataclass(frozen=True, eq=False)
class Clip:
    """One sequence with its masks, in the network's square.

    Attributes:
        frames: (N, S, S) uint8; ``grey.from_bytes`` returns their values.
        masks: (N, S, S) bool.
        spacing_mm: pixel pitch of the square.
        is_cycle: after the last frame comes the first again.
    """

    frames: Tensor
    masks: Tensor
    spacing_mm: float
    is_cycle: bool

    def window(self, start: int, length: int) -> tuple[Tensor, Tensor]:
        """Return (L, S, S) grey values and masks from a frame on; a cycle has no end."""
        index = torch.arange(start, start + length) % len(self.frames)
        return from_bytes(self.frames[index]), self.masks[index].float()

    def starts(self, length: int) -> int:
        """Return how many windows of a length there are."""
        return len(self.frames) if self.is_cycle else len(self.frames) - length + 1


def clip(
    images: NDArray[Any], masks: NDArray[np.bool_], image_px: int, spacing_mm: float, *, is_cycle: bool
) -> Clip:
    """Return a clip of (N, H, W) images, the whole of each in a square of so many pixels."""
    view = View.whole(images.shape[1:], image_px)
    frames = np.stack([to_bytes(view.of(scaled(image))) for image in images])
    shown = np.stack([view.of(mask.astype(np.float32)) >= _INSIDE for mask in masks])
    return Clip(torch.from_numpy(frames), torch.from_numpy(shown), spacing_mm * view.scale, is_cycle)


class Windows(NamedTuple):
    """A batch.

    Attributes:
        frames: (B, N, S, S) grey values.
        masks: (B, N, 1, S, S), 0 or 1.
    """

    frames: Tensor
    masks: Tensor


def draw(clips: Sequence[Clip], count: int, length: int, device: torch.device) -> Windows:
    """Return windows cut out by chance, from torch's generator, and varied: each in one way throughout."""
    frames, masks = [], []
    for _ in range(count):
        chosen = clips[int(torch.randint(len(clips), ()))]
        window = chosen.window(int(torch.randint(chosen.starts(length), ())), length)
        seen, shown = _moved(*(part.to(device) for part in window))
        frames.append(_shown_otherwise(seen))
        masks.append(shown)
    return Windows(torch.stack(frames), torch.stack(masks)[:, :, None])


def _moved(frames: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return (N, S, S) frames and masks mirrored, turned, scaled and shifted alike."""
    side, device = frames.shape[-1], frames.device
    angle = torch.deg2rad(_uniform(-_ROTATION_DEG, _ROTATION_DEG, device))
    flip = torch.where(torch.rand((), device=device) < 0.5, -1.0, 1.0)
    mirror = torch.diag(torch.stack([flip, torch.ones_like(flip)]))
    matrix = rotation(angle) @ mirror / _uniform(*_SCALE, device)
    centre = (side - 1) / 2 + side * _SHIFT * (2 * torch.rand(2, device=device) - 1)
    grid = places(matrix, centre, side).expand(len(frames), side, side, 2)
    return sample(frames, grid), (sample(masks, grid) >= _INSIDE).float()


def _shown_otherwise(frames: Tensor) -> Tensor:
    """Return (N, S, S) grey values as another imager and screen would show them."""
    device = frames.device
    if torch.rand(()) < _NEGATIVE_SHARE:
        frames = 1 - frames
    frames = frames.clamp(min=1e-4) ** _uniform(*_GAMMA, device)
    frames = (frames - 0.5) * _uniform(*_CONTRAST, device) + 0.5 + _uniform(-_BRIGHTNESS, _BRIGHTNESS, device)
    if torch.rand(()) < 0.5:
        frames = functional.avg_pool2d(frames[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
    frames = frames + torch.rand((), device=device) * _NOISE * torch.randn_like(frames)
    return frames.clamp(0.0, 1.5)


def _uniform(low: float, high: float, device: torch.device) -> Tensor:
    return low + (high - low) * torch.rand((), device=device)

"""Windows of frames to learn from, of whole images or parts, cut out of sequences by chance and varied."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmtrack_ros.models.appearance import seen_otherwise, shown_otherwise, uniform
from lmtrack_ros.models.grey import from_bytes, scaled, to_bytes
from lmtrack_ros.models.sampling import places, sample
from lmtrack_ros.models.views import View

_SCALE, _ROTATION_DEG, _SHIFT = (0.75, 1.4), 8.0, 0.08
_CARRIED_SHARE, _CARRIED, _CARRIED_FRAMES = 0.3, 0.06, (6.0, 16.0)
"""Of the windows, in which a couch carries the patient; how far, in sides of the image; frames to and fro."""
_TUMOUR_SHARE, _OFF_CENTRE = 0.8, 0.35
"""Of the parts, that are cut out round the tumour; how far from their middle it may lie, in their sides."""
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
        frames: (B, N, P, P) grey values.
        masks: (B, N, 1, P, P), 0 or 1.
    """

    frames: Tensor
    masks: Tensor


def draw(clips: Sequence[Clip], count: int, length: int, side: int, device: torch.device) -> Windows:
    """Return windows cut out by chance, from torch's generator, and varied: each in one way throughout.

    Args:
        clips: from which.
        count: of the windows.
        length: of a window.
        side: of what they show of the images, px; less than theirs: a part, mostly one with the tumour.
        device: where they shall be.
    """
    frames, masks = [], []
    for _ in range(count):
        chosen = clips[int(torch.randint(len(clips), ()))]
        window = chosen.window(int(torch.randint(chosen.starts(length), ())), length)
        seen, shown = (part.to(device) for part in window)
        seen, shown = _moved(seen, shown, side)
        frames.append(shown_otherwise(seen))
        masks.append(shown)
    return Windows(torch.stack(frames), torch.stack(masks)[:, :, None])


def parts(masks: Tensor, side: int) -> Tensor:
    """Return the (B', N, 1, P, P) parts, of so many pixels aside, that make up (B, N, 1, S, S) masks."""
    squares = masks.unfold(-2, side, side).unfold(-2, side, side)
    return squares.permute(0, 3, 4, 1, 2, 5, 6).flatten(0, 2)


def _middle(masks: Tensor, side: int) -> Tensor:
    """Return the (2,) column and row in (N, S, S) masks round which to cut out."""
    whole = masks.shape[-1]
    off = 2 * torch.rand(2, device=masks.device) - 1
    if side == whole:
        return (whole - 1) / 2 + whole * _SHIFT * off
    if torch.rand(()) < _TUMOUR_SHARE and masks.any():
        places = masks.nonzero()[:, 1:].flip(1).float()
        middle = places.mean(0) + side * _OFF_CENTRE * off
    else:
        middle = whole / 2 * (1 + off)
    return middle.clamp(side / 2, whole - side / 2)


def _moved(frames: Tensor, masks: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return (N, P, P) of (N, S, S) frames and masks, cut out, mirrored, turned, scaled and shifted.

    All alike, unless a couch carries the patient through the picture.
    """
    device = frames.device
    matrix = seen_otherwise(_ROTATION_DEG, _SCALE, device)
    grid = places(matrix, _middle(masks, side) + _carried_px(frames), side)
    return sample(frames, grid), (sample(masks, grid) >= _INSIDE).float()


def _carried_px(frames: Tensor) -> Tensor:
    """Return how far a couch that follows a breath has carried (N, S, S) frames: (N, 2), mostly nothing."""
    count, device = len(frames), frames.device
    if torch.rand(()) > _CARRIED_SHARE:
        return torch.zeros(count, 2, device=device)
    # mostly along the body, as breathing is
    reach_px = frames.shape[-1] * _CARRIED * torch.tensor([0.3, 1.0], device=device)
    reach_px = reach_px * (2 * torch.rand(2, device=device) - 1)
    turns = torch.arange(count, device=device)[:, None] / uniform(*_CARRIED_FRAMES, device)
    return reach_px * torch.sin(2 * torch.pi * (turns + torch.rand((), device=device)))

"""Two U-Nets in residual relation over a window of frames (section 3.1, equation 1)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lmtrack_ros.models.coarse_to_fine_unet.configuration import CoarseToFineUnetConfiguration
from lmtrack_ros.models.coarse_to_fine_unet.contrast import LocalContrast
from lmtrack_ros.models.coarse_to_fine_unet.unet import ALL, Memory, UNet


class Memories(NamedTuple):
    """What both U-Nets remember: states of the ways forth, by level."""

    coarse: Memory
    residual: Memory


NOTHING = Memories({}, {})
"""Before the first frame."""


class Prediction(NamedTuple):
    """Of the tumour in a window of frames.

    Attributes:
        coarse: (B, M, 1, H, W) logits of the first U-Net, of the wanted frames.
        refined: likewise, of both; its sigmoid is the output.
        memories: after each frame of the window.
    """

    coarse: Tensor
    refined: Tensor
    memories: Memories


class Generator(nn.Module):
    """See the module's text.

    Args:
        configuration: of everything in it.
    """

    def __init__(self, configuration: CoarseToFineUnetConfiguration) -> None:
        super().__init__()
        self.configuration = c = configuration
        # every skip connection; below the bottom there is none
        skips = range(1, c.levels) if c.recurrence else ()
        self.contrast = LocalContrast(c.image_px)
        self.first = UNet(3, widths(c.channels, c.most_channels, c.levels), skips)
        self.second = None
        if c.refinement:
            half = widths(c.channels // 2, c.most_channels // 2, c.refinement_levels)
            self.second = UNet(1, half, (c.refinement_levels,) if c.recurrence else ())

    def forward(self, triples: Tensor, before: Memories = NOTHING, wanted: slice = ALL) -> Prediction:
        """Return where the tumour is in the frames of a window.

        Args:
            triples: (B, N, 3, H, W) as of :func:`triples`, grey values from 0 to 1.
            before: what is remembered of the frames before the window.
            wanted: frames whose logits are asked for.
        """
        return self.find(self.contrast(triples), before, wanted)

    def find(self, seen: Tensor, before: Memories = NOTHING, wanted: slice = ALL) -> Prediction:
        """Return the same, of the local contrast of triples."""
        coarse, of_coarse = self.first(seen, before.coarse, wanted if self.second is None else ALL)
        if self.second is None:
            return Prediction(coarse, coarse, Memories(of_coarse, {}))
        residual, of_residual = self.second(torch.sigmoid(coarse), before.residual, wanted)
        coarse = coarse[:, wanted]
        return Prediction(coarse, coarse + residual, Memories(of_coarse, of_residual))


def widths(first: int, most: int, levels: int) -> list[int]:
    """Return the channels of each level: twice as many from one to the next, up to a most."""
    return [min(first * 2**level, most) for level in range(levels)]


def triples(frames: Tensor) -> Tensor:
    """Return (B, N, 3, H, W): each of (B, N, H, W) frames between neighbours (figure 2); the ends repeat."""
    before = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    after = torch.cat([frames[:, 1:], frames[:, -1:]], dim=1)
    return torch.stack([before, frames, after], dim=2)

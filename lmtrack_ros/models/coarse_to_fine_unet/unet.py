"""U-Net over a sequence, with recurrences in some of its levels (section 3.1.1)."""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from math import gcd

import torch
from torch import Tensor, nn

from lmtrack_ros.models.coarse_to_fine_unet.recurrence import BothWays, Recurrent

SLOPE = 0.2
"""Of the leaky ReLU below zero, that of DCGAN."""

_GROUPS = 4
"""Of channels that are normalised together; at the bottom a channel may be a single pixel."""

Memory = Mapping[int, Recurrent]
"""States of the ways forth, by level."""

ALL = slice(None)


class UNet(nn.Module):
    """Convolutions of stride 2 down, transposed ones up, a skip connection from each level to its equal.

    Level 1 has half the size of the image; the last is the bottom.

    Args:
        inputs: channels of a frame.
        channels: of each level.
        recurrent: levels whose features go both ways along the sequence before they are used.
    """

    def __init__(self, inputs: int, channels: Sequence[int], recurrent: Collection[int]) -> None:
        super().__init__()
        widths = (inputs, *channels)
        self.down = nn.ModuleList(_stride(nn.Conv2d, before, after) for before, after in pairwise(widths))
        # below the bottom nothing comes up to be joined
        ups = []
        for level in range(len(channels), 1, -1):
            joined = channels[level - 1] * (1 if level == len(channels) else 2)
            ups.append(_stride(nn.ConvTranspose2d, joined, channels[level - 2]))
        self.up = nn.ModuleList(ups)
        self.head = nn.ConvTranspose2d(channels[0] * (1 if len(channels) == 1 else 2), 1, 4, 2, 1)
        self.recurrences = nn.ModuleDict({str(level): BothWays(channels[level - 1]) for level in recurrent})
        # what a recurrence gives is small beside what comes up from below
        self.scales = nn.ModuleDict({str(level): _normal(channels[level - 1]) for level in recurrent})

    def bottom(self, levels: int) -> list[nn.Module]:
        """Return the parts of so many levels from the bottom up."""
        levels = min(levels, len(self.down))
        deep = [str(level) for level in range(len(self.down) - levels + 1, len(self.down) + 1)]
        joined = [part[level] for part in (self.recurrences, self.scales) for level in deep if level in part]
        return [*self.down[len(self.down) - levels :], *self.up[:levels], *joined]

    def forward(
        self, frames: Tensor, before: Memory, wanted: slice = ALL
    ) -> tuple[Tensor, dict[int, Recurrent]]:
        """Return logits of frames, and what is remembered after each.

        Args:
            frames: (B, N, C, H, W); H and W are multiples of 2 to the power of the levels.
            before: what is remembered of the frames before; empty: nothing was seen.
            wanted: frames whose logits are asked for.

        Returns:
            (B, M, 1, H, W) of those M frames, and states of all N.
        """
        shape = frames.shape[:2]
        features = frames.flatten(0, 1)
        levels, after = [], {}
        for level, down in enumerate(self.down, 1):
            features = down(features)
            sequence = features.unflatten(0, shape)
            if str(level) in self.recurrences:
                sequence, after[level] = self.recurrences[str(level)](sequence, before.get(level))
                sequence = self.scales[str(level)](sequence.flatten(0, 1)).unflatten(0, shape)
            levels.append(sequence[:, wanted].flatten(0, 1))
        features = levels.pop()
        for up in self.up:
            features = torch.cat([levels.pop(), up(features)], dim=1)
        logits: Tensor = self.head(features)
        return logits.reshape(shape[0], -1, *logits.shape[1:]), after


def _stride(kind: type[nn.Conv2d] | type[nn.ConvTranspose2d], inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(kind(inputs, outputs, 4, 2, 1, bias=False), _normal(outputs), nn.LeakyReLU(SLOPE))


def _normal(channels: int) -> nn.Module:
    # within a frame: batches are small, and a stream has none
    return nn.GroupNorm(gcd(_GROUPS, channels), channels)

"""Bottom-up and top-down pathways of LandmarkNet (The backbone, table 1 and fig. 2)."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import Bottleneck

BLOCKS = (3, 4, 6, 3)
"""Bottlenecks of each stage, table 1."""
STRIDES = (4, 8, 16, 32)
"""Of the stages' maps with respect to the image."""


class BottomUp(nn.Module):
    """Stages of bottlenecks, C1 to C4.

    Args:
        width: of the first stage's bottlenecks, 64 in table 1.

    Attributes:
        channels: of each stage's maps.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 7, 2, 3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        inside = [width * 2**number for number in range(len(BLOCKS))]
        self.channels = [planes * Bottleneck.expansion for planes in inside]
        before = [width, *self.channels]
        self.stages = nn.ModuleList(
            _stage(before[number], planes, BLOCKS[number], 1 if number == 0 else 2)
            for number, planes in enumerate(inside)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of each stage, (B, C, S / stride, S / stride), for (B, 1, S, S) images."""
        maps = [self.stem(images)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]


class TopDown(nn.Module):
    """The pyramid P: coarse maps, doubled in size by repetition, are added to the finer ones.

    Args:
        channels: of the stages.
        width: of each level, 256 in the paper.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(one, width, 1) for one in channels)
        self.down = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in pairwise(channels))

    def forward(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """Return the levels, the finest first, (B, C, H, W) each, for the stages' maps."""
        lateral = [convolve(maps) for convolve, maps in zip(self.lateral, stages, strict=True)]
        levels = [lateral[-1]]
        for finer, convolve in zip(reversed(lateral[:-1]), reversed(self.down), strict=True):
            coarser = functional.interpolate(levels[0], scale_factor=2.0, mode="nearest")
            levels.insert(0, finer + convolve(coarser))
        return levels


def _stage(before: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    after = planes * Bottleneck.expansion
    shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
    first = Bottleneck(before, planes, stride, shortcut)
    return nn.Sequential(first, *(Bottleneck(after, planes) for _ in range(blocks - 1)))


def initialise(part: nn.Module) -> None:
    """Draw the weights of a convolution that a rectifier follows as He et al. 2015 do."""
    if isinstance(part, nn.Conv2d):
        nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")


def initialise_linear(part: nn.Module) -> None:
    """Draw the weights of a convolution that none follows as Glorot and Bengio 2010 do."""
    if isinstance(part, nn.Conv2d):
        nn.init.xavier_uniform_(part.weight)
        if part.bias is not None:
            nn.init.zeros_(part.bias)

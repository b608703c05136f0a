"""LandmarkNet: a pyramid of features, and from all its levels the map of each kind of landmark."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lmtrack_ros.models.landmark_net import KINDS
from lmtrack_ros.models.landmark_net.backbone import (
    STRIDES,
    BottomUp,
    TopDown,
    initialise,
    initialise_linear,
)
from lmtrack_ros.models.landmark_net.configuration import LandmarkNetConfiguration

_AT_FIRST = 1e-3
"""Standard deviation of the heads' weights."""


class Found(NamedTuple):
    """What the network finds in B images.

    Attributes:
        maps: (B, K, H, W) of each kind of landmark.
        intermediate: (B, K, H', W') likewise at each level of the pyramid, the finest first.
    """

    maps: Tensor
    intermediate: tuple[Tensor, ...]


class LandmarkNet(nn.Module):
    """See the module's text; the paper's fig. 1."""

    def __init__(self, configuration: LandmarkNetConfiguration) -> None:
        super().__init__()
        c = configuration
        self.configuration = c
        self.bottom_up = BottomUp(c.width)
        self.top_down = TopDown(self.bottom_up.channels, c.pyramid_channels)
        self.intermediate = nn.ModuleList(nn.Conv2d(c.pyramid_channels, len(KINDS), 1) for _ in STRIDES)
        self.lateral = nn.ModuleList(_lateral(c.pyramid_channels, c.detection_channels) for _ in STRIDES)
        joined = len(STRIDES) * c.detection_channels
        self.maps = nn.Sequential(
            nn.Conv2d(joined, c.detection_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(c.detection_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(c.detection_channels, len(KINDS), 1),
        )
        self.excitation = nn.Sequential(
            nn.Linear(joined, c.detection_channels),
            nn.ReLU(inplace=True),
            nn.Linear(c.detection_channels, len(KINDS)),
            nn.Sigmoid(),
        )
        self.apply(initialise)
        self.top_down.apply(initialise_linear)
        for head in (*self.intermediate, self.maps[-1]):
            initialise_head(head)

    def forward(self, images: Tensor) -> Found:
        """Return maps for (B, 1, S, S) images."""
        levels = self.top_down(self.bottom_up(images))
        side = self.configuration.image_px // self.configuration.map_stride
        joined = torch.cat(
            [
                functional.interpolate(convolve(level), size=(side, side), mode="nearest")
                for convolve, level in zip(self.lateral, levels, strict=True)
            ],
            dim=1,
        )
        shares = self.excitation(joined.mean((-2, -1)))
        maps = self.maps(joined) * shares[..., None, None]
        intermediate = tuple(head(level) for head, level in zip(self.intermediate, levels, strict=True))
        return Found(maps, intermediate)


def initialise_head(head: nn.Module) -> None:
    """Let maps be next to nothing at first, as most of them is: a thousandth of one is a landmark."""
    assert isinstance(head, nn.Conv2d)
    assert head.bias is not None
    nn.init.normal_(head.weight, std=_AT_FIRST)
    nn.init.zeros_(head.bias)


def _lateral(before: int, after: int) -> nn.Sequential:
    """Return φ of the paper but for the enlargement: two convolutions."""
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)

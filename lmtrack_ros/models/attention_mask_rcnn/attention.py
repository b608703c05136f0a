"""The attention network: the box in which the landmark is now (section 2.B.1)."""

from itertools import pairwise, product

import torch
from torch import Tensor, nn

from lmtrack_ros.models.attention_mask_rcnn.boxes import decode

_LEAST_OVERLAP = 0.7
_SHIFTS = (-0.08, 0.0, 0.08)
_SIZES = (0.88, 1.0, 1.12)
"""Of the sliding windows that anchors are chosen from, in parts of the region."""


def anchors(region_px: int) -> Tensor:
    """Return the (A, 4) windows whose overlap with the whole region is greater than 0.7, px."""
    middle = (region_px - 1) / 2
    windows = [
        (middle + x * region_px, middle + y * region_px, size * region_px, size * region_px)
        for size, x, y in product(_SIZES, _SHIFTS, _SHIFTS)
        if _overlap(size, x, y) > _LEAST_OVERLAP
    ]
    return torch.tensor(windows)


def _overlap(size: float, x: float, y: float) -> float:
    """Return the intersection over union of a window with the unit square."""
    width, height = (min(0.5, s + size / 2) - max(-0.5, s - size / 2) for s in (x, y))
    return width * height / (1 + size**2 - width * height)


class AttentionNetwork(nn.Module):
    """Maps a region round the last place to the box in which the landmark is now.

    A fully convolutional network (figure 2), whose last layer covers the region; each anchor has a box of its
    own, and their mean is the attended one.

    Args:
        region_px: side of the region.
        inputs: images of it: the present one, and that of marking where there is a second.
    """

    anchors: Tensor

    def __init__(self, region_px: int, inputs: int) -> None:
        super().__init__()
        self.register_buffer("anchors", anchors(region_px), persistent=False)
        widths = [inputs, 16, 32, 48, 64]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        side = region_px
        for _ in widths[1:]:
            side = -(-side // 2)
        self.head = nn.Sequential(
            nn.Conv2d(widths[-1], 128, side), nn.ReLU(), nn.Conv2d(128, 4 * len(self.anchors), 1)
        )

    def forward(self, regions: Tensor) -> Tensor:
        """Return (B, A, 4) parameters of the box, by anchor, of (B, inputs, S, S) regions."""
        return torch.as_tensor(self.head(self.features(regions))).reshape(len(regions), -1, 4)

    def box(self, parameters: Tensor) -> Tensor:
        """Return the (B, 4) attended boxes, px of the region."""
        return decode(parameters, self.anchors).mean(dim=1)

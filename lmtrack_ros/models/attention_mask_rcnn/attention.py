"""The attention network: the box in which the landmark is now (section 2.B.1)."""

from itertools import pairwise, product
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lmtrack_ros.models.attention_mask_rcnn.boxes import decode
from lmtrack_ros.models.matching import Matching

_LEAST_OVERLAP = 0.7
_HIDDEN = 128
_CELL_PX = 8
"""Side of a cell, which the features that are correlated have one vector for."""
_TEMPLATE_CELLS = 5
"""Side of what is correlated of the frame of marking."""
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


class Attended(NamedTuple):
    """What the attention network answers.

    Attributes:
        parameters: (B, A, 4) o of the box, by anchor.
        log_shares: (B, cells²) logarithm of how likely the landmark is in each cell of the region, by rows;
            None where the frame of marking is not shown.
    """

    parameters: Tensor
    log_shares: Tensor | None


class AttentionNetwork(nn.Module):
    """Maps a region round the last place to the box in which the landmark is now.

    A fully convolutional network (figure 2), whose last layer covers the region; each anchor has a box of its
    own, and their mean is the attended one. Where the frame of marking is shown too, its features round the
    landmark are correlated with those of the region, and where they agree is one more feature.

    Args:
        region_px: side of the region.
        reference: whether the frame of marking is shown.
    """

    anchors: Tensor

    def __init__(self, region_px: int, *, reference: bool) -> None:
        super().__init__()
        self.register_buffer("anchors", anchors(region_px), persistent=False)
        self.region_px = region_px
        widths = [1, 16, 32, 48, 64]
        blocks = [
            nn.Sequential(nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU())
            for before, after in pairwise(widths)
        ]
        self.fine, self.coarse = nn.Sequential(*blocks[:3]), blocks[3]
        self.cells = -(-region_px // _CELL_PX)
        self.whole = nn.Conv2d(widths[-1], _HIDDEN, -(-self.cells // 2))
        self.matching = Matching(widths[3], self.cells, _TEMPLATE_CELLS) if reference else None
        self.head = nn.Linear(_HIDDEN + (Matching.moments if reference else 0), 4 * len(self.anchors))

    def forward(self, regions: Tensor, references: Tensor) -> Attended:
        """Return where landmarks are in (B, S, S) regions.

        Args:
            regions: round the last places.
            references: (B, S, S) round the places of marking, in the frame of marking.
        """
        fine = self.fine(regions[:, None])
        described = torch.relu(self.whole(self.coarse(fine))).flatten(1)
        log_shares = None
        if self.matching is not None:
            first = (self.cells - _TEMPLATE_CELLS) // 2
            middle = slice(first, first + _TEMPLATE_CELLS)
            template = self.matching.template(self.fine(references[:, None])[..., middle, middle])
            log_shares = self.matching.log_shares(fine, template[:, None])[:, 0]
            described = torch.cat([described, self.matching.describe(log_shares)], dim=-1)
        return Attended(self.head(described).reshape(len(regions), -1, 4), log_shares)

    def cell(self, places_px: Tensor) -> Tensor:
        """Return (B,) numbers of the cells that (B, 2) places of the region are in, row by row."""
        middle = (self.cells - 1) / 2
        away = (places_px - (self.region_px - 1) / 2) / _CELL_PX
        column, row = (middle + away).round().long().clamp(0, self.cells - 1).unbind(-1)
        return row * self.cells + column

    def box(self, parameters: Tensor) -> Tensor:
        """Return the (B, 4) attended boxes, px of the region."""
        return decode(parameters, self.anchors).mean(dim=1)

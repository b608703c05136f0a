"""Boxes as the paper writes them: centre, width and height, relative to anchors (below equation 1)."""

import torch
from torch import Tensor


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return t_x, t_y, t_w and t_h of boxes.

    Args:
        boxes: (..., 4) x, y of the centre, w, h, px.
        anchors: (..., 4) likewise.
    """
    centre = (boxes[..., :2] - anchors[..., :2]) / anchors[..., 2:]
    return torch.cat([centre, torch.log(boxes[..., 2:] / anchors[..., 2:])], dim=-1)


def decode(parameters: Tensor, anchors: Tensor) -> Tensor:
    """Return the boxes of which :func:`encode` gives these parameters."""
    centre = parameters[..., :2] * anchors[..., 2:] + anchors[..., :2]
    return torch.cat([centre, torch.exp(parameters[..., 2:]) * anchors[..., 2:]], dim=-1)


def corners(boxes: Tensor) -> Tensor:
    """Return (..., 4) left, top, right and bottom of boxes, as torchvision's operators take them."""
    half = boxes[..., 2:] / 2
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], dim=-1)


def square(centre: Tensor, side: float) -> Tensor:
    """Return (..., 4) square boxes round (..., 2) centres."""
    return torch.cat([centre, torch.full_like(centre, side)], dim=-1)

"""Attention network, Mask R-CNN and LSTM as one network (figure 2), trained end to end.

Places are pixels of the region round a landmark's last place: (column, row), 0 at the centre of the top-left
pixel. The detector sees the attended box of that region, resampled to its own image.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.ops import box_iou, roi_align

from lmtrack_ros.models.attention_mask_rcnn.attention import Attended, AttentionNetwork
from lmtrack_ros.models.attention_mask_rcnn.boxes import corners, square
from lmtrack_ros.models.attention_mask_rcnn.configuration import AttentionMaskRcnnConfiguration
from lmtrack_ros.models.attention_mask_rcnn.detector import Detector, Looked, State

_SMALLEST, _LARGEST = 0.4, 1.0
"""Side of an attended box, in parts of the region: one that is not learnt yet may be anything."""


class Candidates(NamedTuple):
    """Where a landmark may be in each of B regions; K of each.

    Attributes:
        places_px: (B, K, 2) in the region.
        scores: (B, K) from 0 to 1.
        hidden: (B, K, H) of the LSTM, were it this one.
        cell: (B, K, H) likewise.
    """

    places_px: Tensor
    scores: Tensor
    hidden: Tensor
    cell: Tensor


class View(NamedTuple):
    """The detector's images of the attended boxes of B regions.

    Attributes:
        images: (B, V, V).
        boxes: (B, 4) that they show, px of the region.
    """

    images: Tensor
    boxes: Tensor

    def to_view(self, places_px: Tensor) -> Tensor:
        """Return (B, 2) places of the regions in the images."""
        return (places_px - corners(self.boxes)[:, :2]) / self.scale - 0.5

    @property
    def scale(self) -> Tensor:
        """(B, 2) pixels of the region in one of the images."""
        return self.boxes[:, 2:] / self.images.shape[-1]


class AttentionMaskRcnn(nn.Module):
    """See the module's text.

    Args:
        configuration: of everything in it.
    """

    def __init__(self, configuration: AttentionMaskRcnnConfiguration) -> None:
        super().__init__()
        self.configuration = c = configuration
        self.attention = AttentionNetwork(c.region_px, reference=c.reference) if c.attention else None
        shown_px = c.attention_px if c.attention else c.region_px
        box_px = c.landmark_px * c.view_px / shown_px
        self.detector = Detector(
            c.backbone, c.channels, c.hidden, c.view_px, box_px, c.proposals, c.recurrence
        )

    def attend(self, regions: Tensor, references: Tensor) -> tuple[Attended | None, Tensor]:
        """Return the attention network's answer and the attended boxes.

        Args:
            regions: (B, S, S) round the last place.
            references: (B, S, S) round the place of marking, in the frame of marking.

        Returns:
            None without attention; (B, 4) px of the region.
        """
        c = self.configuration
        if self.attention is None:
            whole = torch.full((len(regions), 2), (c.region_px - 1) / 2, device=regions.device)
            return None, square(whole, float(c.region_px))
        attended = self.attention(regions, references)
        return attended, self.attention.box(attended.parameters)

    def view(self, regions: Tensor, boxes: Tensor) -> View:
        """Return the detector's images; nothing is learnt through where they lie."""
        c = self.configuration
        # RoIAlign may crash at places that are not finite
        boxes = boxes.detach().nan_to_num()
        size = boxes[:, 2:].clamp(_SMALLEST * c.region_px, _LARGEST * c.region_px)
        centre = boxes[:, :2].clamp(0.0, c.region_px - 1.0)
        bounded = torch.cat([centre, size], dim=-1)
        images = roi_align(
            regions[:, None], list((corners(bounded) + 0.5)[:, None]), c.view_px, 1.0, 2, aligned=True
        )
        return View(images[:, 0], bounded)

    def landmark_boxes(self, view: View, places_px: Tensor) -> Tensor:
        """Return (B, 4) corners of the boxes of landmarks at (B, 2) places of the region, in the images."""
        side = self.configuration.landmark_px / view.scale
        return corners(torch.cat([view.to_view(places_px), side], dim=-1))

    def remember(self, references: Tensor) -> State:
        """Return what is remembered of landmarks.

        Args:
            references: (B, S, S) round each, in the frame of marking.
        """
        c = self.configuration
        middle = torch.full((len(references), 2), (c.region_px - 1) / 2, device=references.device)
        shown = square(middle, float(c.attention_px if c.attention else c.region_px))
        view = self.view(references, shown)
        features = self.detector.backbone(view.images[:, None])["0"]
        boxes = list(self.landmark_boxes(view, middle)[:, None])
        nothing = self.detector.nothing(len(references), references.device)
        return self.detector.judge(features, boxes, nothing).state

    def look(self, regions: Tensor, references: Tensor) -> tuple[Tensor, Looked]:
        """Return (B, 4) attended boxes and what the detector makes of them: the part of fixed shape.

        Args:
            regions: (B, S, S) round the last places.
            references: (B, S, S) round the places of marking, in the frame of marking.
        """
        view = self.view(regions, self.attend(regions, references)[1])
        return view.boxes, self.detector.look(view.images)

    def choose(self, boxes: Tensor, features: Tensor, proposals: Tensor, state: State) -> Candidates:
        """Return where landmarks may be: the second part of fixed shape.

        Args:
            boxes: (B, 4) attended, px of the region.
            features: (B, C, h, w).
            proposals: (B, K, 4) corners in the detector's images, px.
            state: of the frame before.
        """
        judged = self.detector.judge(features, list(proposals), state)
        shape = proposals.shape[:2]
        size = proposals[..., 2:] - proposals[..., :2]
        places = (proposals[..., :2] + proposals[..., 2:]) / 2 + judged.shifts.reshape(*shape, 2) * size
        scale = boxes[:, None, 2:] / self.configuration.view_px
        return Candidates(
            (places + 0.5) * scale + corners(boxes)[:, None, :2],
            self.detector.score_of(judged).reshape(shape),
            judged.state.hidden.reshape(*shape, -1),
            judged.state.cell.reshape(*shape, -1),
        )

    @torch.no_grad()
    def find(self, regions: Tensor, references: Tensor, state: State) -> tuple[Tensor, Candidates]:
        """Return the (B, 4) attended boxes and where in them landmarks may be.

        Args:
            regions: (B, S, S) round the last places.
            references: (B, S, S) round the places of marking, in the frame of marking.
            state: of the frame before.
        """
        boxes, looked = self.look(regions, references)
        return boxes, self.choose(boxes, looked.features, self.detector.kept(looked), state)


def overlaps(boxes: Tensor, box: Tensor) -> Tensor:
    """Return (K,) intersection over union of corners with one."""
    return torch.as_tensor(box_iou(boxes, box[None])[:, 0])

"""The improved Mask R-CNN with LSTM: proposals in the attended box, and what each of them is (2.B.2, 2.B.3).

Feature pyramid, region proposals, RoIAlign and suppression are torchvision's. What the paper replaces are the
losses and what the box and class heads see: not a proposal's features alone, but the LSTM's answer to them.
"""

from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead, concat_box_prediction_layers
from torchvision.ops import FeaturePyramidNetwork, RoIAlign, clip_boxes_to_image, nms

_ROI_PX, _MASK_ROI_PX = 7, 14
_STRIDE = 4
"""Of the finest level of the pyramid, which boxes of this size are looked at on (He et al. 2017)."""
_BEFORE_SUPPRESSION, _SUPPRESSED_OVERLAP = 32, 0.7
_ANCHOR_SIZES = (0.8, 1.25)
"""By level of the pyramid, relative to a landmark's box."""
_RESNET_LEVELS = {f"layer{number + 1}": str(number) for number in range(4)}
_RESNET_CHANNELS = [256, 512, 1024, 2048]
"""Of ResNet-50's four stages, from which the pyramid is built."""


class Looked(NamedTuple):
    """What the detector makes of B images, before it is known which proposals are looked at.

    Attributes:
        features: (B, C, h, w) finest level.
        objectness: (B, N) of all proposals.
        boxes: (B, N, 4) corners of all proposals, px.
    """

    features: Tensor
    objectness: Tensor
    boxes: Tensor


class State(NamedTuple):
    """What the LSTM remembers of each landmark.

    Attributes:
        hidden: (B, H) h of the frame before.
        cell: (B, H) c.
    """

    hidden: Tensor
    cell: Tensor


class Judged(NamedTuple):
    """What becomes of N proposals.

    Attributes:
        scores: (N, 2) of the classes: not the landmark, the landmark.
        shifts: (N, 2) o_x and o_y: where the landmark is, relative to the proposal's box.
        layers: (N, H) activations that the scores were computed from.
        state: (N, H) of the LSTM, were this the landmark.
    """

    scores: Tensor
    shifts: Tensor
    layers: list[Tensor]
    state: State


class SmallBackbone(nn.Module):
    """Features at a quarter and an eighth of the resolution, in a pyramid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(_block(1, 16, 2), _block(16, channels, 2), _block(channels, channels, 1))
        self.deeper = nn.Sequential(_block(channels, 2 * channels, 2), _block(2 * channels, 2 * channels, 1))
        self.pyramid = FeaturePyramidNetwork([channels, 2 * channels], channels)
        self.out_channels = channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return both levels of (B, 1, V, V) images, the finer one first."""
        fine = self.stem(images)
        levels: dict[str, Tensor] = self.pyramid(OrderedDict([("0", fine), ("1", self.deeper(fine))]))
        return levels


class _GreyResNet(nn.Module):
    """ResNet-50 with a feature pyramid, for grey images: its two finest levels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        network = resnet50(weights=None)
        self.body = BackboneWithFPN(network, _RESNET_LEVELS, _RESNET_CHANNELS, channels)
        self.out_channels = channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        levels = self.body(images.expand(-1, 3, -1, -1))
        return {name: levels[name] for name in ("0", "1")}


class Detector(nn.Module):
    """Finds a landmark in images of attended boxes.

    Args:
        backbone: ``small`` or ``resnet50``.
        channels: of the feature pyramid.
        hidden: of the heads and of the LSTM.
        view_px: side of the images.
        box_px: side of a landmark's box in them, px.
        proposals: how many are kept of each image.
        recurrence: whether the LSTM is there.
    """

    anchors: Tensor
    likelihood: Tensor

    def __init__(
        self,
        backbone: str,
        channels: int,
        hidden: int,
        view_px: int,
        box_px: float,
        proposals: int,
        recurrence: bool,
    ) -> None:
        super().__init__()
        self.view_px, self.proposals = view_px, proposals
        self.backbone = _GreyResNet(channels) if backbone == "resnet50" else SmallBackbone(channels)
        self.hidden = hidden
        sizes = tuple((round(size * box_px),) for size in _ANCHOR_SIZES)
        generator = AnchorGenerator(sizes=sizes, aspect_ratios=((1.0,),) * len(sizes))
        self.regions = RegionProposalNetwork(
            generator,
            RPNHead(channels, generator.num_anchors_per_location()[0]),
            fg_iou_thresh=0.6,
            bg_iou_thresh=0.3,
            batch_size_per_image=64,
            positive_fraction=0.25,
            pre_nms_top_n={"training": 64, "testing": _BEFORE_SUPPRESSION},
            post_nms_top_n={"training": 24, "testing": proposals},
            nms_thresh=_SUPPRESSED_OVERLAP,
        )
        self.align = RoIAlign(_ROI_PX, 1 / _STRIDE, 2, aligned=True)
        self.align_mask = RoIAlign(_MASK_ROI_PX, 1 / _STRIDE, 2, aligned=True)
        self.describe = nn.Sequential(nn.Linear(channels * _ROI_PX**2, hidden), nn.ReLU())
        self.recurrence = nn.LSTMCell(hidden, hidden) if recurrence else None
        self.classify = nn.ModuleList([nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)])
        self.score = nn.Linear(hidden, 2)
        self.shift = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2))
        self.mask = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(channels, channels, 2, 2),
            nn.ReLU(),
        )
        self.register_buffer("likelihood", torch.tensor([1.0, 0.0]))
        self.mask_weight = nn.Parameter(0.1 * torch.randn(2, channels))
        with torch.no_grad():
            blank = torch.zeros(1, 1, view_px, view_px)
            levels = list(self.backbone.eval()(blank).values())
            (anchors,) = generator(ImageList(blank, [(view_px, view_px)]), levels)
        self.backbone.train()
        self.register_buffer("anchors", anchors, persistent=False)

    def learn_to_propose(
        self, images: Tensor, true: Tensor
    ) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
        """Return the finest features, proposals, and the losses of the region proposal network.

        Args:
            images: (B, V, V).
            true: (B, 4) corners of the landmark's box.
        """
        features = self.backbone(images[:, None])
        listed = ImageList(images[:, None], [(self.view_px, self.view_px)] * len(images))
        proposals, losses = self.regions(listed, features, [{"boxes": box[None]} for box in true])
        return features["0"], proposals, losses

    def look(self, images: Tensor) -> Looked:
        """Return what is made of (B, V, V) images: the part of fixed shape."""
        features = self.backbone(images[:, None])
        objectness, deltas = self.regions.head(list(features.values()))
        scores, parameters = concat_box_prediction_layers(objectness, deltas)
        boxes = self.regions.box_coder.decode(parameters, [self.anchors] * len(images))
        boxes = clip_boxes_to_image(boxes.reshape(len(images), -1, 4), (self.view_px, self.view_px))
        return Looked(features["0"], scores.reshape(len(images), -1), boxes)

    def kept(self, looked: Looked) -> Tensor:
        """Return the (B, K, 4) proposals that are looked at; where there are fewer, the best fills up."""
        kept = []
        for scores, boxes in zip(looked.objectness, looked.boxes, strict=True):
            best = scores.topk(min(_BEFORE_SUPPRESSION, len(scores))).indices
            chosen = best[nms(boxes[best], scores[best], _SUPPRESSED_OVERLAP)][: self.proposals]
            kept.append(boxes[torch.cat([chosen, chosen[:1].expand(self.proposals - len(chosen))])])
        return torch.stack(kept)

    def judge(self, features: Tensor, proposals: list[Tensor], state: State) -> Judged:
        """Return what proposals are, given what is remembered of the landmark of each image.

        Args:
            features: (B, C, h, w) finest level.
            proposals: (K, 4) corners in each of B images, px.
            state: of B landmarks.
        """
        described = self.describe(self.align(features, proposals).flatten(1))
        # without recurrence nothing is remembered
        after = State(*(_repeated(part, proposals) for part in state))
        answered = described
        if self.recurrence is not None:
            after = State(*self.recurrence(described, (after.hidden, after.cell)))
            answered = after.hidden
        layers = [answered]
        for layer in self.classify:
            layers.append(torch.relu(layer(layers[-1])))
        return Judged(self.score(layers[-1]), self.shift(answered), layers, after)

    def score_of(self, judged: Judged) -> Tensor:
        """Return (N,) how likely each proposal is the landmark.

        The large margin loss asks for a distance from the boundary and for no more, so that the classes'
        scores say little of how likely they are: what they mean is fitted (Platt 1999).
        """
        slope, offset = self.likelihood.unbind()
        return torch.sigmoid(slope * (judged.scores[:, 1] - judged.scores[:, 0]) + offset)

    def pixels(self, features: Tensor, boxes: list[Tensor]) -> Tensor:
        """Return (N, M, M, C) features of the pixels of boxes; the LSTM has no part in them."""
        return torch.as_tensor(self.mask(self.align_mask(features, boxes))).permute(0, 2, 3, 1)

    def nothing(self, count: int, device: torch.device) -> State:
        """Return the state before anything was seen of so many landmarks."""
        zeros = torch.zeros(count, self.hidden, device=device)
        return State(zeros, zeros)


def _repeated(rows: Tensor, proposals: list[Tensor]) -> Tensor:
    """Return the row of each image once for each of its proposals."""
    return torch.cat([row.expand(len(some), -1) for row, some in zip(rows, proposals, strict=True)])


def _block(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )

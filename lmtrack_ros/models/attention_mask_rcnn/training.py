"""Training of the attention Mask R-CNN with LSTM, end to end (section 2.D)."""

import math
from collections.abc import Mapping

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import nll_loss

from lmtrack_ros.models.attention_mask_rcnn import selection
from lmtrack_ros.models.attention_mask_rcnn.boxes import corners, encode, square
from lmtrack_ros.models.attention_mask_rcnn.clips import Clips, read_clips
from lmtrack_ros.models.attention_mask_rcnn.configuration import AttentionMaskRcnnConfiguration
from lmtrack_ros.models.attention_mask_rcnn.detector import State
from lmtrack_ros.models.attention_mask_rcnn.losses import (
    attention_loss,
    box_loss,
    large_margin_loss,
    large_margin_softmax_loss,
)
from lmtrack_ros.models.attention_mask_rcnn.network import AttentionMaskRcnn, Candidates, View, overlaps
from lmtrack_ros.models.attention_mask_rcnn.populations import population
from lmtrack_ros.models.logistic import logistic
from lmtrack_ros.models.parts import Part
from lmtrack_ros.models.precision import Precision
from lmtrack_ros.models.sampling import places, rotation, sample
from lmtrack_ros.models.sole_network import SoleNetworkTrainee
from lmtrack_ros.models.trainee import Gathered, unseen

_CLIP_PX = 1.7
"""Side of a clip's squares, in regions: there is room to be off, to turn and to scale."""
_ROTATION_DEG, _SCALE, _GAMMA = 10.0, (0.85, 1.2), (0.7, 1.4)
_OFF = 0.06
"""Standard deviation of how far a region usually lies off the last place, in regions."""
_FAR_SHARE = 1 / 3
_FARTHEST = 0.4
"""A third of them lie anywhere within this."""
_MATCH_WEIGHT = 0.1
_GOLDEN_TURN = (math.sqrt(5) - 1) / 2
_POSITIVE_OVERLAP = 0.5
_MASK_RADIUS = 0.5
"""Of the disc that stands for a landmark's pixels, in its boxes."""
_MEASURED_BATCHES = 24
_PICTURED = 5


class AttentionMaskRcnnTrainee(SoleNetworkTrainee):
    """See :class:`.Trainee`."""

    configuration: AttentionMaskRcnnConfiguration
    network: AttentionMaskRcnn

    def __init__(
        self,
        configuration: AttentionMaskRcnnConfiguration,
        data: tuple[str, ...],
        seed: int,
        device: torch.device,
        gathered: Gathered = unseen,
    ) -> None:
        super().__init__(configuration, data, seed, device, gathered)
        c = configuration
        self.network = AttentionMaskRcnn(c).to(device)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=c.learning_rate)
        self.schedule = torch.optim.lr_scheduler.ExponentialLR(self.optimiser, c.decay)
        self.precision = Precision(device)
        self._clips = {part: self._read(part).to(device) for part in Part}
        once = -(-len(self._clips[Part.TRAINING]) // c.clips_per_step)
        self.steps_per_epoch = c.steps_per_epoch or once

    def _read(self, part: Part) -> Clips:
        c = self.configuration
        folders = population(self.data, part, self.gathered)
        return read_clips(
            folders,
            c.frames,
            round(_CLIP_PX * c.region_px),
            lambda done: self.gathered(f"{part.value} clips", done, len(folders)),
        )

    def step(self, index: int) -> Mapping[str, float]:
        """Take one step on clips drawn by chance."""
        self.network.train()
        clips = self._clips[Part.TRAINING]
        chosen = torch.randint(len(clips), (self.configuration.clips_per_step,), device=self.device)
        frames, at, references = self._varied(clips, chosen, vary=True)
        state = self._remembered(frames, at, references)
        losses = self._losses(*self._region(frames, at, -1, self._somewhere(len(at))), references, state)
        return self.descend(losses)

    def validate(self) -> Mapping[str, float]:
        """Fit what scores mean, and return how far from the landmark the choice is, on the validation set."""
        self._fit_likelihood()
        return self._measure(Part.VALIDATION)

    def scores(self) -> Mapping[str, float]:
        """Return the same on the test set."""
        return self._measure(Part.TEST)

    @torch.no_grad()
    def _fit_likelihood(self) -> None:
        """Fit how likely the best proposal is the landmark, by its score, on the validation set."""
        likelihood = self.network.detector.likelihood
        likelihood.copy_(torch.tensor([1.0, 0.0]))
        excess, right = [], []
        for chosen in self._measured(Part.VALIDATION):
            _, true, candidates, _ = self._candidates(self._clips[Part.VALIDATION], chosen)
            score, best = candidates.scores.max(dim=1)
            place = candidates.places_px[torch.arange(len(best)), best]
            excess.append(torch.logit(score))
            right.append(torch.linalg.vector_norm(place - true, dim=-1) < self.configuration.landmark_px / 4)
        slope, offset = logistic(torch.cat(excess).cpu().numpy(), torch.cat(right).cpu().numpy())
        likelihood.copy_(torch.tensor([slope, offset]))

    def _measured(self, part: Part) -> Tensor:
        """Return (batches, B) numbers of the clips that a part is measured on."""
        last, count = len(self._clips[part]) - 1, self.configuration.clips_per_step
        numbers = torch.linspace(0, last, _MEASURED_BATCHES * count).long()
        return numbers.reshape(-1, count).to(self.device)

    @torch.no_grad()
    def _measure(self, part: Part) -> Mapping[str, float]:
        away, attended = [], []
        for chosen in self._measured(part):
            _, true, found, boxes = self._find(self._clips[part], chosen)
            away.append(torch.linalg.vector_norm(found - true, dim=-1))
            low, high = corners(boxes).split(2, dim=-1)  # type: ignore[no-untyped-call]
            attended.append(((true >= low) & (true <= high)).all(-1).float())
        error_px = torch.cat(away)
        return {
            "mean_error_px": error_px.mean().item(),
            "median_error_px": error_px.median().item(),
            "beyond_5px": (error_px > 5).float().mean().item(),
            "attended": torch.cat(attended).mean().item(),
        }

    @torch.no_grad()
    def picture(self) -> NDArray[np.uint8]:
        """Return regions with the attended box (blue), the landmark (green) and where it is found (red)."""
        clips = self._clips[Part.VALIDATION]
        chosen = torch.linspace(0, len(clips) - 1, _PICTURED).long().to(self.device)
        regions, true, found, boxes = self._find(clips, chosen)
        return np.hstack(
            [
                _pictured(*(part[i].cpu().numpy() for part in (regions, true, found, corners(boxes))))
                for i in range(_PICTURED)
            ]
        )

    def split(self) -> Mapping[str, str]:
        """Return what is in each part."""
        said = {
            part.value: f"{len(clips)} clips of {clips.sequences} sequences"
            for part, clips in self._clips.items()
        }
        return {**said, "calibration": "none of these"}

    def _find(self, clips: Clips, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return regions, where the landmarks are in them, where they are found, and the attended boxes."""
        regions, true, candidates, boxes = self._candidates(clips, chosen)
        middle = np.full(2, (self.configuration.region_px - 1) / 2)
        best = [
            selection.chosen(s, p, middle, self.configuration.nearness)
            for s, p in zip(candidates.scores.cpu().numpy(), candidates.places_px.cpu().numpy(), strict=True)
        ]
        found = candidates.places_px[torch.arange(len(best)), torch.tensor(best)]
        return regions, true, found, boxes

    def _candidates(self, clips: Clips, chosen: Tensor) -> tuple[Tensor, Tensor, Candidates, Tensor]:
        """Return regions, where the landmarks are in them, where they may be, and the attended boxes."""
        self.network.eval()
        frames, at, references = self._varied(clips, chosen, vary=False)
        state = self._remembered(frames, at, references)
        regions, true = self._region(frames, at, -1, self._spiral(chosen))
        boxes, candidates = self.network.find(regions, references, state)
        return regions, true, candidates, boxes

    def _varied(self, clips: Clips, chosen: Tensor, *, vary: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return (B, F, C, C) frames, (B, F, 2) places and (B, S, S) references, turned and scaled alike."""
        frames, references = clips.grey(chosen)
        at = clips.places_px[chosen]
        count, side, region_px = len(chosen), frames.shape[-1], self.configuration.region_px
        middle = torch.full((count, 2), (side - 1) / 2, device=self.device)
        matrix = torch.eye(2, device=self.device).expand(count, 2, 2)
        if vary:
            angle = torch.deg2rad((2 * torch.rand(count, device=self.device) - 1) * _ROTATION_DEG)
            zoom = _uniform(*_SCALE, count, self.device)
            flip = torch.where(torch.rand(count, device=self.device) < 0.5, -1.0, 1.0)
            mirror = torch.diag_embed(torch.stack([flip, torch.ones_like(flip)], dim=-1))
            matrix = rotation(angle) @ mirror / zoom[:, None, None]
            gamma = _uniform(*_GAMMA, count, self.device)
            frames = frames.clamp(min=1e-4) ** gamma[:, None, None, None]
            references = references.clamp(min=1e-4) ** gamma[:, None, None]
            grid = places(matrix, middle, side)
            turned = [sample(frames[:, f], grid) for f in range(frames.shape[1])]
            frames = torch.stack(turned, dim=1)
            steps = (at - middle[:, None]) @ torch.linalg.inv(matrix).transpose(1, 2)
            at = steps + middle[:, None]
        references = sample(references, places(matrix, middle, region_px))
        return frames, at, references

    def _region(self, frames: Tensor, at: Tensor, number: int, off: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, S, S) regions, so far off the place in the frame before, and the place in them."""
        count, region_px = len(frames), self.configuration.region_px
        middle = at[:, number - 1] + off
        whole = torch.eye(2, device=self.device).expand(count, 2, 2)
        regions = sample(frames[:, number], places(whole, middle, region_px))
        return regions, at[:, number] - middle + (region_px - 1) / 2

    def _somewhere(self, count: int) -> Tensor:
        """Return (B, 2) by how much a tracker may be off, by chance."""
        near = torch.randn(count, 2, device=self.device) * _OFF * self.configuration.region_px
        angle, share = torch.rand(2, count, device=self.device).unbind()
        is_far = torch.rand(count, 1, device=self.device) < _FAR_SHARE
        return torch.where(is_far, self._in_disc(angle, share), near)

    def _spiral(self, chosen: Tensor) -> Tensor:
        """Return (B, 2) by how much regions of these clips are off: as each time, all over a disc."""
        turn = chosen * _GOLDEN_TURN
        return self._in_disc(turn, torch.remainder(turn * math.pi, 1.0))

    def _in_disc(self, turns: Tensor, shares: Tensor) -> Tensor:
        """Return (B, 2) vectors of so many turns that these shares of a disc are nearer than."""
        radius_px = _FARTHEST * self.configuration.region_px * torch.sqrt(shares)
        angle = 2 * math.pi * turns
        return radius_px[:, None] * torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)

    def _remembered(self, frames: Tensor, at: Tensor, references: Tensor) -> State:
        """Return the LSTM's state before the last frame: it has seen the landmark in those before."""
        network = self.network
        training = network.training
        network.eval()
        state = network.remember(references)
        for number in range(1, frames.shape[1] - 1):
            regions, true = self._region(frames, at, number, torch.zeros_like(at[:, 0]))
            with torch.no_grad():  # learnt through is the LSTM, not what it saw
                view = network.view(regions, network.attend(regions, references)[1])
                features = network.detector.backbone(view.images[:, None])["0"]
            boxes = list(network.landmark_boxes(view, true)[:, None])
            state = network.detector.judge(features, boxes, state).state
        network.train(training)
        return state

    def _losses(self, regions: Tensor, true: Tensor, references: Tensor, state: State) -> dict[str, Tensor]:
        """Return the losses of equations (1) and (2), and those of the region proposals."""
        c, network = self.configuration, self.network
        attended, boxes = network.attend(regions, references)
        losses: dict[str, Tensor] = {}
        around = square(true, float(c.attention_px if c.attention else c.region_px))
        if attended is not None and network.attention is not None:
            anchors = network.attention.anchors
            wanted = encode(around[:, None], anchors)
            pair = torch.stack([boxes, around], dim=1)
            losses["attention"] = attention_loss(regions, attended.parameters, wanted, anchors, pair)
            if attended.log_shares is not None:
                # not of the paper: says at once which cell the features must agree in
                cells = network.attention.cell(true)
                losses["match"] = _MATCH_WEIGHT * nll_loss(attended.log_shares, cells)
            # half of the time the true box, a little off, so that the detector learns from the first step on
            off = around + torch.randn_like(around) * torch.tensor([6.0, 6.0, 3.0, 3.0], device=self.device)
            boxes = torch.where(torch.rand(len(boxes), 1, device=self.device) < 0.5, boxes, off)
        view = network.view(regions, boxes)
        landmark = network.landmark_boxes(view, true)
        features, proposals, of_proposals = network.detector.learn_to_propose(view.images, landmark)
        losses |= {name.removeprefix("loss_"): loss for name, loss in of_proposals.items()}
        chosen = [
            torch.cat([own[None], p.detach()[: c.proposals + 3]])
            for own, p in zip(landmark, proposals, strict=True)
        ]
        judged = network.detector.judge(features, chosen, state)
        shared = torch.cat([overlaps(boxes, own) for boxes, own in zip(chosen, landmark, strict=True)])
        labels = (shared >= _POSITIVE_OVERLAP).long()
        losses["class"] = c.class_weight * large_margin_loss(judged.scores, labels, judged.layers, c.margin)
        losses["box"] = c.box_weight * self._box_loss(chosen, landmark, judged.shifts, labels)
        losses["mask"] = c.mask_weight * self._mask_loss(features, view, chosen, true)
        return losses

    def _box_loss(self, chosen: list[Tensor], landmark: Tensor, shifts: Tensor, labels: Tensor) -> Tensor:
        every = torch.cat(chosen)
        size = every[:, 2:] - every[:, :2]
        own = torch.cat([box.expand(len(boxes), 4) for boxes, box in zip(chosen, landmark, strict=True)])
        wanted = ((own[:, :2] + own[:, 2:]) - (every[:, :2] + every[:, 2:])) / 2 / size
        is_landmark = labels == 1
        return box_loss(shifts[is_landmark], wanted[is_landmark])

    def _mask_loss(self, features: Tensor, view: View, chosen: list[Tensor], true: Tensor) -> Tensor:
        """Return the loss of the pixels of one box for each landmark, its disc the landmark."""
        c = self.configuration
        boxes = [some[min(1, len(some) - 1)][None] for some in chosen]
        pixels = self.network.detector.pixels(features, boxes)
        side = pixels.shape[1]
        box = torch.cat(boxes)
        steps = (torch.arange(side, device=self.device) + 0.5) / side
        rows, columns = torch.meshgrid(steps, steps, indexing="ij")
        at = (
            box[:, None, None, :2]
            + torch.stack([columns, rows], -1) * (box[:, 2:] - box[:, :2])[:, None, None]
        )
        away = (at - view.to_view(true)[:, None, None]) * view.scale[:, None, None] / c.landmark_px
        labels = (torch.linalg.vector_norm(away, dim=-1) <= _MASK_RADIUS).long()
        return large_margin_softmax_loss(
            pixels.reshape(-1, pixels.shape[-1]),
            self.network.detector.mask_weight,
            labels.flatten(),
            c.angular_margin,
            c.weight_decay,
        )


def _uniform(low: float, high: float, count: int, device: torch.device) -> Tensor:
    return low + (high - low) * torch.rand(count, device=device)


def _pictured(
    region: NDArray[np.float32],
    true: NDArray[np.float32],
    found: NDArray[np.float32],
    box: NDArray[np.float32],
) -> NDArray[np.uint8]:
    picture = cv2.cvtColor(np.uint8(np.clip(region * 200, 0, 255)), cv2.COLOR_GRAY2RGB)  # type: ignore[call-overload]
    picture = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    left, top, right, bottom = np.rint(2 * np.clip(box, -1e3, 1e3)).astype(int).tolist()
    cv2.rectangle(picture, (left, top), (right, bottom), (90, 140, 240), 1)
    for place, colour in ((true, (60, 220, 90)), (found, (240, 70, 60))):
        at = np.rint(2 * np.clip(place, -1e3, 1e3)).astype(int).tolist()
        cv2.drawMarker(picture, at, colour, cv2.MARKER_CROSS, 11, 1, cv2.LINE_AA)
    return np.asarray(picture, dtype=np.uint8)

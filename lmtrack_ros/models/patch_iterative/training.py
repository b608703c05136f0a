"""Training of the patch-based iterative network (Experiment setup)."""

from collections.abc import Mapping, Sequence
from functools import partial

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmtrack_ros.models.parts import Part
from lmtrack_ros.models.patch_iterative.configuration import PatchIterativeConfiguration
from lmtrack_ros.models.patch_iterative.data import (
    Annotated,
    Batch,
    Mirror,
    coarse_points,
    drawn_lie,
    fine_points,
    shown_otherwise,
)
from lmtrack_ros.models.patch_iterative.losses import losses
from lmtrack_ros.models.patch_iterative.network import Move, PatchIterative, one_hot
from lmtrack_ros.models.patch_iterative.patches import cut, upright
from lmtrack_ros.models.patch_iterative.populations import POPULATIONS, check, mirror, volumes
from lmtrack_ros.models.patch_iterative.rules import RULES
from lmtrack_ros.models.patch_iterative.search import (
    REFINING_STEPS,
    Ends,
    first_starts,
    refine,
    search,
    steps_of,
)
from lmtrack_ros.models.patch_iterative.shape_model import ShapeModel, fit
from lmtrack_ros.models.precision import Precision
from lmtrack_ros.models.sole_network import SoleNetworkTrainee
from lmtrack_ros.models.trainee import Gathered, unseen

_LIES = 40
"""In how many each subject counts for the shape model, where volumes are turned."""
_PICTURED = 6
_PICTURE_PX, _PICTURE_MM = 160, 0.75


class PatchIterativeTrainee(SoleNetworkTrainee):
    """See :class:`.Trainee`."""

    configuration: PatchIterativeConfiguration
    network: PatchIterative

    def __init__(
        self,
        configuration: PatchIterativeConfiguration,
        data: tuple[str, ...],
        seed: int,
        device: torch.device,
        gathered: Gathered = unseen,
    ) -> None:
        super().__init__(configuration, data, seed, device, gathered)
        c = configuration
        check(data, c)
        self._volumes = {part: volumes(data[0], part, c, gathered) for part in Part}
        self._mirror = mirror(data[0], c)
        network = PatchIterative(c)
        # a layout that convolutions are faster in
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.take(shape_model_of(self._volumes[Part.TRAINING], c, self._mirror))
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=c.learning_rate)
        self.schedule = torch.optim.lr_scheduler.ExponentialLR(self.optimiser, c.decay)
        self.precision = Precision(device, half_on_cpu=True)
        self.steps_per_epoch = c.steps_per_epoch

    def step(self, index: int) -> Mapping[str, float]:
        """Take one step at points drawn by chance."""
        self.network.train()
        every = self._volumes[Part.TRAINING]
        return self.descend(step_losses(self.network, every, self._mirror, self.precision))

    def validate(self) -> Mapping[str, float]:
        """Return how far the landmarks of the validation set are off."""
        return self._measured(Part.VALIDATION)

    def scores(self) -> Mapping[str, float]:
        """Return the same of the test set."""
        return self._measured(Part.TEST)

    def _measured(self, part: Part) -> Mapping[str, float]:
        every = self._volumes[part]
        truth = torch.stack([one.landmarks_mm for one in every])
        stages = [found(self.network, one) for one in every]
        said = {}
        for name, number in (("error_mm", -1), ("coarse_error_mm", 0)):
            off = torch.stack([ends[number].mean_mm.cpu() for ends in stages]) - truth
            said[name] = float(off.norm(dim=-1).mean())
        mean = torch.stack([one.landmarks_mm for one in self._volumes[Part.TRAINING]]).mean(0)
        return said | {"mean_shape_error_mm": float((truth - mean).norm(dim=-1).mean())}

    def picture(self) -> NDArray[np.uint8]:
        """Return slices through landmarks, where they are (crosses) and where they are found (rings)."""
        every = self._volumes[Part.VALIDATION][:_PICTURED]
        return np.hstack([_pictured(one, found(self.network, one)[-1].mean_mm.cpu()) for one in every])

    def split(self) -> Mapping[str, str]:
        """Return what is in each part."""
        seeds = POPULATIONS[self.data[0]].seeds
        said = {
            part.value: f"{len(every)} volumes of {len(seeds[part])} subjects, seeds from {seeds[part].start}"
            for part, every in self._volumes.items()
        }
        return {**said, "calibration": "none of these"}


def shape_model_of(
    every: Sequence[Annotated], c: PatchIterativeConfiguration, mirrored: Mirror | None
) -> ShapeModel:
    """Return the shape model of training volumes, in many lies where they are turned."""
    lies = _LIES if c.turned_deg > 0 else 0
    shapes = [one.landmarks_mm for one in every]
    for _ in range(lies):
        shapes += [drawn_lie(c, mirrored).seen(one.landmarks_mm) for one in every]
    return fit(torch.stack(shapes), c.components)


def step_losses(
    network: PatchIterative, every: Sequence[Annotated], mirrored: Mirror | None, precision: Precision
) -> Mapping[str, Tensor]:
    """Return the losses of one step at points drawn by chance, by name.

    Args:
        network: in training mode.
        every: volumes to draw from.
        mirrored: how they may be mirrored.
        precision: to run the network in.
    """
    c, model = network.configuration, network.shape_model
    device = model.mean_mm.device
    cpu = model.to(torch.device("cpu"))
    chosen = torch.randint(len(every), (c.volumes_per_step,)).tolist()
    seen = [(every[number], drawn_lie(c, mirrored)) for number in chosen]
    each = c.points_per_step // c.volumes_per_step
    patches, true = _joined([coarse_points(one, lie, cpu, each, c) for one, lie in seen], c, device)
    with precision.autocast():
        move = network.coarse(patches)
    terms = dict(_losses(move, true, c.unit_mm, c))
    if network.fine is not None:
        patches, true = _joined([fine_points(one, lie, cpu, 1, c) for one, lie in seen], c, device)
        with precision.autocast():
            move = network.fine(patches, one_hot(len(seen), len(c.landmarks), device))
        terms |= {f"fine_{name}": loss for name, loss in _losses(move, true, c.fine_unit_mm, c).items()}
    return terms


def _joined(
    batches: Sequence[Batch], c: PatchIterativeConfiguration, device: torch.device
) -> tuple[Tensor, Tensor]:
    patches = shown_otherwise(torch.cat([batch.patches for batch in batches]), c)
    return patches.to(device), torch.cat([batch.true for batch in batches]).to(device)


@torch.no_grad()
def found(network: PatchIterative, one: Annotated, rule: str = "") -> list[Ends]:
    """Return where a network finds the landmarks of a volume: at first, and refined if it refines.

    Args:
        network: on any device.
        one: whose landmarks are not looked at.
        rule: of the first network's update; empty: the configuration's.
    """
    network.eval()
    c, model = network.configuration, network.shape_model
    device = model.mean_mm.device
    rule = rule or c.rule
    starts = first_starts(model, one.extent_mm.to(device))
    coarse = one.coarse.to(device)
    stages = [search(coarse, network.coarse, model, starts, RULES[rule], steps_of(rule), c)]
    if network.fine is not None:
        every = one_hot(len(starts), len(c.landmarks), device)
        refiner = partial(network.fine, said=every)
        stages.append(
            refine(one.fine.to(device), refiner, model, stages[0].each_mm, RULES[c.rule], REFINING_STEPS, c)
        )
    return stages


def _losses(move: Move, true: Tensor, unit_mm: float, c: PatchIterativeConfiguration) -> Mapping[str, Tensor]:
    whole = Move(move.displacement.float(), move.logits.float())
    return losses(whole, true, c.classification_weight, unit_mm)


def _pictured(one: Annotated, found_mm: Tensor) -> NDArray[np.uint8]:
    """Return the plane across the rows through the middle of the landmarks, and all of them on it."""
    middle = one.landmarks_mm.mean(0, keepdim=True)
    patches = cut(one.fine, middle, upright(1, middle), _PICTURE_PX, _PICTURE_MM)
    grey = np.clip(patches[0, 1].numpy() * 170, 0, 255).astype(np.uint8)
    picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    for true, at in zip(one.landmarks_mm - middle, found_mm - middle, strict=True):
        for place, colour, mark in ((true, (60, 220, 90), cv2.MARKER_CROSS), (at, (240, 70, 60), None)):
            x, y = (place[[0, 2]] / _PICTURE_MM + (_PICTURE_PX - 1) / 2).round().int().tolist()
            if mark is None:
                cv2.circle(picture, (x, y), 4, colour, 1, cv2.LINE_AA)
            else:
                cv2.drawMarker(picture, (x, y), colour, mark, 6, 1, cv2.LINE_AA)
    return np.asarray(picture, np.uint8)

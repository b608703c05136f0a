"""Training of the template matching network, self-supervised: no landmark of any image is known to it."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmtrack_ros.models.parts import Part
from lmtrack_ros.models.precision import Precision
from lmtrack_ros.models.sole_network import SoleNetworkTrainee
from lmtrack_ros.models.template_matching.configuration import TemplateMatchingConfiguration
from lmtrack_ros.models.template_matching.data import Augmentation, Batch, draw
from lmtrack_ros.models.template_matching.images import (
    PHANTOMS,
    ImageSet,
    folder_images,
    joined,
    phantom_images,
)
from lmtrack_ros.models.template_matching.losses import LOSSES, match_loss
from lmtrack_ros.models.template_matching.network import Found, NetworkSize, TemplateMatchingNetwork
from lmtrack_ros.models.trainee import Gathered, unseen

_REGION_OVERHANG = 0.2
"""A region round a landmark may reach beyond the image by so much of its side."""
_MEASURED_BATCHES = 16
_PICTURED_VIEWS, _PICTURED_PATCHES = 4, 5


def build_network(
    configuration: TemplateMatchingConfiguration, pretrained: bool = False
) -> TemplateMatchingNetwork:
    """Return the network of a configuration, with weights by chance or of ImageNet."""
    c = configuration
    size = NetworkSize(c.encoder, c.image_px, c.patch_px, c.hidden, c.depth, c.dropout, c.matching)
    return TemplateMatchingNetwork(size, pretrained)


class TemplateMatching(SoleNetworkTrainee):
    """See :class:`.Trainee`."""

    configuration: TemplateMatchingConfiguration
    network: TemplateMatchingNetwork

    def __init__(
        self,
        configuration: TemplateMatchingConfiguration,
        data: tuple[str, ...],
        seed: int,
        device: torch.device,
        gathered: Gathered = unseen,
    ) -> None:
        super().__init__(configuration, data, seed, device, gathered)
        c = configuration
        network = build_network(c, c.pretrained)
        # a layout that convolutions are faster in
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=c.learning_rate)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimiser, c.decay_every_epochs, c.decay)
        self.precision = Precision(device)
        overhang = _REGION_OVERHANG if c.view_mm else 0.0
        self._augmentation = Augmentation(crop=c.crop, noise=c.noise, overhang=overhang)
        self._images = {part: images.to(device) for part, images in _images(data, c, gathered).items()}
        once = -(-len(self._images[Part.TRAINING]) // c.images_per_step)
        self.steps_per_epoch = c.steps_per_epoch or once

    def step(self, index: int) -> Mapping[str, float]:
        """Take one step on views of images drawn by chance."""
        c = self.configuration
        self.network.train()
        images = self._images[Part.TRAINING]
        chosen = torch.randint(len(images), (c.images_per_step,), device=self.device)
        batch = self._draw(images, chosen)
        found = self._find(batch)
        losses = {c.loss: LOSSES[c.loss](found, batch.place_px)}
        if found.log_shares is not None:
            losses["match"] = match_loss(found.log_shares, batch.place_px, c.image_px)
        return self.descend(losses)

    def validate(self) -> Mapping[str, float]:
        """Return errors of template matching, paper section III.A, on views of the validation set."""
        return self._measure(Part.VALIDATION)

    def scores(self) -> Mapping[str, float]:
        """Return the same on the test set."""
        return self._measure(Part.TEST)

    @torch.inference_mode()
    def _measure(self, part: Part) -> Mapping[str, float]:
        self.network.eval()
        images = self._images[part]
        count = self.configuration.images_per_step
        away, sigma = [], []
        for chosen in torch.linspace(0, len(images) - 1, _MEASURED_BATCHES * count).long().reshape(-1, count):
            batch = self._draw(images, chosen.to(self.device))
            found = self._find(batch)
            away.append(torch.linalg.norm(found.place_px - batch.place_px, dim=-1).flatten())
            sigma.append(torch.linalg.norm(found.sigma_px, dim=-1).flatten())
        error_px, sigma_px = torch.cat(away), torch.cat(sigma)
        surest = error_px[sigma_px <= sigma_px.median()]
        return {
            "mean_error_px": error_px.mean().item(),
            "median_error_px": error_px.median().item(),
            "surer_half_error_px": surest.mean().item(),
        }

    @torch.inference_mode()
    def picture(self) -> NDArray[np.uint8]:
        """Return views with patches where they belong (green) and where they are found (red, with σ̂)."""
        self.network.eval()
        images = self._images[Part.VALIDATION]
        chosen = torch.linspace(0, len(images) - 1, _PICTURED_VIEWS).long().to(self.device)
        batch = self._draw(images, chosen)
        found = self._find(batch)
        views = []
        for i in range(_PICTURED_VIEWS):
            n = _PICTURED_PATCHES
            marks = (batch.place_px[i, :n], found.place_px[i, :n], found.sigma_px[i, :n])
            views.append(_pictured(batch.views[i], *(m.cpu().numpy() for m in marks)))
        return np.hstack(views)

    def split(self) -> Mapping[str, str]:
        """Return what is in each part."""
        said = {
            part.value: f"{len(images)} images of {images.subjects} subjects"
            for part, images in self._images.items()
        }
        return {**said, "calibration": "none of these"}

    def _draw(self, images: ImageSet, chosen: Tensor) -> Batch:
        c = self.configuration
        return draw(
            images.grey(chosen),
            images.size_px[chosen],
            images.view_px[chosen],
            c.image_px,
            c.patches_per_image,
            c.patch_px,
            self._augmentation,
        )

    def _find(self, batch: Batch) -> Found:
        with self.precision.autocast():
            return self.network.find(batch.views, self.network.encode_patches(batch.patches))


def _images(
    data: tuple[str, ...], c: TemplateMatchingConfiguration, gathered: Gathered
) -> dict[Part, ImageSet]:
    """Return the images of all data sets and folders, by part."""
    sets = [
        {part: phantom_images(PHANTOMS[name], part, c.view_mm, c.image_px, gathered) for part in Part}
        for name in data
        if name in PHANTOMS
    ]
    folders = [Path(name) for name in data if name not in PHANTOMS]
    if folders:
        sets.append(folder_images(folders, c.view_mm, c.image_px))
    return {part: joined([one[part] for one in sets]) for part in Part}


def _pictured(
    view: Tensor, place_px: NDArray[np.float32], found_px: NDArray[np.float32], sigma_px: NDArray[np.float32]
) -> NDArray[np.uint8]:
    grey = np.uint8(np.clip(view.cpu().numpy() * 200, 0, 255))
    picture = cv2.cvtColor(np.asarray(grey), cv2.COLOR_GRAY2RGB)
    for place, found, sigma in zip(place_px, found_px, sigma_px, strict=True):
        right, wrong = (np.rint(np.clip(at, -1e3, 1e3)).astype(int).tolist() for at in (place, found))
        radii = np.rint(np.clip(sigma, 1, 1e3)).astype(int).tolist()
        cv2.line(picture, right, wrong, (230, 200, 60), 1, cv2.LINE_AA)
        cv2.drawMarker(picture, right, (60, 220, 90), cv2.MARKER_CROSS, 9, 1, cv2.LINE_AA)
        cv2.ellipse(picture, wrong, radii, 0, 0, 360, (240, 70, 60), 1, cv2.LINE_AA)
    return np.asarray(picture, dtype=np.uint8)

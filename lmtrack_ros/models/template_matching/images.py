"""Images to train on: of phantoms, or from a user's own folders, divided by patient."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lmtrack_ros.configuration import cache_directory
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import Modality
from lmtrack_ros.models.grey import from_bytes, scaled, to_bytes
from lmtrack_ros.models.parts import Part
from lmtrack_ros.models.trainee import Gathered, unseen
from lmtrack_ros.phantoms.pool import Pool
from lmtrack_ros.sources import open_source

_SUBJECT_FRAMES = 200
"""Of a user's recording, so many frames at most, evenly over its length."""


@dataclass(frozen=True)
class PhantomData:
    """Which phantoms are a data set; a seed is a patient.

    Attributes:
        modality: of the phantoms.
        presets: kinds of anatomy and imager.
        seeds: of each part.
        frames: of each patient.
        rate_hz: at which they are taken, so that they show several phases of breathing.
    """

    modality: str
    presets: tuple[str, ...]
    seeds: dict[Part, range]
    frames: int
    rate_hz: float


PHANTOMS = {
    "mr": PhantomData(
        "mr",
        ("liver", "thorax", "coronal", "linac", "noisy"),
        {Part.TRAINING: range(1000, 1060), Part.VALIDATION: range(2000, 2006), Part.TEST: range(3000, 3010)},
        frames=6,
        rate_hz=1.2,
    ),
    "radiograph": PhantomData(
        "fluoroscopy",
        ("radiograph",),
        {Part.TRAINING: range(1000, 1160), Part.VALIDATION: range(2000, 2016), Part.TEST: range(3000, 3030)},
        frames=4,
        rate_hz=1.2,
    ),
}
"""By name; patients with seeds below 1000 and above 4000 are left for calibration and for tests."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of some subjects, on pixels of one size where that is known.

    Attributes:
        images: (N, H, W) uint8, each in the top-left corner of zeros; ``grey`` returns their values.
        size_px: (N, 2) width and height of each.
        view_px: (N,) side of the view of each.
        subjects: how many they show.
    """

    images: Tensor
    size_px: Tensor
    view_px: Tensor
    subjects: int

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.images)

    def grey(self, index: Tensor) -> Tensor:
        """Return (K, H, W) images by number, as ``grey.scaled`` gives them."""
        return from_bytes(self.images[index])

    def to(self, device: torch.device) -> "ImageSet":
        """Return the set on a device."""
        return ImageSet(
            self.images.to(device), self.size_px.to(device), self.view_px.to(device), self.subjects
        )


def joined(sets: Sequence[ImageSet]) -> ImageSet:
    """Return several sets as one."""
    if len(sets) == 1:
        return sets[0]
    height, width = (max(one.images.shape[axis] for one in sets) for axis in (1, 2))
    padded = [
        functional.pad(one.images, (0, width - one.images.shape[2], 0, height - one.images.shape[1]))
        for one in sets
    ]
    return ImageSet(
        torch.cat(padded),
        torch.cat([one.size_px for one in sets]),
        torch.cat([one.view_px for one in sets]),
        sum(one.subjects for one in sets),
    )


def phantom_pool(data: PhantomData, part: Part) -> Pool:
    """Return the sequences of one part of a phantom data set, which are kept once they are rendered."""
    directory = cache_directory("phantoms")
    return Pool(
        data.modality, data.presets, tuple(data.seeds[part]), data.frames, directory, data.rate_hz, False
    )


def phantom_images(
    data: PhantomData,
    part: Part,
    view_mm: float,
    image_px: int,
    gathered: Gathered = unseen,
) -> ImageSet:
    """Return the images of one part of a phantom data set, rendered where they are not kept from before.

    Args:
        data: which phantoms.
        part: of them.
        view_mm: side of the views; 0: whole images.
        image_px: side of the network's image.
        gathered: told how many patients there are so far.
    """
    pool = phantom_pool(data, part)
    images = _Images(view_mm, image_px)
    for index in range(len(pool)):
        gathered(part.value, index, len(pool))
        sequence = pool.load(index)
        images.add(sequence.images, float(sequence.spacing_mm[0]))
    gathered(part.value, len(pool), len(pool))
    return images.stacked()


def folder_images(folders: Sequence[Path], view_mm: float, image_px: int) -> dict[Part, ImageSet]:
    """Return a user's own images; each folder is a subject.

    Of three and more subjects the last two are for validation and test. Of fewer, the last frames of each
    are: those figures say how well the task is learnt, not how well it carries over to another subject.

    Raises:
        UserError: one cannot be read, holds no 2-D image, or gives no pixel spacing where views are in mm.
    """
    parts = {part: _Images(view_mm, image_px) for part in Part}
    subjects = [_read(folder, view_mm > 0) for folder in folders]
    for number, (images, spacing_mm) in enumerate(subjects):
        left = len(subjects) - number
        if len(subjects) >= 3:
            part = {1: Part.TEST, 2: Part.VALIDATION}.get(left, Part.TRAINING)
            parts[part].add(images, spacing_mm)
            continue
        first, second = (round(len(images) * share) for share in (0.8, 0.9))
        if not 0 < first < second < len(images):
            raise UserError(f"{folders[number]} holds {len(images)} images: too few to train and to validate")
        parts[Part.TRAINING].add(images[:first], spacing_mm)
        parts[Part.VALIDATION].add(images[first:second], spacing_mm)
        parts[Part.TEST].add(images[second:], spacing_mm)
    return {part: images.stacked() for part, images in parts.items()}


class _Images:
    """Images on their way into a set."""

    def __init__(self, view_mm: float, image_px: int) -> None:
        self._view_mm, self._image_px = view_mm, image_px
        self._images: list[NDArray[np.uint8]] = []
        self._view_px: list[float] = []
        self._subjects = 0

    def add(self, images: Sequence[NDArray[Any]] | NDArray[Any], spacing_mm: float) -> None:
        """Take up the images of one subject.

        Args:
            images: (N, H, W).
            spacing_mm: pixel pitch; 0: unknown, which only whole images can do without.
        """
        self._subjects += 1
        for image in images:
            side = max(image.shape)
            view_px = self._view_mm / spacing_mm if self._view_mm else side
            # what is finer than the network's image is lost on it
            scale = min(1.0, self._image_px / view_px)
            values = scaled(image)
            if scale < 1.0:
                values = np.asarray(
                    cv2.resize(values, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                )
            self._images.append(to_bytes(values))
            self._view_px.append(view_px * scale)

    def stacked(self) -> ImageSet:
        sizes = np.array([image.shape[::-1] for image in self._images])
        width, height = sizes.max(axis=0)
        images = np.zeros((len(sizes), height, width), np.uint8)
        for canvas, image in zip(images, self._images, strict=True):
            canvas[: image.shape[0], : image.shape[1]] = image
        return ImageSet(
            torch.from_numpy(images),
            torch.from_numpy(sizes).float(),
            torch.tensor(self._view_px),
            self._subjects,
        )


def _read(folder: Path, in_mm: bool) -> tuple[list[NDArray[Any]], float]:
    """Return frames of a user's recording, and their pixel pitch, mm."""
    # whole images need no millimetres, and training needs neither rate nor kind: a bare folder will do
    unneeded: dict[str, Any] = {} if in_mm else {"modality": Modality.MR, "spacing_mm": (1.0, 1.0)}
    try:
        source = open_source(folder, rate_hz=1.0, **unneeded)
    except UserError as error:
        hint = "; a sequence.yaml beside the images can" if folder.is_dir() else ""
        raise UserError(f"{error}{hint}") from error
    try:
        frames = list(source)
    finally:
        source.close()
    if not frames or frames[0].image.ndim != 2:
        raise UserError(f"{folder} holds no 2-D image to train on")
    geometry = frames[0].geometry
    if geometry is None:
        raise UserError(f"{folder} does not say its pixel spacing")
    chosen = np.unique(np.linspace(0, len(frames) - 1, _SUBJECT_FRAMES).round().astype(int))
    return [frames[i].image for i in chosen], geometry.plane_spacing_mm[0]

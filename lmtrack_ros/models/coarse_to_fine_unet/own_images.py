"""Sequences of a user's own with masks, as ``lmtrack phantom ct4d`` writes them."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.models.coarse_to_fine_unet.configuration import CoarseToFineUnetConfiguration
from lmtrack_ros.models.coarse_to_fine_unet.strands import TOLERANCE
from lmtrack_ros.models.coarse_to_fine_unet.windows import Clip, clip
from lmtrack_ros.models.parts import Part
from lmtrack_ros.sources import open_source
from lmtrack_ros.sources.files import natural_order

_MASKS = Path("masks", "tumor")


def own_clips(folder: Path, part: Part, configuration: CoarseToFineUnetConfiguration) -> list[Clip]:
    """Return the sequences in one part's folder; frames that come faster than the step are several clips.

    Args:
        folder: with a folder for each part, in it sequences with ``sequence.yaml`` and ``masks/tumor``, one
            mask for each frame.
        part: wanted.
        configuration: of the model.

    Raises:
        UserError: there is no sequence, or one cannot be read or is too short.
    """
    inside = folder / part.value
    paths = sorted(inside.iterdir(), key=natural_order) if inside.is_dir() else []
    every = [one for path in paths if path.is_dir() for one in _clips(path, configuration)]
    if every and not any(one.masks[: configuration.frames].flatten(1).any(1).all() for one in every):
        raise UserError(f"{inside}: no sequence shows the tumour in its first {configuration.frames} frames")
    if not every:
        raise UserError(
            f"{inside} holds no sequence: expected one folder each, with sequence.yaml and {_MASKS}, in "
            f"{', '.join(other.value for other in Part)}"
        )
    return every


def _clips(path: Path, configuration: CoarseToFineUnetConfiguration) -> list[Clip]:
    source, shown = open_source(path), _masks(path)
    try:
        images = [frame.image for frame in source]
    finally:
        source.close()
    if len(images) != len(shown) or any(i.shape != m.shape for i, m in zip(images, shown, strict=True)):
        raise UserError(f"{path / _MASKS} must hold a mask of each frame, as large as it")
    if source.info.geometry is None:
        raise UserError(f"{path}: the pixel spacing is unknown")
    stride = max(1, round(configuration.step_s * source.info.rate_hz))
    if abs(stride / source.info.rate_hz - configuration.step_s) > TOLERANCE * configuration.step_s:
        raise UserError(
            f"{path}: at {source.info.rate_hz:g} Hz no frames are {configuration.step_s:g} s apart"
        )
    if len(images) < stride * configuration.frames:
        raise UserError(
            f"{path}: {len(images)} frames at {source.info.rate_hz:g} Hz are less than "
            f"{configuration.frames} that are {configuration.step_s:g} s apart"
        )
    spacing_mm = source.info.geometry.plane_spacing_mm[0]
    return [
        clip(
            np.stack(images[first::stride]),
            np.stack(shown[first::stride]),
            configuration.image_px,
            spacing_mm,
            is_cycle=False,
        )
        for first in range(stride)
    ]


def _masks(path: Path) -> list[NDArray[np.bool_]]:
    files = sorted((path / _MASKS).glob("*.png"), key=natural_order)
    masks = [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in files]
    for file, mask in zip(files, masks, strict=True):
        if mask is None:
            raise UserError(f"{file} is not an image")
    return [mask > 0 for mask in masks if mask is not None]

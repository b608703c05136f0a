"""A small coarse-to-fine U-Net that was really trained, on discs that move up and down over noise."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from lmtrack_ros.models.calibration import Calibration, plain
from lmtrack_ros.models.coarse_to_fine_unet import training
from lmtrack_ros.models.coarse_to_fine_unet.configuration import CoarseToFineUnetConfiguration
from lmtrack_ros.models.coarse_to_fine_unet.windows import Clip, clip
from lmtrack_ros.models.description import BEST, RUN_FILE, Description, plain_values
from lmtrack_ros.models.randomness import seed_all
from lmtrack_ros.models.weights import save_weights

TINY = CoarseToFineUnetConfiguration(
    image_px=32,
    part_px=16,
    frames=4,
    levels=4,
    refinement_levels=3,
    channels=4,
    most_channels=16,
    critic_levels=2,
    windows_per_step=2,
    steps_per_epoch=2,
)
CPU = torch.device("cpu")


def image_of_discs(places: list[tuple[float, float]], seed: int, radius: float = 4.0) -> NDArray[np.uint8]:
    """Return a (40, 48) image of bright discs at (column, row) over noise."""
    rows, columns = np.mgrid[:40, :48]
    inside = np.zeros(rows.shape, bool)
    for column, row in places:
        inside |= (rows - row) ** 2 + (columns - column) ** 2 < radius**2
    noise = np.random.default_rng(seed).normal(0, 8, inside.shape)
    return np.asarray((60 + 90 * inside + noise).clip(0, 255), np.uint8)


def moving_disc(
    frames: int, seed: int, *, is_cycle: bool = False, radius: float = 4.0, column: float = 24.0
) -> Clip:
    """Return a clip of a bright disc that moves up and down over noise."""
    rows, columns = np.mgrid[:40, :48]
    heights = [20 + 8 * np.sin(2 * np.pi * number / 6) for number in range(frames)]
    images = [image_of_discs([(column, row)], seed * 100 + i, radius) for i, row in enumerate(heights)]
    masks = [(rows - row) ** 2 + (columns - column) ** 2 < radius**2 for row in heights]
    return clip(np.stack(images), np.stack(masks), 32, 2.0, is_cycle=is_cycle)


CLIPS = [
    *(moving_disc(9, seed, column=8.0 + 8 * seed) for seed in range(4)),
    moving_disc(6, 4, is_cycle=True),
    moving_disc(9, 5, radius=0.0),
]


@cache
def _trained_state() -> dict[str, torch.Tensor]:
    with patch.object(training, "clips", lambda *_: CLIPS):
        seed_all(0, 0)
        trainee = training.CoarseToFineUnetTrainee(_TAUGHT, ("group",), 0, CPU)
        for index in range(_STEPS):
            seed_all(0, 1, index)
            trainee.step(index)
    return dict(trainee.network.state_dict())


_TAUGHT = replace(TINY, part_px=32, gan_weight=0.0, learning_rate=3e-3, generator_steps=1, windows_per_step=4)
_STEPS = 160


def write_run(folder: Path) -> str:
    """Write the run of a network that finds such discs, calibrated as it would be."""
    folder.mkdir(parents=True, exist_ok=True)
    described = Description(
        "coarse_to_fine_unet",
        "realtime",
        ("group",),
        0,
        plain_values(_TAUGHT),
        calibration=plain(Calibration({"steady": {2: 0.3}}, 5)),
    )
    described.write(folder / RUN_FILE)
    save_weights(folder / BEST, _trained_state(), described)
    return str(folder)

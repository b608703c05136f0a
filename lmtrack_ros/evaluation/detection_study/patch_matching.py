"""The contrastive baseline: patches are compared by features that SimCLR has learnt.

Frueh et al. 2022, section III.D.2 and equation (5).
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lmtrack_ros.evaluation.detection_study.fitting import fit
from lmtrack_ros.evaluation.detection_study.networks import Contrastive, Residual
from lmtrack_ros.evaluation.detection_study.plan import Plan
from lmtrack_ros.evaluation.detection_study.radiographs import Radiographs
from lmtrack_ros.evaluation.detection_study.variation import Variation, varied
from lmtrack_ros.models.grey import scaled
from lmtrack_ros.models.randomness import seed_all
from lmtrack_ros.models.sampling import cut
from lmtrack_ros.trackers.subpixel import refine_peak

PATCH_PX = 32
_PATCHES = Variation(scale=(0.8, 1.25), shift=0.0, gain=(0.6, 1.4))
"""The middle of a patch stays where it is: a feature that does not change with it would say no place."""
_BATCH = 512


def train_features(
    grey: Tensor, plan: Plan, checkpoint: Path, on_step: Callable[[int], None]
) -> tuple[Residual, float]:
    """Train an encoder of patches with SimCLR; other patches of an image are negatives too.

    Args:
        grey: (N, H, W) radiographs without labels.
        plan: how long.
        checkpoint: file to go on from.
        on_step: called with how many steps are taken.

    Returns:
        The encoder, and the processor time it took, s.
    """
    seed_all(plan.seed)
    network = Contrastive()
    size = torch.tensor([grey.shape[2] - 1.0, grey.shape[1] - 1.0])

    def loss() -> Tensor:
        images = grey[torch.randperm(len(grey))[: plan.patch_images]]
        images = images.repeat_interleave(plan.patches_per_image, 0)
        place = torch.rand(len(images), 2) * size
        one, other = (varied(images, place, PATCH_PX, _PATCHES).grey for _ in range(2))
        return network.loss(one, other)

    cpu_s = fit(
        network,
        loss,
        checkpoint,
        steps=plan.patch_steps,
        learning_rate=plan.learning_rate,
        seed=plan.seed,
        on_step=on_step,
    )
    return network.encoder, cpu_s


class PatchMatching:
    """Finds for each example the patch of an image whose feature is most like that of its own.

    Args:
        encoder: of patches.
        examples: to look for.
        grid_px: distance of the patches that are compared; between them, the peak of a quadratic decides.
    """

    def __init__(self, encoder: Residual, examples: Radiographs, grid_px: int) -> None:
        self._encoder = encoder
        self._grid_px = grid_px
        features = [
            self._features(_grey(image), torch.from_numpy(uv_px).float())
            for image, uv_px in zip(examples.images, examples.uv_px, strict=True)
        ]
        self._sought = torch.stack(features, dim=1)  # (L, N, F)

    @torch.inference_mode()
    def find(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return (L, N, 3): column and row in an (H, W) image, px, and affinity, of every example."""
        rows, columns = (torch.arange(0, side, self._grid_px) for side in image.shape)
        grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)
        features = self._features(_grey(image), grid.reshape(-1, 2).float())
        affinity = (self._sought @ features.T).numpy().reshape(-1, len(rows), len(columns))
        found = [self._peak(one) for one in affinity]
        return np.array(found).reshape(*self._sought.shape[:2], 3)

    def _peak(self, affinity: NDArray[np.float32]) -> tuple[float, float, float]:
        row, column = (int(i) for i in np.unravel_index(affinity.argmax(), affinity.shape))
        peak = refine_peak(affinity, row, column)
        return peak.column * self._grid_px, peak.row * self._grid_px, float(affinity[row, column])

    @torch.inference_mode()
    def _features(self, grey: Tensor, places_px: Tensor) -> Tensor:
        """Return (M, F) features, of length 1, of patches of an (H, W) image round (M, 2) places."""
        parts = [
            functional.normalize(self._encoder(cut(grey[None], part[None], PATCH_PX)[0]), dim=-1)
            for part in torch.split(places_px, _BATCH)
        ]
        return torch.cat(parts)


def _grey(image: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(scaled(image))

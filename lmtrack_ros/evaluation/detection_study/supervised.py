"""The supervised baseline: one network that gives the coordinates of all landmarks at once.

Frueh et al. 2022, sections III.D.1 and, where it starts from contrastive pre-training, III.D.3.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lmtrack_ros.evaluation.detection_study.fitting import fit
from lmtrack_ros.evaluation.detection_study.networks import Contrastive, Residual
from lmtrack_ros.evaluation.detection_study.plan import Plan
from lmtrack_ros.evaluation.detection_study.radiographs import Radiographs
from lmtrack_ros.evaluation.detection_study.variation import Variation, varied
from lmtrack_ros.models.grey import scaled
from lmtrack_ros.models.randomness import seed_all

_COARSER = 2
"""Pixels of a radiograph to one of the network's: on two cores four times the steps teach it more."""
_LOSS_SCALE = 100.0
_LABELLED = Variation()
_UNLABELLED = Variation(scale=(0.8, 1.6), shift=0.15, gain=(0.6, 1.4))


class Regressor(nn.Module):
    """ResNet-18 with two outputs for each landmark.

    Args:
        encoder: its state, pre-trained; None: by chance.
        mean_px: (L, 2) where the landmarks are on average, which is what it says at first, px of its input.
        side_px: of its input.
    """

    mean: Tensor

    def __init__(self, encoder: dict[str, Tensor] | None, mean_px: Tensor, side_px: int) -> None:
        super().__init__()
        self.encoder = Residual()
        if encoder is not None:
            self.encoder.load_state_dict(encoder)
        self.head = nn.Linear(Residual.width, mean_px.numel())
        nn.init.normal_(self.head.weight, std=1e-3)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", mean_px)
        self._side_px = side_px

    def forward(self, grey: Tensor) -> Tensor:
        """Return (B, L, 2) places in (B, S, S) images, px."""
        away: Tensor = self.head(self.encoder(grey)).reshape(-1, *self.mean.shape)
        return self.mean + away * self._side_px

    @torch.inference_mode()
    def detect(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return (L, 2) places in an (H, W) image, px."""
        found_px = self(coarser(image[None]))[0].numpy().astype(np.float64)
        return np.asarray(found_px * _COARSER + (_COARSER - 1) / 2)


def coarser(images: NDArray[np.uint8]) -> Tensor:
    """Return (N, H/2, W/2) grey values of (N, H, W) images."""
    grey = torch.from_numpy(np.stack([scaled(image) for image in images]))
    return functional.avg_pool2d(grey, _COARSER)


def pretrain(
    grey: Tensor, plan: Plan, checkpoint: Path, on_step: Callable[[int], None]
) -> tuple[dict[str, Tensor], float]:
    """Train an encoder with SimCLR on whole radiographs without labels.

    Args:
        grey: (N, S, S) as :func:`coarser` gives them.
        plan: how long.
        checkpoint: file to go on from.
        on_step: called with how many steps are taken.

    Returns:
        The encoder's state, and the processor time it took, s.
    """
    seed_all(plan.seed)
    network = Contrastive()
    side = grey.shape[-1]

    def loss() -> Tensor:
        chosen = grey[torch.randperm(len(grey))[: plan.pretraining_batch]]
        middle = torch.full((len(chosen), 2), (side - 1) / 2)
        one, other = (varied(chosen, middle, side, _UNLABELLED).grey for _ in range(2))
        return network.loss(one, other)

    cpu_s = fit(
        network,
        loss,
        checkpoint,
        steps=plan.pretraining_steps,
        learning_rate=plan.learning_rate,
        seed=plan.seed,
        on_step=on_step,
    )
    return network.encoder.state_dict(), cpu_s


def train(
    examples: Radiographs,
    encoder: dict[str, Tensor] | None,
    plan: Plan,
    seed: int,
    checkpoint: Path,
    on_step: Callable[[int], None],
) -> tuple[Regressor, float]:
    """Train on labelled radiographs; only coordinates that are defined count.

    Args:
        examples: to learn from.
        encoder: state to start from; None: by chance.
        plan: how long.
        seed: of all chance.
        checkpoint: file to go on from.
        on_step: called with how many steps are taken.

    Returns:
        The network, and the processor time it took, s.
    """
    grey = coarser(examples.images)
    uv_px = torch.from_numpy((examples.uv_px - (_COARSER - 1) / 2) / _COARSER).float()
    counts = torch.from_numpy(examples.axes).float()
    side = grey.shape[-1]
    seed_all(seed)
    network = Regressor(encoder, uv_px.mean(0), side)

    def loss() -> Tensor:
        chosen = torch.randint(len(grey), (plan.supervised_batch,))
        middle = torch.full((len(chosen), 2), (side - 1) / 2)
        squares = varied(grey[chosen], middle, side, _LABELLED)
        away = (network(squares.grey) - squares.place(uv_px[chosen])) / side
        return torch.mean(away.square() * counts) * _LOSS_SCALE

    cpu_s = fit(
        network,
        loss,
        checkpoint,
        steps=plan.supervised_steps,
        learning_rate=plan.learning_rate,
        seed=seed,
        on_step=on_step,
    )
    return network, cpu_s

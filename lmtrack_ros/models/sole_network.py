"""A trainee with one network, one optimiser, and a learning rate that falls with the epochs."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from lmtrack_ros.models.precision import Precision
from lmtrack_ros.models.trainee import Stateful, Trainee

_GREATEST_GRADIENT = 5.0


class SoleNetworkTrainee(Trainee):
    """What such trainees do alike; each adds its data, losses and figures.

    Attributes:
        optimiser: of the network's weights.
        schedule: of the learning rate.
        precision: in which the network runs.
    """

    optimiser: torch.optim.Optimizer
    schedule: LRScheduler
    precision: Precision

    def stateful(self) -> Mapping[str, Stateful]:
        """Return what a step changes."""
        return {
            "network": self.network,
            "optimiser": self.optimiser,
            "schedule": self.schedule,
            "precision": self.precision,
        }

    def descend(self, losses: Mapping[str, Tensor]) -> Mapping[str, float]:
        """Take one optimisation step down the sum of scalar losses; returns them."""
        self.precision.step(torch.stack(list(losses.values())).sum(), self.optimiser, _GREATEST_GRADIENT)
        return {name: loss.item() for name, loss in losses.items()}

    def end_epoch(self) -> None:
        """Lower the learning rate."""
        self.schedule.step()

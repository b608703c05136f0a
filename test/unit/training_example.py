"""A whole small model to try the training loop on: a net of two layers that learns a sine."""

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.models import Configuration, Model
from lmtrack_ros.models.precision import Precision
from lmtrack_ros.models.randomness import generator
from lmtrack_ros.models.trainee import Gathered, Stateful, Trainee, unseen

KILL_AT = "LMTRACK_TEST_KILL_AT_STEP"


@dataclass(frozen=True)
class SineConfiguration(Configuration):
    hidden: int = parameter(8, "neurons of the hidden layer", minimum=1)
    rate: float = parameter(0.05, "learning rate", minimum=0.0)
    knots: tuple[float, ...] = parameter((0.0, 1.0), "ends of the range")


MODEL = Model(
    name="sine",
    summary="learns a sine",
    modalities=("none",),
    data={"clean": "without noise", "noisy": "with noise"},
    presets={"realtime": SineConfiguration(epochs=3), "paper": SineConfiguration(epochs=4, hidden=16)},
    trainee="training_example:SineTrainee",
)


class SineTrainee(Trainee):
    network: nn.Sequential
    steps_per_epoch = 5

    def __init__(
        self,
        configuration: SineConfiguration,
        data: tuple[str, ...],
        seed: int,
        device: torch.device,
        gathered: Gathered = unseen,
    ) -> None:
        super().__init__(configuration, data, seed, device, gathered)
        gathered("training", 1, 1)
        if configuration.rate > 100:
            raise UserError("too fast")
        hidden = configuration.hidden
        self.network = nn.Sequential(
            nn.Linear(1, hidden), nn.BatchNorm1d(hidden), nn.Tanh(), nn.Dropout(0.1), nn.Linear(hidden, 1)
        ).to(device)
        self._optimiser = torch.optim.Adam(self.network.parameters(), lr=configuration.rate)
        self._schedule = torch.optim.lr_scheduler.StepLR(self._optimiser, 1, 0.85)
        self._precision = Precision(device)

    def stateful(self) -> Mapping[str, Stateful]:
        return {
            "network": self.network,
            "optimiser": self._optimiser,
            "schedule": self._schedule,
            "precision": self._precision,
        }

    def step(self, index: int) -> Mapping[str, float]:
        self.network.train()
        x = generator(self.seed, index).uniform(*self.configuration.knots, (16, 1))
        with self._precision.autocast():
            loss = self._squared(x)
        self._precision.step(loss, self._optimiser)
        if os.environ.get(KILL_AT) == str(index):
            os.kill(os.getpid(), signal.SIGKILL)
        return {"squared": loss.item()}

    def end_epoch(self) -> None:
        if self._optimiser.state:  # else no step was taken, and the schedule would complain
            self._schedule.step()

    def validate(self) -> Mapping[str, float]:
        return {"error_rms": self._error(0.0), "shifted_rms": self._error(0.01)}

    def picture(self) -> NDArray[np.uint8]:
        return np.full((4, 6, 3), (255, 0, 0), np.uint8)

    def scores(self) -> Mapping[str, float]:
        return {"error_rms": self._error(0.005)}

    def split(self) -> Mapping[str, str]:
        return {"training": "random points", "validation": "50 points", "test": "50 others"}

    def _error(self, shift: float) -> float:
        self.network.eval()
        with torch.inference_mode():
            return float(self._squared(np.linspace(0, 1, 50)[:, None] + shift).sqrt())

    def _squared(self, x: NDArray[np.float64]) -> torch.Tensor:
        tensor = torch.from_numpy(x).float().to(self.device)
        return nn.functional.mse_loss(self.network(tensor).float(), torch.sin(6 * tensor))

"""What a model gives the training loop."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lmtrack_ros.models.model import Configuration
from lmtrack_ros.models.weights import fill

Gathered: TypeAlias = Callable[[str, int, int], None]
"""Told how far the data is gathered: of which part, how many subjects, and of how many."""


def unseen(part: str, done: int, total: int) -> None:
    """Show nobody how far the data is gathered."""


class Stateful(Protocol):
    """Whatever a checkpoint keeps: networks, optimisers, schedulers, :class:`Precision`.

    The state is made of tensors and plain Python values (no numpy), for nothing else is read back.
    """

    def state_dict(self) -> Any:
        """Return the state."""

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Take a state over."""


class Trainee(ABC):
    """A model in training: its networks, optimisers and data.

    Made once per process, by the loop: ``cls(configuration, data, seed, device, gathered)``. Making it must
    depend on the first four alone. Before it is made, and before every call of :meth:`step`,
    :meth:`end_epoch`, :meth:`validate`, :meth:`picture` and :meth:`scores`, the loop seeds torch, numpy and
    Python from the run's seed and the call's index. So a step may draw from the global generators (dropout
    does) or from :func:`lmtrack_ros.models.randomness.generator`, but from no generator that lives on
    between two steps: a run that was killed and resumed then ends with the same weights, to the bit, as one
    that never was.

    Args:
        configuration: an instance of the model's configuration class.
        data: names of the model's data sets, or paths of a user's own images, known to exist.
        seed: of the run.
        device: where to train.
        gathered: told how far the data is gathered, which takes minutes where phantoms are rendered.

    Attributes:
        network: what is shipped as weights.
        steps_per_epoch: how many calls of :meth:`step` an epoch has.

    Raises:
        UserError: the data cannot be used.
    """

    network: nn.Module
    steps_per_epoch: int

    def __init__(
        self,
        configuration: Configuration,
        data: tuple[str, ...],
        seed: int,
        device: torch.device,
        gathered: Gathered = unseen,
    ) -> None:
        self.configuration = configuration
        self.data = data
        self.seed = seed
        self.device = device
        self.gathered = gathered

    def begin_from(self, weights: Mapping[str, Tensor], where: str) -> None:
        """Take trained weights over before the first step.

        Args:
            weights: of the network, by its own names.
            where: what an error calls their source.

        Raises:
            UserError: they do not fit the network.
        """
        fill(self.network, weights, where)

    @abstractmethod
    def stateful(self) -> Mapping[str, Stateful]:
        """Return everything that a step changes, the network included, by name."""

    @abstractmethod
    def step(self, index: int) -> Mapping[str, float]:
        """Take one optimisation step, in training mode.

        Args:
            index: counts all steps of the run from 0.

        Returns:
            Losses by name.
        """

    def end_epoch(self) -> None:  # noqa: B027 - a model without a schedule has nothing to do here
        """Move schedules on; called after validation."""

    @abstractmethod
    def validate(self) -> Mapping[str, float]:
        """Return figures on the validation set, in evaluation mode.

        The first decides which weights are the best: lower is better. Names carry units (``error_px``).
        """

    @abstractmethod
    def picture(self) -> NDArray[np.uint8]:
        """Return (H, W, 3) RGB: predictions on a few samples of the validation set."""

    @abstractmethod
    def scores(self) -> Mapping[str, float]:
        """Return figures on the test set for the card, with the network as it now is."""

    @abstractmethod
    def split(self) -> Mapping[str, str]:
        """Return in words what is in each part of the data: training, validation, calibration, test.

        The parts share no patient, phantom seed or sequence.
        """

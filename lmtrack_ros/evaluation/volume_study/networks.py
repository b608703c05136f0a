"""Networks that a study trains on the way, and how far off they are."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lmtrack_ros.evaluation.detection_study.fitting import fit
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.models.patch_iterative.configuration import PatchIterativeConfiguration
from lmtrack_ros.models.patch_iterative.data import Annotated, Mirror
from lmtrack_ros.models.patch_iterative.network import PatchIterative
from lmtrack_ros.models.patch_iterative.training import found, shape_model_of, step_losses
from lmtrack_ros.models.precision import Precision
from lmtrack_ros.models.randomness import seed_all

_SEED = 0


class Outcome(NamedTuple):
    """How a network fares on some volumes.

    Attributes:
        positions_mm: (N, L, 3) where it finds the landmarks.
        away_mm: (N, L) their distances from the truth.
    """

    positions_mm: NDArray[np.float64]
    away_mm: NDArray[np.float64]


def trained(
    order: Order,
    name: str,
    c: PatchIterativeConfiguration,
    every: Sequence[Annotated],
    mirrored: Mirror | None,
    steps: int,
) -> PatchIterative:
    """Train a network, or take over what was trained of it before.

    Args:
        order: of the study.
        name: of the network, and of its checkpoint.
        c: of the network.
        every: to train on.
        mirrored: how they may be mirrored.
        steps: of optimisation.
    """
    seed_all(_SEED)
    device = torch.device("cpu")
    network = PatchIterative(c)
    network.to(memory_format=torch.channels_last)
    network.take(shape_model_of(every, c, mirrored))
    precision = Precision(device, half_on_cpu=True)
    fit(
        network,
        lambda: torch.stack(list(step_losses(network, every, mirrored, precision).values())).sum(),
        order.work / f"{name.replace(' ', '_')}.pt",
        steps=steps,
        learning_rate=c.learning_rate,
        seed=_SEED,
        on_step=lambda done: order.progress(name, done, steps),
    )
    return network


def outcome(network: PatchIterative, every: Sequence[Annotated], rule: str = "", stage: int = -1) -> Outcome:
    """Return how a network fares.

    Args:
        network: trained on none of them.
        every: volumes.
        rule: of the update; empty: that of its configuration.
        stage: -1: as it is; 0: before it refines.
    """
    positions = [found(network, one, rule)[stage].mean_mm.double().numpy() for one in every]
    return judged(np.stack(positions), every)


def cell(away: NDArray[np.float64]) -> str:
    """Return a cell of a table: mean and standard deviation."""
    return f"{away.mean():.2f} ± {away.std():.2f}"


def judged(positions_mm: NDArray[np.float64], every: Sequence[Annotated]) -> Outcome:
    """Return how (N, L, 3) positions, or one of all volumes, fare."""
    truth = np.stack([one.landmarks_mm.double().numpy() for one in every])
    spread = np.broadcast_to(positions_mm, truth.shape)
    return Outcome(spread, np.linalg.norm(spread - truth, axis=-1))

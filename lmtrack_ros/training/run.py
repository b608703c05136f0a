"""A whole run: make the model, train it, score the best weights, write the card."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.models.description import find_weights
from lmtrack_ros.models.randomness import seed_all
from lmtrack_ros.models.weights import fill, halved, load_weights, widened
from lmtrack_ros.training.card import card
from lmtrack_ros.training.loop import MAKING, SAVE_EVERY_S, SCORES, Reporter, train_epochs
from lmtrack_ros.training.run_folder import RunFolder


def train(folder: RunFolder, reporter: Reporter, *, save_every_s: float = SAVE_EVERY_S) -> None:
    """Train what the folder describes, from where it is, and leave best weights with scores and card.

    On CUDA where there is one, else on the CPU.

    Raises:
        UserError: the data or the starting weights cannot be used, training diverged, or the folder
            cannot be read or written.
    """
    try:
        with _deterministic():
            _train(folder, reporter, save_every_s)
    except OSError as error:
        raise UserError(f"cannot go on with the run in {folder.path}: {error}") from error


def _train(folder: RunFolder, reporter: Reporter, save_every_s: float) -> None:
    description = folder.description
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    seed_all(description.seed, MAKING)
    trainee = description.declared.trainee_class()(
        description.configuration, description.data, description.seed, device, reporter.gather
    )
    if description.start and not folder.has_state:
        start = find_weights(description.declared, description.start)
        trainee.begin_from(load_weights(start, description.model)[1], str(start))
    progress = train_epochs(trainee, folder, reporter, save_every_s=save_every_s)
    if progress.best is None:
        raise UserError(f"no epoch of the run in {folder.path} has a finite validation figure")
    _, state = load_weights(folder.best)
    # scored as they will be shipped
    fill(trainee.network, widened(halved(state)), str(folder.best))
    seed_all(description.seed, SCORES)
    reporter.say(f"scores the weights of epoch {progress.best['epoch']} on the test set ...")
    measured = trainee.scores()
    scored = replace(
        description, scores={name: v if math.isfinite(v) else None for name, v in measured.items()}
    )
    folder.finish(scored, card(scored, trainee, progress))


@contextmanager
def _deterministic() -> Iterator[None]:
    """Let torch choose the same algorithms, with the same result, each time; as before on leaving."""
    # cuBLAS reads it when it starts
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    benchmark = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = benchmark

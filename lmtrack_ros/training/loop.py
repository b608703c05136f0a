"""The loop itself: steps, epochs, and a state that is kept often enough."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.models.randomness import seed_all
from lmtrack_ros.models.trainee import Trainee
from lmtrack_ros.training.run_folder import Progress, RunFolder

SAVE_EVERY_S = 120.0

# each kind of call draws from a stream of its own
MAKING, _STEPS, _EPOCH_ENDS, _VALIDATION, _PICTURES, SCORES = range(6)


class Reporter(Protocol):
    """Who shows how training goes."""

    def gather(self, part: str, done: int, total: int) -> None:
        """Show that of so many subjects of a part of the data these are ready."""

    def begin(self, step: int, steps_per_epoch: int, epochs: int) -> None:
        """Show how long it will be, and that ``step`` steps are taken already."""

    def step(self, step: int, losses: Mapping[str, float]) -> None:
        """Show that ``step`` steps are taken, the last with these losses."""

    def epoch(self, line: Mapping[str, Any], best: bool) -> None:
        """Show the line of an epoch, as in ``metrics.jsonl``, and whether it is the best so far."""

    def say(self, line: str) -> None:
        """Show one line."""


def train_epochs(
    trainee: Trainee,
    folder: RunFolder,
    reporter: Reporter,
    *,
    save_every_s: float = SAVE_EVERY_S,
    clock: Callable[[], float] = time.monotonic,
) -> Progress:
    """Train from where the folder is to the last epoch.

    Raises:
        UserError: a loss is not finite, or the folder cannot be read or written.
    """
    seed = folder.description.seed
    epochs = trainee.configuration.epochs
    progress = folder.restore(trainee)
    reporter.begin(progress.step, trainee.steps_per_epoch, epochs)
    begun_s = clock() - progress.trained_s
    saved_s = clock()
    while progress.step < epochs * trainee.steps_per_epoch:
        seed_all(seed, _STEPS, progress.step)
        losses = trainee.step(progress.step)
        for name, loss in losses.items():
            if not math.isfinite(loss):
                raise UserError(
                    f"training diverged: {name} is {loss} at step {progress.step}; try another --seed, "
                    f"or a smaller learning rate"
                )
            progress.sums[name] = progress.sums.get(name, 0.0) + loss
        progress.step += 1
        reporter.step(progress.step, losses)
        progress.trained_s = clock() - begun_s
        if progress.step % trainee.steps_per_epoch == 0:
            _end_epoch(trainee, folder, progress, seed)
            line = progress.history[-1]
            reporter.epoch(line, progress.best is line)
            saved_s = clock()
        elif clock() - saved_s >= save_every_s:
            folder.save(trainee, progress)
            saved_s = clock()
    return progress


def _end_epoch(trainee: Trainee, folder: RunFolder, progress: Progress, seed: int) -> None:
    epoch = progress.step // trainee.steps_per_epoch
    # the same samples in every epoch, so that epochs compare
    seed_all(seed, _VALIDATION)
    validation = trainee.validate()
    seed_all(seed, _PICTURES)
    picture = trainee.picture()
    seed_all(seed, _EPOCH_ENDS, epoch)
    trainee.end_epoch()
    progress.history.append(
        {
            "epoch": epoch,
            "step": progress.step,
            "loss": {name: total / trainee.steps_per_epoch for name, total in progress.sums.items()},
            "validation": {name: v if math.isfinite(v) else None for name, v in validation.items()},
            "trained_s": round(progress.trained_s, 1),
        }
    )
    progress.sums.clear()
    folder.save_epoch(trainee, progress, picture)

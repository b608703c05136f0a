"""How much of everything the study takes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """The defaults were chosen so that the whole study takes about an hour on two cores.

    Attributes:
        counts: of examples at which all methods are compared.
        more_counts: at which the model alone is measured too.
        draws: how often examples are drawn, where there are more than are asked for.
        trained_draws: of these, for methods that are trained on them.
        supervised_steps: of optimisation, for each draw.
        supervised_batch: varied radiographs in a step.
        pretraining_steps: of SimCLR on whole radiographs.
        pretraining_batch: radiographs in a step, each varied twice.
        patch_steps: of SimCLR on patches.
        patch_images: radiographs in a step.
        patches_per_image: of each, every one varied twice.
        learning_rate: of Adam, at first.
        grid_px: distance of the patches that a feature is computed of.
        timed_images: for the time that one image takes.
        seed: of all that is drawn by chance.
    """

    counts: tuple[int, ...] = (1, 5, 20)
    more_counts: tuple[int, ...] = (2, 3, 10)
    draws: int = 5
    trained_draws: int = 3
    supervised_steps: int = 300
    supervised_batch: int = 16
    pretraining_steps: int = 400
    pretraining_batch: int = 32
    patch_steps: int = 600
    patch_images: int = 16
    patches_per_image: int = 8
    learning_rate: float = 1e-3
    grid_px: int = 4
    timed_images: int = 10
    seed: int = 0

"""Chance that depends on the run's seed and a counter alone, so that any step can be drawn again."""

import random

import numpy as np
import torch


def generator(seed: int, *index: int) -> np.random.Generator:
    """Return a generator of its own for each seed and index; all are at least 0."""
    return np.random.default_rng([seed, *index])


def seed_all(seed: int, *index: int) -> None:
    """Seed the global generators of torch (all devices), numpy and Python from a seed and an index."""
    word, short = (int(w) for w in np.random.SeedSequence([seed, *index]).generate_state(2))
    torch.manual_seed(word << 32 | short)
    np.random.seed(short)  # noqa: NPY002 - libraries draw from it
    random.seed(word)

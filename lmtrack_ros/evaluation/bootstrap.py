"""How far a mean may be off, by bootstrap over the sequences that it is of: frames of one are alike."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 2000


def mean_interval(sequences: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Return the 95 % interval of the mean over all values.

    Args:
        sequences: (N,) values of each.
    """
    sums, counts = (np.array([f(values) for values in sequences]) for f in (np.sum, np.size))
    drawn = np.random.default_rng(0).integers(len(sums), size=(_RESAMPLES, len(sums)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), (0.025, 0.975)).tolist()
    return low, high

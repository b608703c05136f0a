"""Logistic regression of one variable: how likely something is, by a score (Platt 1999)."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize


def logistic(scores: NDArray[np.floating], right: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the slope and offset of the log odds that something is right, by its score.

    Few examples cannot make it certain: they count as if there were one more right and one more wrong, as
    Platt proposes, and scores are taken relative to how they vary, so that the fit does not depend on their
    unit.

    Args:
        scores: (N,).
        right: (N,).
    """
    count, total = int(right.sum()), len(right)
    wanted = np.where(right, (count + 1) / (count + 2), 1 / (total - count + 2))
    middle, spread = float(scores.mean()), float(scores.std()) or 1.0
    relative = (scores - middle) / spread

    def loss(line: NDArray[np.float64]) -> float:
        odds = line[0] * relative + line[1]
        return float(np.mean(np.logaddexp(0.0, odds) - wanted * odds))

    slope, offset = minimize(loss, np.array([1.0, 0.0])).x.tolist()
    return slope / spread, offset - slope / spread * middle

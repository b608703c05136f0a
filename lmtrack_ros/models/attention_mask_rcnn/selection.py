"""Which of several localisations is the landmark: section 2.C."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def combined(scores: Array, places_px: Array, last_px: Array, nearness: float) -> Array:
    """Return the combined score of equation (6), from 0 to 1.

    Args:
        scores: (K,) S of each localisation, from 0 to 1.
        places_px: (K, 2) where they are.
        last_px: (2,) where the landmark was in the frame before.
        nearness: 1 - γ: how much it counts to be near.
    """
    away_px = np.linalg.norm(places_px - last_px, axis=1)
    # beyond, it is 0 in single precision already
    near = 1 / (1 + np.exp(np.minimum(away_px, 80.0)))
    return np.asarray((1 - nearness) * scores + nearness * near)


def chosen(scores: Array, places_px: Array, last_px: Array, nearness: float) -> int:
    """Return the number of the best localisation.

    Equation (6) is printed with argmin, though both of its terms grow with quality; the text around it
    speaks of the highest score. So the best is the one with the greatest combined score.
    """
    return int(np.argmax(combined(scores, places_px, last_px, nearness)))

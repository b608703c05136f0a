"""From a model's raw uncertainty to one that means what it says.

Split conformal prediction (Vovk et al. 2005; Romano et al. 2019): on sequences that the model was not
trained on, the factor is found by which raw standard deviations must be multiplied for 95 % of the errors to
lie within the 95 % radius. Sequences, not frames, are what such a promise is made over: frames of one
sequence are alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.models.description import Description
from lmtrack_ros.trackers.measurement import CHI_SQUARE_95

Array = NDArray[np.float64]

COVERAGE = 0.95
RADIUS_IN_SIGMAS = tuple(square**0.5 for square in CHI_SQUARE_95)
"""95 % quantile of the length of a normal vector of none to three dimensions, in standard deviations."""


@dataclass(frozen=True)
class Calibration:
    """Of one model's weights.

    Attributes:
        factors: for each kind of measurement and number of axes on which a landmark is defined, from raw to
            calibrated standard deviation; edges and points err differently.
        sequences: how many there were to fit them on; 0 for weights that are not calibrated yet.
    """

    factors: Mapping[str, Mapping[int, float]]
    sequences: int = 0

    def checked(self) -> "Calibration":
        """Return itself.

        Raises:
            ValueError, TypeError, AttributeError: a factor is not a positive number.
        """
        for kind, by_axes in self.factors.items():
            if not all(factor > 0 for factor in by_axes.values()):
                raise ValueError(f"a factor of '{kind}' is not positive")
        return self

    def sigma(self, kind: str, raw: Array, axes: int) -> Array:
        """Return the calibrated standard deviation of raw ones.

        It is infinite for a kind without calibration; where a kind is calibrated for another number of axes
        alone, the greatest factor counts.
        """
        known = self.factors.get(kind, {})
        return np.asarray(raw * known.get(axes, max(known.values(), default=np.inf)))

    def radius(self, kind: str, raw: Array, axes: int) -> Array:
        """Return within what 95 % of the errors lie."""
        return np.asarray(self.sigma(kind, raw, axes) * RADIUS_IN_SIGMAS[axes])


def fit_factor(scores: Sequence[Array], totals: Sequence[int]) -> float:
    """Return the factor by which raw radii must be multiplied to hold 95 % of the errors.

    Args:
        scores: for each sequence, its errors by their raw 95 % radii, of one kind of measurement.
        totals: how many estimates of whatever kind each sequence has; each sequence has the same weight,
            and a kind that is rare in it has little of that.

    Raises:
        ValueError: no sequence has a score.
    """
    weighted = [(score, 1 / total) for one, total in zip(scores, totals, strict=True) for score in one]
    if not weighted:
        raise ValueError("no estimate to calibrate with")
    values, weights = np.array(sorted(weighted)).T
    share = np.cumsum(weights) / weights.sum()
    wanted = min(1.0, _wanted(sum(len(one) > 0 for one in scores)))
    return float(values[min(int(np.searchsorted(share, wanted - 1e-9)), len(values) - 1)])


def can_promise(sequences: int) -> bool:
    """Return whether a factor from so many sequences can promise to hold 95 % in another one."""
    return sequences > 0 and _wanted(sequences) <= 1.0


def _wanted(count: int) -> float:
    # as if one more sequence were wrong throughout: the finite-sample term of split conformal prediction
    return COVERAGE * (count + 1) / count


def read_calibration(description: Description) -> Calibration:
    """Return the calibration beside weights; without one every kind's uncertainty is infinite.

    Raises:
        UserError: it is not one.
    """
    if not description.calibration:
        return Calibration({})
    try:
        return Calibration(**description.calibration).checked()
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"the calibration of {description.model} cannot be read: {error}") from error


def plain(calibration: Calibration) -> dict[str, object]:
    """Return it as YAML knows it."""
    return asdict(calibration)

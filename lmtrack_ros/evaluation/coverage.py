"""Whether 95 % radii hold what they promise, as the cells of a table."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

HEADINGS = ("in radius", "worst run", "smallest", "middle", "largest", "median radius / error mm")
EXPLANATION = """\
Share of the errors within the reported 95 % radius, where one is given: of all estimates, of the worst run,
and of the third of the estimates with the smallest, middle and largest radius."""


def cells(runs: Sequence[tuple[Array, Array]]) -> list[str]:
    """Return the cells under :data:`HEADINGS`; none where no radius is claimed.

    Args:
        runs: of each, (N,) errors and (N,) radii, mm; infinite where none is claimed.
    """
    claimed = [(error[np.isfinite(radius)], radius[np.isfinite(radius)]) for error, radius in runs]
    claimed = [(error, radius) for error, radius in claimed if len(error)]
    if not claimed:
        return []
    error_mm, radius_mm = (np.concatenate(parts) for parts in zip(*claimed, strict=True))
    inside = error_mm <= radius_mm
    worst = min(float((error <= radius).mean()) for error, radius in claimed)
    thirds = np.array_split(np.argsort(radius_mm, kind="stable"), 3)
    return [
        f"{inside.mean():.1%}",
        f"{worst:.1%}",
        *(f"{inside[part].mean():.1%}" for part in thirds),
        f"{np.median(radius_mm):.2f} / {np.median(error_mm):.2f}",
    ]

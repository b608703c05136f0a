"""The plan's landmarks from its own radiographs, where nobody has marked them in the planning CT."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from lmtrack_ros.core.frames import Array
from lmtrack_ros.registration.sights import Sight, farthest, meeting


def planned_positions(sights: Sequence[Sight], most_misfit: float) -> dict[str, Array]:
    """Return the (3,) positions in isocenter, mm, of the landmarks that both of two views show.

    Each lies where its rays meet. Landmarks that repeat are told apart by that: rays of two vertebrae pass
    each other. They are numbered from the head on.

    Args:
        sights: in two planned radiographs, views 0 and 1.
        most_misfit: how far a ray may pass from where the two meet, standard deviations.
    """
    positions = {}
    for kind in sorted({sight.kind for sight in sights}):
        front, side = ([s for s in sights if (s.kind, s.view) == (kind, view)] for view in (0, 1))
        met = _met(front, side, most_misfit)
        for number, position in enumerate(sorted(met, key=lambda one: -one[1]), 1):
            positions[kind if len(met) == 1 else f"{kind}_{number}"] = position
    return positions


def _met(mine: Sequence[Sight], theirs: Sequence[Sight], most_misfit: float) -> list[Array]:
    """Return where rays of one view meet those of another, each at most one of them."""
    if not mine or not theirs:
        return []
    points = [[meeting([one, other])[0] for other in theirs] for one in mine]
    past = np.array(
        [
            [farthest([one, other], points[i][j]) for j, other in enumerate(theirs)]
            for i, one in enumerate(mine)
        ]
    )
    # what passes too far costs the same, however far
    pairs = zip(*linear_sum_assignment(np.minimum(past, most_misfit)), strict=True)
    return [points[i][j] for i, j in pairs if past[i, j] < most_misfit]

"""What the gate looks at: each landmark by itself, or one target that a group of landmarks stands for."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.records import Reason

EACH, CENTROID, RIGID = "each", "centroid", "rigid"
GROUPS = (EACH, CENTROID, RIGID)
# of a group's second largest extent to its largest: below it, a rotation about the line cannot be told
_MIN_SPREAD_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class Target:
    """What gate and couch controller agree on about one frame.

    Attributes:
        displacement_mm: (3,) mean displacement from plan of what the gate looks at, isocenter.
        observed: which axes of it are known.
        reasons: why it must not be acted on; zero where it may. Being outside the window is none.
        couch_mm: (3,) couch position at acquisition, or None where it is not known.
        radius_mm: the largest 95 % radius of what the gate looks at.
    """

    displacement_mm: Array = field(default_factory=lambda: np.full(3, np.nan))
    observed: tuple[bool, bool, bool] = (False, False, False)
    reasons: Reason = Reason.LANDMARK_MISSING
    couch_mm: Array | None = None
    radius_mm: float = np.inf


@dataclass(frozen=True, eq=False)
class Points:
    """N points, each with a window about its planned position.

    Attributes:
        positions_mm: (N, 3) in isocenter.
        planned_mm: (N, 3) likewise.
        radii_mm: (N,) 95 % radii.
    """

    positions_mm: Array
    planned_mm: Array
    radii_mm: Array


def centroid(landmarks: Points) -> Points:
    """Return the mean of the landmarks as one point.

    Its radius is the mean of theirs: a mean of errors is never longer than the mean of their lengths.
    """
    return Points(
        landmarks.positions_mm.mean(axis=0, keepdims=True),
        landmarks.planned_mm.mean(axis=0, keepdims=True),
        landmarks.radii_mm.mean(keepdims=True),
    )


def rigid(landmarks: Points, target_mm: Array | None, observed: Sequence[bool]) -> Points | None:
    """Return where a target goes that moves rigidly with the landmarks, as one point.

    The least-squares rotation and translation of the planned onto the found positions (Kabsch 1976,
    Acta Cryst. A32, 922; Umeyama 1991, IEEE PAMI 13, 376, for the sign), in the plane where only two axes
    are observed. The radius adds what the landmarks' errors may turn the target by, to first order
    their mean radius times its distance from their centre over their spread, and the RMS misfit, by which
    the landmarks did not move as one body.

    Args:
        landmarks: at least two in a plane, three in space.
        target_mm: (3,) planned position of the target in isocenter; None: the landmarks' centroid.
        observed: which axes the image sees.

    Returns:
        None where the landmarks do not determine a rotation.
    """
    axes = np.array(observed)
    center = landmarks.planned_mm.mean(axis=0)
    planned = (landmarks.planned_mm - center)[:, axes]
    moved = landmarks.positions_mm.mean(axis=0)
    found = (landmarks.positions_mm - moved)[:, axes]
    if int(axes.sum()) < 2:
        return None
    extents = np.linalg.svd(planned, compute_uv=False) / np.sqrt(len(planned))
    determining = extents[0] if axes.sum() == 2 else np.append(extents, 0.0)[1]
    if not determining > _MIN_SPREAD_SHARE * max(float(extents[0]), 1e-9) or determining < 1e-6:
        return None
    u, _, vt = np.linalg.svd(planned.T @ found)
    signs = np.ones(len(u))
    signs[-1] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * signs) @ vt  # row vectors: found = planned @ rotation
    lever = np.zeros(3) if target_mm is None else target_mm - center
    position = moved + lever
    position[axes] = moved[axes] + lever[axes] @ rotation
    misfit_mm = float(np.sqrt(((found - planned @ rotation) ** 2).sum(axis=1).mean()))
    # about the longest axis of the group, its other extents resist the rotation
    spread_mm = float(np.linalg.norm(extents if axes.sum() == 2 else extents[1:]))
    radius_mm = float(landmarks.radii_mm.mean())
    radius_mm += radius_mm * float(np.linalg.norm(lever[axes])) / spread_mm + misfit_mm
    return Points(position[None], (center + lever)[None], np.array([radius_mm]))

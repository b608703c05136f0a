"""The rigid motion of a body whose landmarks projections show, with its covariance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from lmtrack_ros.core import frames
from lmtrack_ros.core.frames import Array
from lmtrack_ros.registration.sights import PlannedLandmark, Sight, projected, slopes

_ITERATIONS = 8
_SHORT = 1e-7
_LEAST_INFORMATION = 1e-6
"""Of a translation, 1/mm²: below it the sights do not determine one."""


@dataclass(frozen=True, eq=False)
class RigidFit:
    """How a body has moved, R (p − c) + c + t for each of its points p.

    Attributes:
        center_mm: (3,) c, the middle of the landmarks as planned.
        translation_mm: (3,) t.
        rotation: (3, 3) R.
        covariance: (6, 6) of t, mm, and of the right-handed angles about X, Y and Z, rad.
        turns: of the three rotations, how many the landmarks determine; the others are taken for none, and
            what they may be is in the covariance.
        condition: condition number of the whitened equations of all six, lengths and turns made comparable
            by the landmarks' mean distance from their middle; infinite where one is not determined at all.
        misfits: (N,) Mahalanobis distance of each sight from where the fit puts it.
    """

    center_mm: Array
    translation_mm: Array
    rotation: Array
    covariance: Array
    turns: int
    condition: float
    misfits: Array

    def moved(self, point_mm: Array) -> Array:
        """Return where (..., 3) points of the body as planned have gone, mm."""
        return np.asarray(
            (point_mm - self.center_mm) @ self.rotation.T + self.center_mm + self.translation_mm
        )

    @property
    def turn_deg(self) -> Array:
        """The (3,) right-handed angles about X, then Y, then Z, degrees."""
        return np.asarray(Rotation.from_matrix(self.rotation).as_euler("xyz", degrees=True))

    @property
    def transform(self) -> Array:
        """The (4, 4) rigid transform in isocenter from where the body is planned to where it is."""
        return frames.rigid(self.rotation, self.moved(np.zeros(3)))

    def covariance_at(self, point_mm: Array) -> Array:
        """Return the (3, 3) covariance of where a (3,) point of the body has gone, mm²."""
        lever = self.rotation @ (point_mm - self.center_mm)
        by = np.hstack([np.eye(3), -_cross(lever)])
        return np.asarray(by @ self.covariance @ by.T)


def fit(pairs: Sequence[tuple[PlannedLandmark, Sight]], turn_rad: float) -> RigidFit | None:
    """Return the weighted least-squares motion, by Gauss and Newton.

    That patients lie turned by little is an observation too: a great turn fits no better than a wrong sight.
    Landmarks nearly on a line, as the spine's are, tell nothing of the turn about it. A turn of which they
    tell less than is known beforehand is frozen at none, and its variance is handed on to the translation
    (consider covariance: Schmidt 1966, Advances in Control Systems 3, 293).

    Args:
        pairs: what was planned, and where it is seen.
        turn_rad: standard deviation about each axis of how far patients lie turned.

    Returns:
        None where the sights do not determine the translation.
    """
    of = _Equations(pairs)
    center = of.planned.mean(axis=0)
    motion = _Motion(np.zeros(3), np.eye(3))
    known = np.diag([0.0] * 3 + [1 / turn_rad**2 if turn_rad else 0.0] * 3)
    kept: Array = np.zeros((6, 0))
    frozen = kept
    for iteration in range(_ITERATIONS):
        slope, off, weights = of.linearised(center, motion)
        information = np.einsum("nij,nik,nkl->jl", slope, weights, slope)
        # of a start too far off, or of sights that contradict each other, the next step may lead nowhere
        if not np.isfinite(information).all():
            return None
        if not np.linalg.eigvalsh(information[:3, :3])[0] > _LEAST_INFORMATION:
            return None
        if iteration == 0:
            kept, frozen = _directions(information, turn_rad)
        gradient = np.einsum("nij,nik,nk->j", slope, weights, off) - known @ motion.turns
        step = kept @ np.linalg.solve(kept.T @ (information + known) @ kept, kept.T @ gradient)
        motion = motion.further(step)
        if np.abs(step).max() < _SHORT:
            break
    slope, off, weights = of.linearised(center, motion)
    information = np.einsum("nij,nik,nkl->jl", slope, weights, slope)
    own = np.linalg.inv(kept.T @ (information + known) @ kept)
    handed_on = frozen - kept @ own @ kept.T @ information @ frozen
    covariance = kept @ own @ kept.T + turn_rad**2 * handed_on @ handed_on.T
    misfits = np.sqrt(np.einsum("ni,nij,nj->n", off, weights, off))
    spread_mm = float(np.sqrt(np.square(of.planned - center).sum(axis=1).mean()))
    return RigidFit(
        center,
        motion.translation_mm,
        motion.rotation,
        covariance,
        kept.shape[1] - 3,
        _condition(information, spread_mm),
        misfits,
    )


@dataclass(frozen=True, eq=False)
class _Motion:
    translation_mm: Array
    rotation: Array

    @property
    def turns(self) -> Array:
        """(6,) no translation, and the rotation vector, rad."""
        return np.concatenate([np.zeros(3), Rotation.from_matrix(self.rotation).as_rotvec()])

    def further(self, step: Array) -> "_Motion":
        turn = Rotation.from_rotvec(step[3:]).as_matrix()
        return _Motion(self.translation_mm + step[:3], turn @ self.rotation)


class _Equations:
    """Those of some sights of planned landmarks."""

    def __init__(self, pairs: Sequence[tuple[PlannedLandmark, Sight]]) -> None:
        self.planned = np.array([landmark.position_mm for landmark, _ in pairs])
        self._doubts = np.array([landmark.covariance_mm2 for landmark, _ in pairs])
        self._projections = np.array([sight.projection for _, sight in pairs])
        self._seen = np.array([sight.uv_px for _, sight in pairs])
        self._doubts_px2 = np.array([sight.covariance_px2 for _, sight in pairs])

    def linearised(self, center: Array, motion: _Motion) -> tuple[Array, Array, Array]:
        """Return (N, 2, 6) slopes of the pixels by the motion, (N, 2) what is left, (N, 2, 2) weights."""
        levers = (self.planned - center) @ motion.rotation.T
        points = levers + center + motion.translation_mm
        by_point = slopes(self._projections, points)
        by_turn = -by_point @ _cross(levers)
        off = self._seen - projected(self._projections, points)
        of_plan = by_point @ motion.rotation
        doubts = self._doubts_px2 + of_plan @ self._doubts @ of_plan.transpose(0, 2, 1)
        return np.concatenate([by_point, by_turn], axis=2), off, np.linalg.inv(doubts)


def _directions(information: Array, turn_rad: float) -> tuple[Array, Array]:
    """Return (6, 3 + K) directions of motion that are determined, and the (6, 3 − K) turns that are not."""
    shared = np.linalg.solve(information[:3, :3], information[:3, 3:])
    of_turns = information[3:, 3:] - information[3:, :3] @ shared
    told, axes = np.linalg.eigh(of_turns)
    determined = told * turn_rad**2 > 1.0
    kept = np.zeros((6, 3 + int(determined.sum())))
    kept[:3, :3] = np.eye(3)
    kept[3:, 3:] = axes[:, determined]
    frozen = np.zeros((6, int((~determined).sum())))
    frozen[3:] = axes[:, ~determined]
    return kept, frozen


def _condition(information: Array, spread_mm: float) -> float:
    scale = np.array([1.0] * 3 + [1.0 / max(spread_mm, _SHORT)] * 3)
    values = np.linalg.eigvalsh(information * np.outer(scale, scale))
    return float(np.sqrt(values[-1] / values[0])) if values[0] > 0 else float("inf")


def _cross(vectors: Array) -> Array:
    """Return the (..., 3, 3) matrices that multiply as (..., 3) vectors cross."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    none = np.zeros_like(x)
    rows = [np.stack(row, -1) for row in ((none, -z, y), (z, none, -x), (-y, x, none))]
    return np.stack(rows, -2)

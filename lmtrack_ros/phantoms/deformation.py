"""How breathing and heartbeat deform the anatomy, not only shift it."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.phantoms.motion import Motion

CLOSE_MM = 1e-4
"""An inverse displacement is found to within this."""

MOST_STEPS = 100
"""The iteration contracts by 0.86 of displacement over reach a step: slowly for a deep breath."""


class BodyState(NamedTuple):
    """What drives the deformation at one moment.

    Attributes:
        diaphragm_mm: (3,) displacement of the diaphragm in isocenter.
        inhaled: how far the breath is drawn: 0 at end-exhale, 1 at the end of a usual inhale.
        contracted: how far the heart is contracted, from 0 to 1.
    """

    diaphragm_mm: Array
    inhaled: float
    contracted: float

    @classmethod
    def at(cls, motion: Motion, time_s: float) -> "BodyState":
        """Return the state of a body at a moment of its motion."""
        return cls(motion.displacement_mm(time_s), motion.inhaled(time_s), motion.contracted(time_s))


class Weights(NamedTuple):
    """How far points take part in each motion.

    Attributes:
        diaphragm: (...,) of the diaphragm's displacement.
        chest: (...,) of the chest's extension to the front.
        heart_mm: (..., 3) displacement when the heart is contracted.
    """

    diaphragm: Array
    chest: Array
    heart_mm: Array

    def displacement_mm(self, state: BodyState, chest_mm: float) -> Array:
        """Return the (..., 3) displacement of the points in one state, mm."""
        moved: Array = self.diaphragm[..., None] * state.diaphragm_mm + state.contracted * self.heart_mm
        moved[..., 2] += chest_mm * state.inhaled * self.chest
        return moved


@dataclass(frozen=True)
class Deformation:
    """Displacement of the organs inside a head-first supine patient, in isocenter at mean breath.

    The diaphragm's displacement reaches the lung above and the abdomen below it with weights that fall
    off as exp(-(d / reach)²); the front of the chest is lifted while the back stays; the heart shrinks
    towards its centre. What slides along the organs, the chest wall and the spine, takes part in the
    chest's extension alone: use :meth:`wall_weights` for it.

    Attributes:
        dome_y_mm: where the diaphragm's dome is.
        above_mm: reach into the lung.
        below_mm: reach into the abdomen.
        chest_mm: how far the front of the chest is lifted by a usual inhale.
        back_z_mm: where the chest does not move.
        front_z_mm: where it moves in full.
        heart_mm: (3,) centre of the heart.
        heart_radius_mm: of the region that moves with it.
        heartbeat_mm: greatest displacement by a heartbeat.
    """

    dome_y_mm: float = 0.0
    above_mm: float = 120.0
    below_mm: float = 220.0
    chest_mm: float = 0.0
    back_z_mm: float = -80.0
    front_z_mm: float = 100.0
    heart_mm: tuple[float, float, float] = (30.0, 60.0, 30.0)
    heart_radius_mm: float = 55.0
    heartbeat_mm: float = 0.0

    def weights(self, points_mm: Array) -> Weights:
        """Return how far organs at (..., 3) points take part in each motion."""
        above = points_mm[..., 1] - self.dome_y_mm
        diaphragm = np.exp(-((above / np.where(above > 0, self.above_mm, self.below_mm)) ** 2))
        from_heart = (points_mm - np.array(self.heart_mm)) / self.heart_radius_mm
        # r exp(-r²) is at most 0.43
        decay = np.exp(-np.sum(from_heart**2, axis=-1))
        heart_mm = -self.heartbeat_mm / 0.43 * decay[..., None] * from_heart
        return Weights(diaphragm, self._chest(points_mm), heart_mm)

    def wall_weights(self, points_mm: Array) -> Weights:
        """Return how far the chest wall at (..., 3) points takes part in each motion."""
        still = np.zeros(points_mm.shape[:-1])
        return Weights(still, self._chest(points_mm), np.zeros(points_mm.shape))

    def displaced_mm(self, points_mm: Array, state: BodyState) -> Array:
        """Return where organs at (..., 3) points are in one state."""
        moved: Array = points_mm + self.weights(points_mm).displacement_mm(state, self.chest_mm)
        return moved

    def origin_mm(self, points_mm: Array, state: BodyState) -> Array:
        """Return which organs' (..., 3) points have come to lie at some points; undoes ``displaced_mm``."""
        origin = points_mm
        for _ in range(MOST_STEPS):
            before, origin = origin, points_mm - self.weights(origin).displacement_mm(state, self.chest_mm)
            if np.abs(origin - before).max() < CLOSE_MM:
                break
        return origin

    def _chest(self, points_mm: Array) -> Array:
        u = np.clip((points_mm[..., 2] - self.back_z_mm) / (self.front_z_mm - self.back_z_mm), 0.0, 1.0)
        lifted: Array = u * u * (3 - 2 * u)
        return lifted

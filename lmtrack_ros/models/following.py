"""From where a network finds a landmark to what is reported: refined, and believed only as far as it may be.

The network's place is refined (:mod:`lmtrack_ros.trackers.refinement`). Where that leads to nothing, or to a
leap, continuity has its say: the tissue that the landmark was last seen in is sought in the new frame, and
the landmark near it. It leaps where it is more like itself than there, or where that tissue is not to be
seen, as in a cough; what nothing verifies goes with the tissue. Which of these it was is the kind of the
measurement: each kind is calibrated by itself.
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.records import Landmark
from lmtrack_ros.models.calibration import Calibration
from lmtrack_ros.models.tracking import Measurement
from lmtrack_ros.trackers.patches import Image
from lmtrack_ros.trackers.refinement import Point, Refined, Refiner

NETWORK, REFINED, DOUBTED = "network", "refined", "doubted"
CONTINUED, UNVERIFIED, ASTRAY = "continued", "unverified", "astray"
"""Kinds of measurement: the network's own; refined near it; the same while the network is not sure, and at a
leap and for some frames after; refined where the tissue of the last place has gone; verified by nothing; and
the same since that tissue was not to be seen either, which is never calibrated: it may be anywhere."""
CALIBRATED_IN_TURN = ((NETWORK,), (REFINED, DOUBTED, CONTINUED, UNVERIFIED))
"""How far is searched depends on the calibration of the network's own uncertainty."""
_REMEMBERED = 5
"""Over so many frames the network must be sure: in noise it is now and then, by chance. After a leap so many
must follow without one."""
_FAMILIAR_SHARE = 0.8
"""Of its usual similarity, with which a landmark is known again elsewhere."""
_USUAL_MEMORY = 0.05
"""Weight of one frame in the usual similarity."""


class Follower:
    """Follows one landmark; see the module's text.

    Args:
        landmark: as marked.
        index: of it among the landmarks of the refiner.
        refiner: of all landmarks; None: the network's places are reported.
        spacing_mm: (2,) pixel pitch along columns and rows.
        sure_mm: the network is sure while its own 95 % radius is usually no more than this.
        step_mm: farther from the last place is a leap; so far round it the landmark is sought again.

    Attributes:
        last_px: (2,) where it was reported last.
    """

    def __init__(
        self,
        landmark: Landmark,
        index: int,
        refiner: Refiner | None,
        spacing_mm: NDArray[np.float64],
        *,
        sure_mm: float,
        step_mm: float,
    ) -> None:
        self.last_px = np.array(landmark.uv_px, dtype=float)
        self._marked_px = self._home_px = self.last_px
        self._axes = np.array(landmark.axes)
        self._index, self._refiner = index, refiner
        self._spacing_mm = spacing_mm
        self._sure_mm, self._step_mm = sure_mm, step_mm
        self._radii_mm = deque([0.0], _REMEMBERED)
        self._before: Image | None = None
        self._unverified, self._is_astray = 0, False
        self._settled = _REMEMBERED
        self._usual, self._believed = 0.0, 0

    def measured(
        self, image: Image, uv_px: Point, sigma_px: Point, calibration: Calibration
    ) -> tuple[Measurement, ...]:
        """Return how the landmark is found: by the network, then refined; nothing for a place that is none.

        Args:
            image: (H, W) as ``patches.as_float_image`` returns it.
            uv_px: (2,) where the network finds it.
            sigma_px: (2,) what the network gives for the standard deviation of either.
            calibration: of the network's weights.
        """
        if not (np.isfinite(uv_px).all() and np.isfinite(sigma_px).all()):
            return ()
        network = Measurement(NETWORK, uv_px, sigma_px)
        if self._refiner is None:
            self.last_px = uv_px
            return (network,)
        radius_px = calibration.radius(NETWORK, sigma_px, int(self._axes.sum()))
        self._radii_mm.append(float(np.max((radius_px * self._spacing_mm)[self._axes])))
        before, self._before = self._before, image
        found = self._refine(self._refiner, image, uv_px, radius_px)
        if found.accepted and not self._leaps(found.uv_px):
            self._settled += 1
            is_sure = np.median(self._radii_mm) <= self._sure_mm and self._settled > _REMEMBERED
            return network, self._verified(REFINED if is_sure else DOUBTED, found)
        return network, self._continued(self._refiner, before, image, uv_px, found)

    def _continued(
        self, refiner: Refiner, before: Image | None, image: Image, uv_px: Point, found: Refined
    ) -> Measurement:
        """Return where the landmark is if what was found near the network's place leads nowhere, or far."""
        reach_px = self._step_mm / self._spacing_mm
        carried_px = refiner.carried(before, image, self.last_px, reach_px) if before is not None else None
        if carried_px is None and not found.accepted:
            # all has jumped: the network is nearer than the last place, but not as near as usual
            found = self._refine(refiner, image, uv_px, 2 * reach_px)
        near = self._refine(refiner, image, self._home_px if carried_px is None else carried_px, reach_px)
        nearness = refiner.parameters.nearness if carried_px is not None else 0.0
        if near.accepted and not (found.accepted and found.similarity > near.similarity + nearness):
            return self._verified(CONTINUED, near)
        if found.accepted and (near.accepted or carried_px is None or self._is_familiar(found)):
            self._settled = 0
            return self._verified(DOUBTED, found)
        self.last_px = np.where(self._axes, uv_px if carried_px is None else carried_px, self._marked_px)
        self._unverified += 1
        self._is_astray |= carried_px is None
        # errors of the steps since it was verified add up
        sigma_px = np.full(2, self._unverified**0.5)
        return Measurement(ASTRAY if self._is_astray else UNVERIFIED, self.last_px, sigma_px)

    def _verified(self, kind: str, refined: Refined) -> Measurement:
        self.last_px = self._home_px = refined.uv_px
        self._unverified, self._is_astray = 0, False
        if kind == REFINED:
            self._believed += 1
            weight = max(_USUAL_MEMORY, 1 / self._believed)
            self._usual += weight * (refined.similarity - self._usual)
        return Measurement(kind, refined.uv_px, refined.sigma_px)

    def _is_familiar(self, refined: Refined) -> bool:
        return refined.similarity >= _FAMILIAR_SHARE * self._usual

    def _leaps(self, uv_px: Point) -> bool:
        away_mm = ((uv_px - self.last_px) * self._spacing_mm)[self._axes]
        return float(np.linalg.norm(away_mm)) > self._step_mm

    def _refine(self, refiner: Refiner, image: Image, uv_px: Point, radius_px: Point) -> Refined:
        # along an axis that is not defined a landmark is where it was marked
        middle_px = np.where(self._axes, uv_px, self._marked_px)
        return refiner.refine(image, self._index, middle_px, np.where(self._axes, radius_px, 0.0))

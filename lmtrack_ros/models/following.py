"""From where a network finds a landmark to what is reported: refined, and believed only as far as it may be.

The network's place is refined (:mod:`lmtrack_ros.trackers.refinement`). Where that leads to nothing, or to a
leap, continuity has its say: the tissue that the landmark was last seen in is sought in the new frame, and
the landmark near it. It leaps where it looks as usual, or where that tissue is not to be seen, as in a cough;
what nothing verifies goes with the tissue. Which of these it was is the kind of the measurement: each kind is
calibrated by itself.

Two witnesses say that it is still the same landmark: a network that is sure of it, and its look. A network
that is not sure does not know the structure, so there only a look that hardly changes counts. Once a landmark
has leapt, slipped from its tissue or been out of sight it is not known: where it may be is reported, with no
radius, until it was verified for some frames in turn; so too after frames in which it could not be sought.
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
"""Kinds of measurement: the network's own; refined near it; refined near it, while the network is not sure;
refined where the tissue of the last place has gone; gone with the tissue; and not known, which is never
calibrated: it may be anywhere."""
CALIBRATED_IN_TURN = ((NETWORK,), (REFINED, DOUBTED, CONTINUED, UNVERIFIED))
"""How far is searched depends on the calibration of the network's own uncertainty."""
_REMEMBERED = 5
"""Over so many frames the network must be sure: in noise it is now and then, by chance. A landmark that was
verified in more frames than these in turn is known again."""
_KNOWN_SHARE, _FAMILIAR_SHARE, _IDENTICAL_SHARE = 0.8, 0.9, 0.95
"""Of its usual similarity: what verifies a landmark that the network is sure of, what it leaps to, and what
verifies one that the network is not sure of."""
_USUAL_MEMORY = 0.01
"""Weight of one frame in the usual similarity, which is that of several breaths."""
_SLIP_MM = 1.5
"""What is farther than this from where the tissue has gone may be another landmark."""
_THROWN_MM = 20.0
"""So far from where it was verified last a landmark is sought when it is lost: farther than a cough throws
it."""


class Follower:
    """Follows one landmark; see the module's text.

    Args:
        landmark: as marked.
        index: of it among the landmarks of the refiner.
        refiner: of all landmarks; None: the network's places are reported.
        spacing_mm: (2,) pixel pitch along columns and rows.
        sure_px: (2,) the network is sure while its own 95 % radius is usually no more than this.
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
        sure_px: Point,
        step_mm: float,
    ) -> None:
        self.last_px = np.array(landmark.uv_px, dtype=float)
        self._marked_px = self._home_px = self.last_px
        self._axes = np.array(landmark.axes)
        self._index, self._refiner = index, refiner
        self._spacing_mm = spacing_mm
        self._sure_px, self._step_mm = sure_px, step_mm
        self._unsureness = deque([0.0], _REMEMBERED)
        self._before: Image | None = None
        self._unverified = self._settled = self._believed = 0
        # until there is a usual similarity, that of the frame of marking itself
        self._is_known, self._usual = True, 1.0

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
            self.missed()
            return ()
        network = Measurement(NETWORK, uv_px, sigma_px)
        if self._refiner is None:
            self.last_px = _inside(image, uv_px)
            return (network,)
        radius_px = calibration.radius(NETWORK, sigma_px, int(self._axes.sum()))
        self._unsureness.append(float(np.max((radius_px / self._sure_px)[self._axes])))
        before = self._refiner.image if self._before is None else self._before
        self._before = image
        found = self._refine(self._refiner, image, uv_px, radius_px)
        if found.accepted and self._away_mm(found.uv_px, self.last_px) <= self._step_mm:
            return network, self._verified(REFINED, found)
        return network, self._continued(self._refiner, before, image, uv_px, found)

    def missed(self) -> None:
        """Take note that the landmark was not sought: where it is then, another may be."""
        self._lose()

    def _continued(
        self, refiner: Refiner, before: Image, image: Image, uv_px: Point, found: Refined
    ) -> Measurement:
        """Return where the landmark is if what was found near the network's place leads nowhere, or far."""
        reach_px = self._step_mm / self._spacing_mm
        carried_px = refiner.carried(before, image, self.last_px, reach_px)
        near = self._refine(refiner, image, self._home_px if carried_px is None else carried_px, reach_px)
        nearness = refiner.parameters.nearness if carried_px is not None else 0.0
        if near.accepted and not (found.accepted and found.similarity > near.similarity + nearness):
            if carried_px is None or self._away_mm(near.uv_px, carried_px) > _SLIP_MM:
                self._lose()
            return self._verified(CONTINUED, near)
        candidate = found if self._is_familiar(found) else self._sought(refiner, image)
        if self._is_familiar(candidate):
            self._lose()
            return self._verified(CONTINUED, candidate)
        if carried_px is None:
            self._lose()
            if found.accepted:
                return self._verified(CONTINUED, found)
        place_px = _inside(image, uv_px) if carried_px is None else carried_px
        self.last_px = np.where(self._axes, place_px, self._marked_px)
        self._unverified += 1
        self._settled = 0
        # errors of the steps since it was verified add up
        sigma_px = np.full(2, self._unverified**0.5)
        is_near = self._is_known and self._is_sure
        return Measurement(UNVERIFIED if is_near else ASTRAY, self.last_px, sigma_px)

    def _verified(self, kind: str, refined: Refined) -> Measurement:
        self.last_px = self._home_px = refined.uv_px
        self._unverified = 0
        is_first = self._is_known and self._believed == 0
        if is_first or self._likeness(refined) >= (_KNOWN_SHARE if self._is_sure else _IDENTICAL_SHARE):
            self._settled += 1
        else:
            self._settled = 0
            self._is_known &= self._is_sure
        self._is_known |= self._settled > _REMEMBERED
        if not self._is_known:
            kind = ASTRAY
        elif kind == REFINED and not self._is_sure:
            kind = DOUBTED
        if kind == REFINED or (kind != ASTRAY and self._believed < _REMEMBERED):
            self._believed += 1
            weight = max(_USUAL_MEMORY, 1 / self._believed)
            self._usual += weight * (refined.similarity - self._usual)
        return Measurement(kind, refined.uv_px, refined.sigma_px)

    @property
    def _is_sure(self) -> bool:
        return bool(np.median(self._unsureness) <= 1.0)

    def _lose(self) -> None:
        self._is_known, self._settled = False, 0

    def _is_familiar(self, refined: Refined) -> bool:
        return refined.accepted and self._likeness(refined) >= _FAMILIAR_SHARE

    def _likeness(self, refined: Refined) -> float:
        """Return how similar it is to what was marked, in parts of what is usual."""
        return refined.similarity / self._usual

    def _sought(self, refiner: Refiner, image: Image) -> Refined:
        """Return what is most like the landmark, however far a cough may have thrown it."""
        return refiner.seek(image, self._index, self._home_px, self._defined(_THROWN_MM / self._spacing_mm))

    def _away_mm(self, uv_px: Point, from_px: Point) -> float:
        return float(np.linalg.norm(((uv_px - from_px) * self._spacing_mm)[self._axes]))

    def _refine(self, refiner: Refiner, image: Image, uv_px: Point, radius_px: Point) -> Refined:
        middle_px = np.where(self._axes, uv_px, self._marked_px)
        return refiner.refine(image, self._index, middle_px, self._defined(radius_px))

    def _defined(self, radius_px: Point) -> Point:
        # along an axis that is not defined a landmark is where it was marked
        return np.where(self._axes, radius_px, 0.0)


def _inside(image: Image, uv_px: Point) -> Point:
    """Return the (2,) place in the image nearest to one: what has left it is sought where it went."""
    return np.clip(uv_px, 0.0, np.array(image.shape[::-1]) - 1.0)

"""From where a network finds a landmark to what is reported: refined, and believed only as far as it may be.

The network's place is refined (:mod:`lmtrack_ros.trackers.refinement`). Where that leads to nothing, or to a
leap, the last place is tried; where that does not either, the landmark goes where the tissue goes that it was
last seen in. Which of these it was is the kind of the measurement: each kind is calibrated by itself.
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
CONTINUED, UNVERIFIED = "continued", "unverified"
"""Kinds of measurement: the network's own; refined near it; the same while the network is not sure, or after
a leap; refined near the last place, where the network's led to nothing or to a leap that is hardly more like
it; and carried along with the tissue round the last place, where nothing is to be believed."""
CALIBRATED_IN_TURN = ((NETWORK,), (REFINED, DOUBTED, CONTINUED, UNVERIFIED))
"""How far is searched depends on the calibration of the network's own uncertainty."""
_REMEMBERED = 5
"""Over so many frames the network must be sure: in noise it is now and then, by chance."""


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
        self._marked_px = self.last_px
        self._axes = np.array(landmark.axes)
        self._index, self._refiner = index, refiner
        self._spacing_mm = spacing_mm
        self._sure_mm, self._step_mm = sure_mm, step_mm
        self._radii_mm = deque([0.0], _REMEMBERED)
        self._before: Image | None = None
        self._unverified = 0

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
        refined = self._refine(self._refiner, image, uv_px, radius_px)
        leaps = self._length_mm(refined.uv_px - self.last_px) > self._step_mm
        sure = np.median(self._radii_mm) <= self._sure_mm
        kind = REFINED if sure and not leaps else DOUBTED
        if leaps or not refined.accepted:
            continued = self._refine(self._refiner, image, self.last_px, self._step_mm / self._spacing_mm)
            likelier = continued.similarity + self._refiner.parameters.nearness > refined.similarity
            if likelier or not refined.accepted:
                refined, kind = continued, CONTINUED
        if refined.accepted:
            self._unverified = 0
            self.last_px = refined.uv_px
            return network, Measurement(kind, refined.uv_px, refined.sigma_px)
        if before is not None:
            reach_px = self._step_mm / self._spacing_mm
            carried_px = self._refiner.carried(before, image, self.last_px, reach_px)
            self.last_px = np.where(self._axes, carried_px, self._marked_px)
        self._unverified += 1
        # errors of the steps since it was verified add up
        return network, Measurement(UNVERIFIED, self.last_px, np.full(2, self._unverified**0.5))

    def _refine(self, refiner: Refiner, image: Image, uv_px: Point, radius_px: Point) -> Refined:
        # along an axis that is not defined a landmark is where it was marked
        middle_px = np.where(self._axes, uv_px, self._marked_px)
        return refiner.refine(image, self._index, middle_px, np.where(self._axes, radius_px, 0.0))

    def _length_mm(self, vector_px: Point) -> float:
        return float(np.linalg.norm((vector_px * self._spacing_mm)[self._axes]))

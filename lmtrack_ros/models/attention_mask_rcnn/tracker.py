"""The attention Mask R-CNN with LSTM as a tracker.

The network sees the region round a landmark's last place, what was round it in the frame of marking, and what
its LSTM remembers; its localisations compete by score and nearness (section 2.C). What becomes of the best of
them is said in :mod:`lmtrack_ros.models.following`. Memory grows only from what was believed.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.records import Frame, Landmark, LandmarkSet
from lmtrack_ros.models.attention_mask_rcnn.finder import Finder, Localisations, Memory
from lmtrack_ros.models.attention_mask_rcnn.parameters import AttentionMaskRcnnParameters
from lmtrack_ros.models.attention_mask_rcnn.selection import chosen
from lmtrack_ros.models.calibration import Calibration, read_calibration
from lmtrack_ros.models.following import CALIBRATED_IN_TURN, DOUBTED, NETWORK, REFINED, Follower
from lmtrack_ros.models.template_matching.data import scaled
from lmtrack_ros.models.template_matching.views import View
from lmtrack_ros.models.tracking import Measurement, judged
from lmtrack_ros.trackers.marking import Scene, marked_on
from lmtrack_ros.trackers.measurement import to_set
from lmtrack_ros.trackers.patches import Image
from lmtrack_ros.trackers.refinement import Refiner

_OWN_KINDS = (NETWORK, REFINED, DOUBTED)
"""Kinds of measurement that say the network's place was right."""


class AttentionMaskRcnnTracker:
    """Follows landmarks with the attention Mask R-CNN; see the module's text.

    Raises:
        UserError: there are no such weights, or they cannot be read.
    """

    name: ClassVar[str] = "attention_mask_rcnn"
    needs_initialization: ClassVar[bool] = True
    calibrated_in_turn: ClassVar[tuple[tuple[str, ...], ...]] = CALIBRATED_IN_TURN
    Parameters = AttentionMaskRcnnParameters

    def __init__(self, parameters: AttentionMaskRcnnParameters | None = None) -> None:
        self._parameters = p = parameters or AttentionMaskRcnnParameters()
        self._finder = Finder(p.weights, p.inference)
        self.calibration: Calibration = read_calibration(self._finder.description)
        self._landmarks: tuple[Landmark, ...] = ()
        self._references: list[NDArray[np.float32]] = []
        self._memories: list[Memory] = []
        self._followers: list[Follower] = []
        self._scene = Scene()

    @property
    def landmark_ids(self) -> tuple[str, ...]:
        """Names of the landmarks followed now."""
        return tuple(landmark.id for landmark in self._landmarks)

    def initialize(self, frame: Frame, landmarks: Sequence[Landmark]) -> None:
        """Remember what landmarks look like.

        Args:
            frame: (H, W) image on which the landmarks were marked.
            landmarks: at least one.

        Raises:
            UserError: the image is not 2-D or is empty of structure, or a landmark is not one; the tracker
                then goes on as before.
        """
        scene, image = marked_on(frame, landmarks, self.name)
        grey = scaled(frame.image)
        references = [self._region(landmark.uv_px).of(grey) for landmark in landmarks]
        # nothing is refused from here on
        self._references = references
        self._memories = [self._finder.remember(reference) for reference in references]
        self._landmarks = tuple(landmarks)
        self._scene = scene
        p = self._parameters
        refiner = Refiner(p.refinement, image, landmarks) if p.refinement.enabled else None
        self._followers = [
            Follower(m, i, refiner, scene.spacing_mm, sure_mm=p.sure_mm, step_mm=p.step_mm)
            for i, m in enumerate(landmarks)
        ]

    def update(self, frame: Frame) -> LandmarkSet:
        """Find every landmark in the next frame.

        Args:
            frame: (H, W) image of the size of the first; on any other, and where the pixel spacing
                changed, every landmark is LOST.
        """
        p = self._parameters
        estimates = [
            judged(landmark, measured, frame.geometry, self.calibration, p.trust)
            for landmark, measured in zip(self._landmarks, self.measure(frame), strict=True)
        ]
        return to_set(frame, self.name, estimates)

    def measure(self, frame: Frame) -> list[tuple[Measurement, ...]]:
        """Return how each landmark is found: by the network, then refined; nothing where nothing can be.

        Args:
            frame: (H, W).
        """
        image = self._scene.image(frame)
        if image is None:
            return [()] * len(self._landmarks)
        grey = scaled(frame.image)
        return [self._measured(index, image, grey) for index in range(len(self._landmarks))]

    def _measured(self, index: int, image: Image, grey: NDArray[np.float32]) -> tuple[Measurement, ...]:
        follower = self._followers[index]
        region = self._region(follower.last_px)
        found = self._finder.find(region.of(grey), self._references[index], self._memories[index])
        last_px = region.to_view(follower.last_px)
        best = chosen(found.scores, found.places_px, last_px, self._finder.configuration.nearness)
        sigma_px = self._sigma_px(found, best)
        place_px = region.to_image(found.places_px[best])
        measured = follower.measured(image, place_px, sigma_px, self.calibration)
        if measured and measured[-1].kind in _OWN_KINDS:
            self._memories[index] = found.memories[best]
        return measured

    def _sigma_px(self, found: Localisations, best: int) -> NDArray[np.float64]:
        """Return (2,) raw standard deviation: how far apart likely places are, and how unlikely the best."""
        away_px = found.places_px - found.places_px[best]
        spread = (found.scores[:, None] * np.square(away_px)).sum(axis=0) / max(found.scores.sum(), 1e-6)
        unlikely_px = self._finder.configuration.landmark_px / 2 * (1 - found.scores[best])
        return np.asarray(np.sqrt(spread + unlikely_px**2 + 1.0))

    def _region(self, uv_px: Sequence[float] | NDArray[np.float64]) -> View:
        side = self._finder.configuration.region_px
        return View.around(np.asarray(uv_px), float(side), side)

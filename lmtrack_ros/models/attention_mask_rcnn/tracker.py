"""The attention Mask R-CNN with LSTM as a tracker.

The network sees the region round a landmark's last place, what was round it in the frame of marking, and what
its LSTM remembers; its localisations compete by score and nearness (section 2.C). Memory grows only from what
was believed.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.records import Frame, Landmark
from lmtrack_ros.models.attention_mask_rcnn.finder import Finder, Localisations, Memory
from lmtrack_ros.models.attention_mask_rcnn.parameters import AttentionMaskRcnnParameters
from lmtrack_ros.models.attention_mask_rcnn.selection import chosen
from lmtrack_ros.models.following import DOUBTED, NETWORK, REFINED
from lmtrack_ros.models.model_tracker import Grey, ModelTracker
from lmtrack_ros.models.tracking import Measurement
from lmtrack_ros.models.views import View
from lmtrack_ros.trackers.refinement import Point

_OWN_KINDS = (NETWORK, REFINED, DOUBTED)
"""Kinds of measurement that say the network's place was right."""


class AttentionMaskRcnnTracker(ModelTracker):
    """Follows landmarks with the attention Mask R-CNN; see the module's text.

    Raises:
        UserError: there are no such weights, or they cannot be read.
    """

    name: ClassVar[str] = "attention_mask_rcnn"
    Parameters = AttentionMaskRcnnParameters

    def __init__(self, parameters: AttentionMaskRcnnParameters | None = None) -> None:
        p = parameters or AttentionMaskRcnnParameters()
        self._sure_px = p.sure_px
        self._finder = Finder(p.weights, p.inference, batch=p.batch)
        super().__init__(p, self._finder.description)
        self._references: list[Grey] = []
        self._memories: list[Memory] = []
        self._candidates: list[Memory] = []

    def mark(self, frame: Frame, grey: Grey, landmarks: Sequence[Landmark]) -> None:
        """Remember what landmarks look like."""
        self._references = [self._region(landmark.uv_px).of(grey) for landmark in landmarks]
        self._memories = [self._finder.remember(reference) for reference in self._references]

    def find(self, grey: Grey) -> Iterable[tuple[Point, Point]]:
        """Return the best localisation of each landmark."""
        regions = [self._region(follower.last_px) for follower in self.followers]
        located = self._finder.find([r.of(grey) for r in regions], self._references, self._memories)
        self._candidates = []
        for follower, region, found in zip(self.followers, regions, located, strict=True):
            last_px = region.to_view(follower.last_px)
            best = chosen(found.scores, found.places_px, last_px, self._finder.configuration.nearness)
            self._candidates.append(found.memories[best])
            yield region.to_image(found.places_px[best]), self._sigma_px(found, best)

    def sure_px(self, spacing_mm: NDArray[np.float64]) -> Point:
        """Return the same number of pixels along both axes: the network sees pixels."""
        return np.full(2, self._sure_px)

    @property
    def runs_by(self) -> str:
        """Backend, device and precision that run the network."""
        return self._finder.runs_by

    def learn(self, measured: Sequence[tuple[Measurement, ...]]) -> None:
        """Remember what was believed."""
        for index, (found, memory) in enumerate(zip(measured, self._candidates, strict=True)):
            if found and found[-1].kind in _OWN_KINDS:
                self._memories[index] = memory

    def _sigma_px(self, found: Localisations, best: int) -> NDArray[np.float64]:
        """Return (2,) raw standard deviation: how far apart likely places are, and how unlikely the best."""
        away_px = found.places_px - found.places_px[best]
        spread = (found.scores[:, None] * np.square(away_px)).sum(axis=0) / max(found.scores.sum(), 1e-6)
        elsewhere_px = self._finder.configuration.region_px / 4
        wrong = (1 - found.scores[best]) * elsewhere_px**2
        return np.asarray(np.sqrt(spread + wrong + 1.0))

    def _region(self, uv_px: Sequence[float] | NDArray[np.float64]) -> View:
        side = self._finder.configuration.region_px
        return View.around(np.asarray(uv_px), float(side), side)

"""LandmarkNet as a tracker: it finds bones and airway in every radiograph by itself.

Spinous processes look alike, and no picture says which vertebra is which: they are numbered from the head on.
Which is which of a plan is for ``registration`` to tell. Those that were marked are followed, each from where
it was last.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import Frame, Landmark, LandmarkSet
from lmtrack_ros.models.calibration import read_calibration
from lmtrack_ros.models.landmark_net import KINDS
from lmtrack_ros.models.landmark_net.finder import Finder
from lmtrack_ros.models.landmark_net.heat_maps import Peak
from lmtrack_ros.models.landmark_net.parameters import LandmarkNetParameters
from lmtrack_ros.models.tracking import Measurement, judged
from lmtrack_ros.trackers.measurement import to_set

CLEAR, VAGUE = "clear", "vague"
"""Kinds of measurement; a vague one is never calibrated, so that it is UNCERTAIN."""

MOST_REPEATED = 6
"""Landmarks of a kind that repeats that are reported."""
_RIVAL = 0.7
"""Of the highest peak's height: a second one so high makes a landmark of which there is one vague."""
_REPEATED = KINDS[0]
_FOLLOWED_MM = 10.0
"""How far a marked landmark may be from its last place; vertebrae are twice as far apart."""


class LandmarkNetTracker:
    """Finds landmarks of the chest in radiographs; see the module's text.

    Raises:
        UserError: there are no such weights, or they cannot be read.
    """

    name: ClassVar[str] = "landmark_net"
    needs_initialization: ClassVar[bool] = False
    calibrated_in_turn: ClassVar[tuple[tuple[str, ...], ...]] = ((CLEAR,),)
    Parameters = LandmarkNetParameters

    def __init__(self, parameters: LandmarkNetParameters | None = None) -> None:
        self._parameters = parameters or LandmarkNetParameters()
        self._finder = Finder(self._parameters.weights, self._parameters.inference)
        self.calibration = read_calibration(self._finder.description)
        self._marked: tuple[Landmark, ...] = ()
        self._last_px: list[NDArray[np.float64]] = []

    @property
    def landmark_ids(self) -> tuple[str, ...]:
        """Names of the landmarks: those that were marked, or all that may be found."""
        return tuple(one.id for one in self._landmarks)

    @property
    def runs_by(self) -> str:
        """Backend, device and precision that run the network."""
        return self._finder.runs_by

    @property
    def _landmarks(self) -> tuple[Landmark, ...]:
        return self._marked or _EVERY

    def initialize(self, frame: Frame, landmarks: Sequence[Landmark]) -> None:
        """Take marks up, if there are any; without, every landmark that is found is reported.

        Args:
            frame: on which they were marked.
            landmarks: named after the kinds that the network knows, with or without a number.

        Raises:
            UserError: the network knows no such kind.
        """
        for landmark in landmarks:
            if not landmark.id.startswith(KINDS):
                raise UserError(f"landmark_net finds {', '.join(KINDS)}, not '{landmark.id}'")
        self._marked = tuple(landmarks)
        self._last_px = [np.array(landmark.uv_px[:2], dtype=float) for landmark in landmarks]

    def update(self, frame: Frame) -> LandmarkSet:
        """Find every landmark in a frame.

        Args:
            frame: (H, W) image; in a volume, every landmark is LOST.
        """
        estimates = [
            judged(landmark, measured, frame.geometry, self.calibration, self._parameters.trust)
            for landmark, measured in zip(self._landmarks, self.measure(frame), strict=True)
        ]
        return to_set(frame, self.name, estimates)

    def measure(self, frame: Frame) -> list[tuple[Measurement, ...]]:
        """Return how each landmark is found: in one way, or none."""
        if frame.image.ndim != 2:
            return [()] * len(self._landmarks)
        found = dict(zip(KINDS, self._finder.find(frame.image, self._parameters.least_height), strict=True))
        return self._followed(frame, found) if self._marked else self._named(found)

    def _named(self, found: dict[str, list[Peak]]) -> list[tuple[Measurement, ...]]:
        """Return the measurements of :data:`_EVERY`."""
        repeated = sorted(found.get(_REPEATED, [])[:MOST_REPEATED], key=lambda one: one.uv_px[1])
        named = [self._measurement(one) for one in repeated]
        named += [()] * (MOST_REPEATED - len(named))
        for kind in KINDS[1:]:
            clearest = found.get(kind, [])[:2]
            is_alone = len(clearest) < 2 or clearest[1].height < _RIVAL * clearest[0].height
            named.append(self._measurement(clearest[0], is_alone) if clearest else ())
        return named

    def _followed(self, frame: Frame, found: dict[str, list[Peak]]) -> list[tuple[Measurement, ...]]:
        """Return the measurements of what was marked, each the nearest to where it was last."""
        spacing_mm = np.array(frame.geometry.plane_spacing_mm[:2]) if frame.geometry else np.ones(2)
        measured: list[tuple[Measurement, ...]] = []
        for number, landmark in enumerate(self._marked):
            kind = next(one for one in KINDS if landmark.id.startswith(one))
            last = self._last_px[number]
            away_mm = [float(np.linalg.norm((one.uv_px - last) * spacing_mm)) for one in found.get(kind, [])]
            nearest = int(np.argmin(away_mm)) if away_mm else 0
            if not away_mm or away_mm[nearest] > _FOLLOWED_MM:
                measured.append(())
                continue
            self._last_px[number] = found[kind][nearest].uv_px
            measured.append(self._measurement(found[kind][nearest]))
        return measured

    def _measurement(self, peak: Peak, is_alone: bool = True) -> tuple[Measurement, ...]:
        is_clear = is_alone and peak.height >= self._parameters.clear_height
        return (Measurement(CLEAR if is_clear else VAGUE, peak.uv_px, peak.sigma_px),)


_EVERY = tuple(
    Landmark(name, (np.nan, np.nan))
    for name in (*(f"{_REPEATED}_{number}" for number in range(1, MOST_REPEATED + 1)), *KINDS[1:])
)

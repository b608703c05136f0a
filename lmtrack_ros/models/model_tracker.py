"""What the trackers of all models are but for their network: marks, frames that fit, what is reported."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.records import NS_PER_S, Frame, Landmark, LandmarkSet
from lmtrack_ros.models.calibration import read_calibration
from lmtrack_ros.models.description import Description
from lmtrack_ros.models.following import CALIBRATED_IN_TURN, Follower
from lmtrack_ros.models.grey import scaled
from lmtrack_ros.models.tracker_parameters import ModelTrackerParameters
from lmtrack_ros.models.tracking import Measurement, judged
from lmtrack_ros.trackers.marking import Scene, marked_on
from lmtrack_ros.trackers.measurement import to_set
from lmtrack_ros.trackers.refinement import Point, Refiner

Grey = NDArray[np.float32]

_INTERVALS = 5
"""Between the last frames; the least of them is usual."""
_LATE_INTERVALS, _LATE_NS = 3, NS_PER_S
"""A frame that comes so many intervals after the one before, and so long, is late."""


class ModelTracker(ABC):
    """A tracker whose landmarks a network finds; ``models.following`` says what becomes of its places.

    Args:
        parameters: of the tracker.
        description: of its weights.

    Attributes:
        calibration: of the weights; in force.
        followers: of the landmarks: where each was last.
    """

    name: ClassVar[str]
    needs_initialization: ClassVar[bool] = True
    calibrated_in_turn: ClassVar[tuple[tuple[str, ...], ...]] = CALIBRATED_IN_TURN

    def __init__(self, parameters: ModelTrackerParameters, description: Description) -> None:
        self._parameters = parameters
        self.calibration = read_calibration(description)
        self.followers: list[Follower] = []
        self._landmarks: tuple[Landmark, ...] = ()
        self._scene = Scene()
        self._last_ns = 0
        self._intervals_ns: deque[int] = deque(maxlen=_INTERVALS)

    @property
    def landmark_ids(self) -> tuple[str, ...]:
        """Names of the landmarks followed now."""
        return tuple(landmark.id for landmark in self._landmarks)

    def initialize(self, frame: Frame, landmarks: Sequence[Landmark]) -> None:
        """Take landmarks up.

        Args:
            frame: (H, W) image on which the landmarks were marked.
            landmarks: at least one.

        Raises:
            UserError: the image is not 2-D, is empty of structure or has no geometry though the network sees
                millimetres, or a landmark is not one; the tracker then goes on as before.
        """
        p = self._parameters
        scene, image = marked_on(frame, landmarks, self.name)
        self.mark(frame, scaled(frame.image), landmarks)
        # nothing is refused from here on
        self._landmarks, self._scene = tuple(landmarks), scene
        self._last_ns = frame.stamp_ns
        self._intervals_ns.clear()
        refiner = Refiner(p.refinement, image, landmarks) if p.refinement.enabled else None
        self.followers = [
            Follower(
                m, i, refiner, scene.spacing_mm, sure_px=self.sure_px(scene.spacing_mm), step_mm=p.step_mm
            )
            for i, m in enumerate(landmarks)
        ]

    def update(self, frame: Frame) -> LandmarkSet:
        """Find every landmark in the next frame.

        Args:
            frame: (H, W) image of the size of the first; on any other, and where the pixel spacing
                changed, every landmark is LOST.
        """
        estimates = [
            judged(landmark, measured, frame.geometry, self.calibration, self._parameters.trust)
            for landmark, measured in zip(self._landmarks, self.measure(frame), strict=True)
        ]
        return to_set(frame, self.name, estimates)

    def measure(self, frame: Frame) -> list[tuple[Measurement, ...]]:
        """Return how each landmark is found: by the network, then refined; nothing where nothing can be.

        Args:
            frame: (H, W).
        """
        image = self._scene.image(frame)
        if image is None or self._is_late(frame):
            for follower in self.followers:
                follower.missed()
        if image is None:
            return [()] * len(self._landmarks)
        found = self.find(scaled(frame.image))
        measured = [
            follower.measured(image, uv_px, sigma_px, self.calibration)
            for follower, (uv_px, sigma_px) in zip(self.followers, found, strict=True)
        ]
        self.learn(measured)
        return measured

    def _is_late(self, frame: Frame) -> bool:
        """Return whether frames are missing before this one: in between, anything may have happened."""
        since_ns = frame.stamp_ns - self._last_ns
        is_late = since_ns > max(_LATE_NS, _LATE_INTERVALS * min(self._intervals_ns, default=since_ns))
        self._intervals_ns.append(since_ns)
        self._last_ns = frame.stamp_ns
        return is_late

    @abstractmethod
    def sure_px(self, spacing_mm: NDArray[np.float64]) -> Point:
        """Return the (2,) radius that the network's own may have along each image axis while it is sure.

        Args:
            spacing_mm: (2,) pixel pitch along columns and rows.
        """

    @property
    @abstractmethod
    def runs_by(self) -> str:
        """Backend, device and precision that run the network."""

    @abstractmethod
    def mark(self, frame: Frame, grey: Grey, landmarks: Sequence[Landmark]) -> None:
        """Take from the frame of marking what the network needs; all of it, or nothing where it is refused.

        Args:
            frame: (H, W) image on which the landmarks were marked.
            grey: (H, W) its grey values as ``grey.scaled`` gives them.
            landmarks: inside it.
        """

    @abstractmethod
    def find(self, grey: Grey) -> Iterable[tuple[Point, Point]]:
        """Return where the network finds each landmark, (2,) px, and its (2,) raw standard deviation, px.

        Args:
            grey: (H, W) of the next frame.
        """

    def learn(self, measured: Sequence[tuple[Measurement, ...]]) -> None:  # noqa: B027 - not every model does
        """Take in what was made of the places found last."""

"""What every tracker offers."""

from collections.abc import Sequence
from typing import ClassVar, Protocol

from lmtrack_ros.core.records import Frame, Landmark, LandmarkSet


class Tracker(Protocol):
    """Follows landmarks from frame to frame; deterministic, without a clock.

    Attributes:
        name: as registered.
        needs_initialization: whether landmarks must be marked on a first frame; otherwise the
            model detects those named in ``landmark_ids`` by itself.
    """

    name: ClassVar[str]
    needs_initialization: ClassVar[bool]

    @property
    def landmark_ids(self) -> tuple[str, ...]:
        """Names of the landmarks that are followed now, in the order of the estimates."""

    def initialize(self, frame: Frame, landmarks: Sequence[Landmark]) -> None:
        """Start to follow the landmarks, marked on this frame; forgets any earlier ones.

        Raises:
            UserError: a landmark lies outside the image, is repeated, has the wrong dimension or no
                defined axis.
        """

    def update(self, frame: Frame) -> LandmarkSet:
        """Return one estimate per landmark, in the order of ``landmark_ids``."""

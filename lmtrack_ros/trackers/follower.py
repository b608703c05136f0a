"""A tracker with everything that vouches for it: what the node and the lock-step pipeline both run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import Estimate, Frame, Landmark, LandmarkSet, Reason, Status
from lmtrack_ros.trackers.frame_check import FrameCheck, is_blank, outside_image
from lmtrack_ros.trackers.measurement import to_set
from lmtrack_ros.trackers.protocol import Tracker
from lmtrack_ros.trackers.second_opinion import SecondOpinion

_GEOMETRY = Reason.GEOMETRY_MISSING | Reason.GEOMETRY_CHANGED


class Follower:
    """Follows landmarks, and says of every frame what is wrong with it.

    A frame with a fault never reaches the tracker, whose templates must not adapt to it: where its
    geometry is not that of marking there is nothing to say about the landmarks, else they are LOST.

    Args:
        tracker: the selected one.
        frozen_frames: see :class:`FrameCheck`.
        make_second: returns a new tracker for the second opinion; None for none.
        session: of the sets; not 0.
    """

    def __init__(
        self,
        tracker: Tracker,
        *,
        frozen_frames: int,
        make_second: Callable[[], Tracker] | None = None,
        session: int = 1,
    ) -> None:
        self._tracker = tracker
        self._check = FrameCheck(frozen_frames)
        self._make_second = make_second
        self._second: SecondOpinion | None = None
        self._session = session
        self._marking = 0

    @property
    def name(self) -> str:
        """Name of the selected tracker."""
        return self._tracker.name

    @property
    def needs_initialization(self) -> bool:
        """Whether landmarks must be marked before frames count."""
        return self._tracker.needs_initialization

    @property
    def landmark_ids(self) -> tuple[str, ...]:
        """Names of the landmarks followed now."""
        return self._tracker.landmark_ids

    @property
    def remarks(self) -> Mapping[str, str]:
        """What is to be said of the last frame: nothing but what its landmarks say."""
        return {}

    def initialize(self, frame: Frame, landmarks: Sequence[Landmark]) -> None:
        """Start to follow the landmarks, marked on this frame; forgets any earlier ones.

        Args:
            frame: (H, W) or (D, H, W).
            landmarks: at least one.

        Raises:
            UserError: the frame is blank, or a tracker refuses the landmarks; then all goes on as before.
        """
        if is_blank(frame.image):
            raise UserError("cannot mark landmarks on a frame without contrast")
        second = self._start_second(frame, landmarks)
        self._tracker.initialize(frame, landmarks)
        # nothing is refused from here on
        self._second = second
        self._check.mark(frame)
        self._marking += 1

    def update(self, frame: Frame) -> LandmarkSet:
        """Return what is found in the next frame, and what is wrong with it.

        Args:
            frame: (H, W) or (D, H, W); an empty one, 0 pixels large, stands for one that could not be read.

        Raises:
            UserError: the second tracker refuses what a model that marks by itself has found.
        """
        faults = self._check.check(frame)
        if faults & _GEOMETRY:
            found = to_set(frame, self.name, ())
        elif faults:
            found = to_set(frame, self.name, [Estimate(name) for name in self.landmark_ids])
        else:
            found = self._tracker.update(frame)
            faults = outside_image(found.estimates, frame.image.shape)
            if not self._check.is_marked:
                self._mark_by_itself(frame, found)
            if self._second is not None:
                found = self._second.add_to(found, frame)
        return replace(found, faults=faults, session=self._session, marking=self._marking)

    def pass_by(self, frame: Frame) -> None:
        """Take note of a frame to which a live run gave no answer: nothing of it is remembered."""

    def _mark_by_itself(self, frame: Frame, found: LandmarkSet) -> None:
        """Take the first frame in which a model finds all its landmarks as the one that marks them."""
        if found.estimates and all(e.status is Status.TRACKED for e in found.estimates):
            landmarks = [Landmark(e.id, e.uv_px, (True,) * len(e.uv_px)) for e in found.estimates]
            self._second = self._start_second(frame, landmarks)
            self._check.mark(frame)

    def _start_second(self, frame: Frame, landmarks: Sequence[Landmark]) -> SecondOpinion | None:
        return SecondOpinion(self._make_second(), frame, landmarks) if self._make_second else None

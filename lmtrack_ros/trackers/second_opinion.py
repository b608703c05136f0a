"""What an independent tracker finds on the same frames."""

from collections.abc import Sequence
from dataclasses import replace

from lmtrack_ros.core.records import Frame, Landmark, LandmarkSet, Status
from lmtrack_ros.trackers.protocol import Tracker


class SecondOpinion:
    """Follows the same landmarks with another tracker, from the same frame on.

    Args:
        tracker: of its own, not yet initialised.
        frame: on which the landmarks were marked.
        landmarks: at least one.

    Raises:
        UserError: the tracker refuses them.
    """

    def __init__(self, tracker: Tracker, frame: Frame, landmarks: Sequence[Landmark]) -> None:
        self._tracker = tracker
        tracker.initialize(frame, landmarks)

    def add_to(self, first: LandmarkSet, frame: Frame) -> LandmarkSet:
        """Return the estimates of a frame, each with the position that this tracker is sure of, if any.

        Args:
            first: what the selected tracker found in the frame.
            frame: that frame.
        """
        second = self._tracker.update(frame)
        if second.frame_id != first.frame_id:
            return first
        found = {e.id: e.position_mm for e in second.estimates if e.status is Status.TRACKED}
        estimates = tuple(replace(e, second_opinion_mm=found.get(e.id)) for e in first.estimates)
        return replace(first, estimates=estimates)

"""What every phantom offers beside being a source."""

from typing import Protocol

from numpy.typing import ArrayLike

from lmtrack_ros.core.records import Frame, LandmarkSet
from lmtrack_ros.sources.source import Source


class Phantom(Source, Protocol):
    """A source that renders any moment, knows the truth, and lies on a couch."""

    def render(self, stamp_ns: int, time_s: float, couch_mm: ArrayLike = (0, 0, 0)) -> Frame:
        """Return the image of one moment.

        Args:
            stamp_ns: what to stamp the frame with.
            time_s: the phantom's own time.
            couch_mm: (3,) position of table_top in isocenter at that moment, mm.
        """

    def truth(self, stamp_ns: int, time_s: float, couch_mm: ArrayLike = (0, 0, 0)) -> LandmarkSet:
        """Return where every landmark truly is at that moment, in isocenter."""

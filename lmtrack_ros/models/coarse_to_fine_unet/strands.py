"""A stream whose frames come faster than the network's step, as strands of frames one step apart."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from lmtrack_ros.core.records import NS_PER_S

TOLERANCE = 0.35
"""A frame is one step after another if it is off by no more than this part of the step."""

_Seen = TypeVar("_Seen")


class Strands(Generic[_Seen]):
    """What was seen up to each of the last frames.

    Args:
        step_s: between two frames of a strand, s.
    """

    def __init__(self, step_s: float) -> None:
        self._step_ns = round(step_s * NS_PER_S)
        self._seen: dict[int, _Seen] = {}

    def before(self, stamp_ns: int) -> _Seen | None:
        """Return what was seen up to about one step before a frame; None: nothing was, it begins a strand."""
        wanted_ns = stamp_ns - self._step_ns
        nearest_ns = min(self._known(stamp_ns), key=lambda known_ns: abs(known_ns - wanted_ns), default=None)
        if nearest_ns is None or abs(nearest_ns - wanted_ns) > TOLERANCE * self._step_ns:
            return None
        return self._seen[nearest_ns]

    def add(self, stamp_ns: int, seen: _Seen) -> None:
        """Keep what is seen up to a frame, and forget what no frame follows any more."""
        oldest_ns = stamp_ns - round((1 + TOLERANCE) * self._step_ns)
        self._seen = {known_ns: kept for known_ns, kept in self._seen.items() if known_ns >= oldest_ns}
        self._seen[stamp_ns] = seen

    def clear(self) -> None:
        """Forget everything."""
        self._seen.clear()

    def _known(self, stamp_ns: int) -> Iterator[int]:
        return (known_ns for known_ns in self._seen if known_ns < stamp_ns)

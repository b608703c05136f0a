"""Where the couch was when a frame was acquired."""

from collections import deque

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S, CouchStatus

_SPAN_NS = 2 * NS_PER_S


class CouchHistory:
    """The couch's recent positions, by time.

    Args:
        max_age_ms: how far past the newest status its position still counts.
    """

    def __init__(self, max_age_ms: float) -> None:
        self._max_age_ns = int(max_age_ms * NS_PER_MS)
        self._statuses: deque[CouchStatus] = deque()

    @property
    def newest(self) -> CouchStatus | None:
        """The last status taken up, or None."""
        return self._statuses[-1] if self._statuses else None

    def add(self, status: CouchStatus) -> bool:
        """Take up a status; returns False for one that is not newer than the last, or not finite."""
        newest = self.newest
        if (newest and status.stamp_ns <= newest.stamp_ns) or not np.isfinite(status.position_mm).all():
            return False
        self._statuses.append(status)
        while self._statuses[0].stamp_ns < status.stamp_ns - _SPAN_NS:
            self._statuses.popleft()
        return True

    def clear(self) -> None:
        """Forget everything, as after a clock that was set."""
        self._statuses.clear()

    def position_mm(self, stamp_ns: int) -> Array | None:
        """Return the (3,) position of table_top in isocenter at a time, or None where it is not known.

        Linear between two statuses; after the newest, its position while that is recent enough.
        """
        newest = self.newest
        if newest is None:
            return None
        if newest.stamp_ns < stamp_ns:
            return newest.position_mm if stamp_ns - newest.stamp_ns <= self._max_age_ns else None
        after = newest
        # the time asked for is a recent one
        for before in reversed(self._statuses):
            if before.stamp_ns <= stamp_ns:
                return self._between(before, after, stamp_ns)
            after = before
        return None

    def _between(self, before: CouchStatus, after: CouchStatus, stamp_ns: int) -> Array | None:
        if before.stamp_ns == stamp_ns:
            return before.position_mm
        span_ns = after.stamp_ns - before.stamp_ns
        if span_ns > self._max_age_ns:
            return None
        share = (stamp_ns - before.stamp_ns) / span_ns
        return before.position_mm + share * (after.position_mm - before.position_mm)

"""Where the couch was when a frame was acquired."""

from bisect import bisect_left
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

    def position_mm(self, stamp_ns: int) -> Array | None:
        """Return the (3,) position of table_top in isocenter at a time, or None where it is not known.

        Linear between two statuses; after the newest, its position while that is recent enough.
        """
        stamps = [s.stamp_ns for s in self._statuses]
        after = bisect_left(stamps, stamp_ns)
        if after == len(stamps):
            if not stamps or stamp_ns - stamps[-1] > self._max_age_ns:
                return None
            return self._statuses[-1].position_mm
        if stamps[after] == stamp_ns:
            return self._statuses[after].position_mm
        if after == 0 or stamps[after] - stamps[after - 1] > self._max_age_ns:
            return None
        left, right = self._statuses[after - 1], self._statuses[after]
        share = (stamp_ns - left.stamp_ns) / (right.stamp_ns - left.stamp_ns)
        return left.position_mm + share * (right.position_mm - left.position_mm)

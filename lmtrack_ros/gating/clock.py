"""Notices when the clock was set, by comparing it with one that nobody sets."""

from lmtrack_ros.core.records import NS_PER_MS


class ClockWatch:
    """Compares two readings of a clock with two of a monotonic one.

    A clock that merely runs fast or slow, as under time synchronisation, is no jump.

    Args:
        max_jump_ms: how far the two may differ from one look to the next, ms.
    """

    def __init__(self, max_jump_ms: float) -> None:
        self._max_jump_ns = int(max_jump_ms * NS_PER_MS)
        self._offset_ns: int | None = None

    def jumped(self, now_ns: int, monotonic_ns: int) -> bool:
        """Return whether the clock was set since the last look, forwards or backwards.

        Args:
            now_ns: reading of the clock.
            monotonic_ns: reading of the monotonic clock at the same moment.
        """
        offset_ns = now_ns - monotonic_ns
        before_ns, self._offset_ns = self._offset_ns, offset_ns
        return before_ns is not None and abs(offset_ns - before_ns) > self._max_jump_ns

"""The latency ledger: how long frames took, stage by stage, over the last seconds."""

from bisect import bisect_left, insort
from collections import deque

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S, LatencyStamps

_SPAN_NS = 10 * NS_PER_S
STAGES = ("imaging", "tracking", "deciding", "total", "frame_interval")
"""Exposure to reception by the tracker, to its estimate, to the decision; all three; between exposures."""


def percentiles(values: Array) -> dict[str, float]:
    """Return p50, p95, p99 and max of some values."""
    found = np.percentile(values, (50, 95, 99, 100)).tolist()
    return dict(zip(("p50", "p95", "p99", "max"), found, strict=True))


class LatencyLedger:
    """Latencies of the frames decided on in the last ten seconds."""

    def __init__(self) -> None:
        self._stamps: deque[LatencyStamps] = deque()
        self._totals_ns = _Sorted()
        self._intervals_ns = _Sorted()

    def add(self, stamps: LatencyStamps) -> None:
        """Take up one frame, later than the one before.

        Args:
            stamps: acquired and decided must be set; a stage that was not stamped counts as zero.
        """
        if self._stamps:
            self._intervals_ns.add(stamps.acquired_ns - self._stamps[-1].acquired_ns)
        self._stamps.append(stamps)
        self._totals_ns.add(stamps.decided_ns - stamps.acquired_ns)
        while self._stamps[0].acquired_ns < stamps.acquired_ns - _SPAN_NS:
            oldest = self._stamps.popleft()
            self._totals_ns.remove(oldest.decided_ns - oldest.acquired_ns)
            self._intervals_ns.remove(self._stamps[0].acquired_ns - oldest.acquired_ns)

    def clear(self) -> None:
        """Forget all frames, as after a clock that cannot be trusted."""
        self._stamps.clear()
        self._totals_ns = _Sorted()
        self._intervals_ns = _Sorted()

    def total_ns(self, share: float) -> int:
        """Return a quantile of exposure to decision; 0 of an empty ledger."""
        return self._totals_ns.quantile(share)

    def frame_interval_ns(self) -> int:
        """Return the median time between exposures; 0 until there are two."""
        return self._intervals_ns.quantile(0.5)

    def percentiles_ms(self) -> dict[str, dict[str, float]]:
        """Return p50, p95, p99 and max of each of :data:`STAGES` that has any, ms."""
        if not self._stamps:
            return {}
        rows = np.array([(s.acquired_ns, s.received_ns, s.tracked_ns, s.decided_ns) for s in self._stamps])
        # a stage without a stamp of its own took no time
        rows = np.maximum.accumulate(rows, axis=1)
        columns = [*np.diff(rows, axis=1).T, rows[:, 3] - rows[:, 0], np.diff(rows[:, 0])]
        return {
            stage: percentiles(column / NS_PER_MS)
            for stage, column in zip(STAGES, columns, strict=True)
            if len(column)
        }


class _Sorted:
    """Numbers in order of size."""

    def __init__(self) -> None:
        self._values: list[int] = []

    def add(self, value: int) -> None:
        insort(self._values, value)

    def remove(self, value: int) -> None:
        del self._values[bisect_left(self._values, value)]

    def quantile(self, share: float) -> int:
        """Return the value that this share of all does not exceed (nearest rank); 0 of none."""
        if not self._values:
            return 0
        return self._values[min(len(self._values) - 1, int(share * len(self._values)))]

"""Which frames a predictor takes in."""

from enum import Enum

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.records import NS_PER_S

GAP_S = 1.5
"""A history does not go on across a longer time without a usable frame, s: about half a breath."""
_GAP_NS = round(GAP_S * NS_PER_S)

FAR_MM = 1e4
"""Nothing in a treatment room is further from isocenter."""


class Verdict(Enum):
    """What a predictor is to do with a frame."""

    SKIP = "leave it out"
    CONTINUE = "add it to the history"
    RESTART = "forget the history and start a new one with it"


class Intake:
    """Sorts frames: nothing but increasing stamps, one shape, one set of observed axes gets into a history.

    A frame that sees other axes than the history is left out, as are late ones and positions that are
    no numbers; once that has lasted longer than :data:`GAP_S`, the next usable frame starts a new history.

    Attributes:
        newest_mm: (N, 3) positions of the newest frame, taken in or not; NaN where not observed.
        verdict: on the newest frame.
        unseen: (N, 3) zero where the history observes an axis, NaN where it does not.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.newest_mm: Array = np.zeros((0, 3))
        self.verdict = Verdict.SKIP
        self._stamp_ns: int | None = None
        self._seen = b""
        self.unseen: Array = np.zeros((0, 3))

    def take(self, stamp_ns: int, positions_mm: Array) -> Array:
        """Judge one frame.

        Args:
            stamp_ns: its time.
            positions_mm: (N, 3); an axis that is not finite, or 10 m away, is not observed.

        Returns:
            The (N, 3) positions for the history, zero where not observed.
        """
        if positions_mm.ndim != 2 or positions_mm.shape[1] != 3:
            raise ValueError(f"positions must be (N, 3), got shape {positions_mm.shape}")
        observed = np.abs(positions_mm) < FAR_MM  # NaN is not
        seen = observed.tobytes()
        if observed.all():
            clean = self.newest_mm = np.array(positions_mm)
        else:
            clean = np.where(observed, positions_mm, 0.0)
            self.newest_mm = np.where(observed, positions_mm, np.nan)

        self.verdict = Verdict.SKIP
        last_ns = self._stamp_ns
        if not observed.any():
            return clean
        if last_ns is None or abs(stamp_ns - last_ns) > _GAP_NS or len(seen) != len(self._seen):
            self.verdict = Verdict.RESTART
            self._seen = seen
            self.unseen = np.where(observed, 0.0, np.nan)
        elif stamp_ns <= last_ns or seen != self._seen:
            return clean
        else:
            self.verdict = Verdict.CONTINUE
        self._stamp_ns = stamp_ns
        return clean

"""Whether a tumour that is found has been found for long enough, and nothing speaks against it.

A rival, something else that may be the tumour, speaks against one that is not known yet, and against a known
one if it stays for as long as a tumour must. One that flickers, while a known tumour goes on, does not.
"""

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.records import NS_PER_S

_NOISE_MM = 3.0
"""By so much a found place may differ from frame to frame though nothing moves."""


class Steadiness:
    """Told of every frame where the tumour was found, says when that can be relied on.

    Args:
        steady_s: for how long it must have been found, s.
        longest_gap_s: between two frames; after a longer one it begins anew, s.
        fastest_mm_s: what moves faster has leapt, mm/s.
    """

    def __init__(self, steady_s: float, longest_gap_s: float, fastest_mm_s: float) -> None:
        self._steady_ns = round(steady_s * NS_PER_S)
        self._longest_gap_ns = round(longest_gap_s * NS_PER_S)
        self._fastest_mm_s = fastest_mm_s
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._since_ns: int | None = None
        self._last_ns = 0
        self._last_mm: NDArray[np.float64] = np.full(2, np.nan)
        self._rival_ns: tuple[int, int] | None = None

    def add(self, stamp_ns: int, place_mm: NDArray[np.float64], *, has_rival: bool) -> bool:
        """Return whether what was found in a frame is steady.

        Args:
            stamp_ns: of the frame.
            place_mm: (2,) where it was found.
            has_rival: whether something else may be it.
        """
        passed_ns = stamp_ns - self._last_ns
        allowed_mm = self._fastest_mm_s * passed_ns / NS_PER_S + _NOISE_MM
        if passed_ns > self._longest_gap_ns or not np.linalg.norm(place_mm - self._last_mm) <= allowed_mm:
            self._since_ns = None
        if self._since_ns is None:
            self._since_ns = stamp_ns
        self._last_ns, self._last_mm = stamp_ns, place_mm
        is_steady = stamp_ns - self._since_ns >= self._steady_ns
        if has_rival and (not is_steady or self._rival_stays(stamp_ns)):
            self.forget()
            return False
        return is_steady

    def _rival_stays(self, stamp_ns: int) -> bool:
        first_ns, last_ns = self._rival_ns or (stamp_ns, stamp_ns)
        if stamp_ns - last_ns > self._longest_gap_ns:
            first_ns = stamp_ns
        self._rival_ns = first_ns, stamp_ns
        return stamp_ns - first_ns >= self._steady_ns

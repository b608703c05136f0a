"""Notices that more than one publisher sends on a topic."""

_MEMORY = 100
"""Over how many messages it is remembered that the numbers fell."""


class SolePublisher:
    """Watches the numbers that each publisher gives its messages, one more each time.

    One publisher's numbers grow, though some are lost on the way. A source that is started again begins
    anew: they fall once. Those of two publishers, mixed, fall again and again.
    """

    def __init__(self) -> None:
        self._last = 0
        self._since_falls: tuple[int, ...] = ()

    @property
    def is_doubled(self) -> bool:
        """Whether the numbers fell more than once lately."""
        return len(self._since_falls) > 1

    def add(self, number: int | None) -> None:
        """Take up the number of the next message; None where the middleware does not tell."""
        if number is None:
            return
        since = [n + 1 for n in self._since_falls if n + 1 < _MEMORY]
        if number <= self._last:
            since.append(0)
        self._since_falls = tuple(since)
        self._last = number

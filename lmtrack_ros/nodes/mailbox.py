"""A mailbox with few slots between a callback and a worker thread."""

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Keeps only the newest items: a slow worker skips, and never falls behind.

    Args:
        slots: how many it keeps.
    """

    def __init__(self, slots: int = 1) -> None:
        self._condition = threading.Condition()
        self._items: deque[T] = deque(maxlen=slots)
        self._closed = False

    def put(self, item: T) -> bool:
        """Add an item; returns whether the oldest had to go, which nobody had taken."""
        with self._condition:
            is_full = len(self._items) == self._items.maxlen
            self._items.append(item)
            self._condition.notify()
            return is_full

    def take(self) -> T | None:
        """Wait for an item and return the oldest; None once the mailbox is closed."""
        with self._condition:
            self._condition.wait_for(lambda: bool(self._items) or self._closed)
            return None if self._closed else self._items.popleft()

    def close(self) -> None:
        """Wake the worker and let it end."""
        with self._condition:
            self._closed = True
            self._condition.notify()

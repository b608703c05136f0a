"""Pairs messages of the same stamp: message_filters where it is installed, a small equivalent elsewhere."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.node import Node

_QUEUE = 10


def time_synchronizer(
    node: Node, topics: Sequence[tuple[type, str, Any]], callback: Callable[..., None]
) -> list[Any]:
    """Call back with one message of each topic whenever all carry the same stamp.

    Args:
        node: subscribes.
        topics: message class, name and quality of service of each.
        callback: called with the messages in that order.

    Returns:
        The subscriptions, to be destroyed by the caller.
    """
    try:
        from message_filters import Subscriber, TimeSynchronizer
    except ImportError:
        matcher = ExactTime(len(topics), callback)
        return [
            node.create_subscription(cls, topic, lambda msg, i=i: matcher.add(i, msg), profile)
            for i, (cls, topic, profile) in enumerate(topics)
        ]
    filters = [Subscriber(node, cls, topic, qos_profile=profile) for cls, topic, profile in topics]
    TimeSynchronizer(filters, _QUEUE).registerCallback(callback)
    return [f.sub for f in filters]


class ExactTime:
    """Matches messages by exact stamp; the oldest unmatched ones fall out.

    Args:
        count: how many messages make a match.
        callback: called with them, in order.
    """

    def __init__(self, count: int, callback: Callable[..., None]) -> None:
        self._count = count
        self._callback = callback
        self._waiting: OrderedDict[tuple[int, int], dict[int, Any]] = OrderedDict()

    def add(self, index: int, message: Any) -> None:
        """Take up message ``index`` of a match."""
        stamp = (message.header.stamp.sec, message.header.stamp.nanosec)
        match = self._waiting.setdefault(stamp, {})
        match[index] = message
        if len(match) == self._count:
            del self._waiting[stamp]
            self._callback(*(match[i] for i in range(self._count)))
        while len(self._waiting) > _QUEUE:
            self._waiting.popitem(last=False)

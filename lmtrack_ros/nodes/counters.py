"""What a node counts, once a second on ``diagnostics``."""

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from lmtrack_ros.ros.lifecycle import ManagedNode

_PERIOD_S = 1.0


class Counters:
    """Publishes a node's counts while it is active.

    Args:
        node: whose counts they are; being configured.
        counts: by name; the node changes them.
    """

    def __init__(self, node: ManagedNode, counts: Mapping[str, int]) -> None:
        self._node = node
        self._counts = counts
        self._publisher = node.publisher("diagnostics")

    def start(self) -> None:
        """Publish once a second from now on, while the node is active."""
        self._node.repeat(_PERIOD_S, self.publish)

    def publish(self) -> None:
        """Publish the counts as they are now."""
        values = [KeyValue(key=key, value=str(value)) for key, value in self._counts.items()]
        status = DiagnosticStatus(level=DiagnosticStatus.OK, name=self._node.get_name(), values=values)
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

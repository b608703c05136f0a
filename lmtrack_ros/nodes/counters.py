"""What a node counts or measures, once a second on ``diagnostics``."""

from collections.abc import Callable, Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from lmtrack_ros.ros.lifecycle import ManagedNode

_PERIOD_S = 1.0


class Counters:
    """Publishes a node's figures while it is active.

    Args:
        node: whose figures they are; being configured.
        figures: returns them by name, as they are at the moment.
    """

    def __init__(self, node: ManagedNode, figures: Callable[[], Mapping[str, object]]) -> None:
        self._node = node
        self._figures = figures
        self._publisher = node.publisher("diagnostics")

    def start(self) -> None:
        """Publish once a second from now on, while the node is active."""
        self._node.repeat(_PERIOD_S, self.publish)

    def publish(self) -> None:
        """Publish the figures as they are now."""
        values = [KeyValue(key=key, value=str(value)) for key, value in self._figures().items()]
        status = DiagnosticStatus(level=DiagnosticStatus.OK, name=self._node.get_name(), values=values)
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

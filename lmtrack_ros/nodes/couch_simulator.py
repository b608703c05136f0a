"""A couch without hardware: takes shifts, reports where it is."""

import sys
from dataclasses import dataclass
from typing import Any

from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn

from lmtrack_ros import interface
from lmtrack_ros.core.frames import isocenter_from_table_top
from lmtrack_ros.core.geometry import ISOCENTER, TABLE_TOP
from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.phantoms.couch import CouchSimulator, CouchSimulatorParameters
from lmtrack_ros.ros import qos
from lmtrack_ros.ros.convert import make, message_class
from lmtrack_ros.ros.lifecycle import ManagedNode, logged, run
from lmtrack_ros.ros.tf import TransformPublisher


@dataclass(frozen=True)
class CouchSimulatorNodeParameters(CouchSimulatorParameters):
    """The simulated couch and how often it reports."""

    rate_hz: float = parameter(50.0, "how often it reports, Hz", minimum=1.0, maximum=500.0)


class CouchSimulatorNode(ManagedNode):
    """Subscribes to couch_shift; publishes couch_status and the transform of table_top."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__("couch_simulator", **arguments)
        self._settings = self.declare(CouchSimulatorNodeParameters)
        self.reject_unknown_parameters()

    @logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stand at zero."""
        self._couch = CouchSimulator(self._settings, self.now_ns())
        self._publisher = self.create_lifecycle_publisher(
            message_class("lmtrack_ros/msg/CouchStatus"), "couch_status", qos.STREAM
        )
        self._transforms = TransformPublisher(self)
        return TransitionCallbackReturn.SUCCESS

    @logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to move and to report."""
        result = super().on_activate(state)
        self._subscription = self.create_subscription(
            message_class("lmtrack_ros/msg/CouchShift"),
            "couch_shift",
            lambda msg: self._couch.command(interface.read_couch_shift(msg), self.now_ns()),
            qos.DECISIONS,
        )
        self._timer = self.create_timer(1.0 / self._settings.rate_hz, self._report)
        return result

    @logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop."""
        self.destroy_timer(self._timer)
        self.destroy_subscription(self._subscription)
        return super().on_deactivate(state)

    def _report(self) -> None:
        status = self._couch.advance(self.now_ns())
        message = interface.couch_status(make, status)
        self._publisher.publish(message)
        self._transforms.publish(
            ISOCENTER, TABLE_TOP, isocenter_from_table_top(status.position_mm), message.header.stamp
        )


def main() -> int:
    """Run the node."""
    return run(CouchSimulatorNode)


if __name__ == "__main__":
    sys.exit(main())

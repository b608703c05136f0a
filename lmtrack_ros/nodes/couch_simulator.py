"""A couch without hardware: takes shifts, reports where it is."""

import sys
from typing import Any

from lmtrack_ros import interface
from lmtrack_ros.core.frames import isocenter_from_table_top
from lmtrack_ros.core.geometry import ISOCENTER, TABLE_TOP
from lmtrack_ros.phantoms.couch import CouchFailure, CouchSimulator, CouchSimulatorParameters
from lmtrack_ros.ros.convert import make
from lmtrack_ros.ros.lifecycle import ManagedNode, run
from lmtrack_ros.ros.tf import TransformPublisher


class CouchSimulatorNode(ManagedNode):
    """Subscribes to couch_shift; publishes couch_status and the transform of table_top."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__("couch_simulator", **arguments)
        self._settings = self.declare(CouchSimulatorParameters)
        self.reject_unknown_parameters()

    def configure(self) -> None:
        """Stand at zero."""
        self._couch = CouchSimulator(self._settings, self.now_ns())
        self._publisher = self.publisher("couch_status")
        self._transforms = TransformPublisher(self)

    def activate(self) -> None:
        """Start to move and to report."""
        self.subscribe("couch_shift", self._on_shift)
        self.repeat(1.0 / self._settings.rate_hz, self._report)

    def deactivate(self) -> None:
        """Stop where it is."""
        self._couch.stop(self.now_ns())

    def _on_shift(self, msg: Any) -> None:
        self._couch.command(interface.read_couch_shift(msg), self.now_ns())

    def _report(self) -> None:
        status = self._couch.advance(self.now_ns())
        message = interface.couch_status(make, status)
        if self._couch.failure is not CouchFailure.SILENT:
            self._publisher.publish(message)
        self._transforms.publish(
            ISOCENTER, TABLE_TOP, isocenter_from_table_top(status.position_mm), message.header.stamp
        )


def main() -> int:
    """Run the node."""
    return run(CouchSimulatorNode)


if __name__ == "__main__":
    sys.exit(main())

"""Turns landmark positions into beam holds and couch shifts."""

import secrets
import sys
import time
from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from std_srvs.srv import SetBool, Trigger

from lmtrack_ros import interface
from lmtrack_ros.core.records import NS_PER_S, AuditEntry
from lmtrack_ros.gating.parameters import GatingParameters
from lmtrack_ros.gating.session import Answer, Session
from lmtrack_ros.nodes.counters import Counters
from lmtrack_ros.ros import qos
from lmtrack_ros.ros.convert import make, message_class
from lmtrack_ros.ros.lifecycle import ManagedNode, run

# how long a stopping gate waits for its last HOLD to arrive
_LAST_WORDS = Duration(seconds=1)
# a simulated clock that stands still this long has lost its source
_CLOCK_STALL_NS = NS_PER_S


class GatingNode(ManagedNode):
    """Subscribes to landmarks and couch_status; publishes gate, couch_shift and audit.

    Services: arm, disarm, acknowledge, propose_setup, cancel_setup (Trigger), hold, couch_tracking
    (SetBool), confirm_setup (ConfirmCouchShift).
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__("gating", **arguments)
        self._settings = self.declare(GatingParameters)
        self.reject_unknown_parameters()

    def configure(self) -> None:
        """Make a new session of the gate: disarmed."""
        self._session = Session(self._settings, secrets.randbits(63) | 1)
        self._decisions = self.publisher("gate")
        self._shifts = self.publisher("couch_shift")
        self._audit = self.publisher("audit")
        self._counters = Counters(self, self._latencies)

    def activate(self) -> None:
        """Start to decide."""
        self.subscribe("landmarks", self._on_landmarks)
        self.subscribe("couch_status", self._on_couch)
        self.subscribe("gate", self._on_decision, qos.EVERY_DECISION)
        for action in ("arm", "disarm", "acknowledge", "propose_setup", "cancel_setup"):
            self.serve(Trigger, action, self._service(lambda request, action=action: action))
        self.serve(SetBool, "hold", self._service(lambda request: "hold" if request.data else "release"))
        self.serve(
            SetBool, "couch_tracking", self._service(lambda request: "track" if request.data else "still")
        )
        confirm = message_class("lmtrack_ros/srv/ConfirmCouchShift")
        self.serve(confirm, "confirm_setup", self._on_confirm_setup)
        self._clock_ns = 0
        self._clock_moved_ns = time.monotonic_ns()
        # steady, so that neither a time of day set back nor a clock that stands still silences the gate
        self.repeat(self._settings.tick_ms / 1e3, self._on_tick, Clock(clock_type=ClockType.STEADY_TIME))
        self._counters.start()
        self.get_logger().info("disarmed: holding the beam until the service 'arm' is called")

    def deactivate(self) -> None:
        """Hold, stop the couch, and wait until that has arrived."""
        self._publish(self._session.shut_down(self.now_ns()))
        for publisher in (self._decisions, self._shifts):
            publisher.wait_for_all_acked(_LAST_WORDS)

    def _publish(self, answer: Answer | None) -> None:
        if answer is None:
            return
        if answer.decision is not None:
            self._decisions.publish(interface.gate_decision(make, answer.decision))
        self._shifts.publish(interface.couch_shift(make, answer.shift))

    # callbacks -----------------------------------------------------------------------------------

    def _on_landmarks(self, msg: Any) -> None:
        self._publish(self._session.landmarks(interface.read_landmark_array(msg), self.now_ns()))

    def _on_couch(self, msg: Any) -> None:
        self._publish(self._session.couch(interface.read_couch_status(msg), self.now_ns()))

    def _on_decision(self, msg: Any) -> None:
        self._publish(self._session.hear(interface.read_gate_decision(msg), self.now_ns()))

    def _on_tick(self) -> None:
        now_ns, steady_ns = self.now_ns(), time.monotonic_ns()
        if now_ns != self._clock_ns:
            self._clock_ns, self._clock_moved_ns = now_ns, steady_ns
        if steady_ns - self._clock_moved_ns > _CLOCK_STALL_NS:
            # and say so again once a second
            self._clock_moved_ns = steady_ns
            self._publish(self._session.hold_silent(now_ns))
        else:
            self._publish(self._session.tick(now_ns, steady_ns))

    def _service(self, action_of: Callable[[Any], str]) -> Callable[[Any, Any], Any]:
        """Return a service's callback that does what the request asks for and says what came of it."""

        def serve(request: Any, response: Any) -> Any:
            entry = self._operate(action_of(request))
            response.success, response.message = entry.accepted, entry.message
            return response

        return serve

    def _on_confirm_setup(self, request: Any, response: Any) -> Any:
        entry = self._operate("confirm_setup", (request.session, request.sequence))
        response.accepted, response.message = entry.accepted, entry.message
        return response

    def _operate(self, action: str, shift: tuple[int, int] | None = None) -> AuditEntry:
        entry, answer = self._session.operate(action, self.now_ns(), shift)
        self._publish(answer)
        self._audit.publish(interface.audit_entry(make, entry))
        self.get_logger().info(entry.message)
        return entry

    def _latencies(self) -> dict[str, str]:
        """Return the ledger's percentiles, ms, by stage."""
        return {
            f"{stage}_{name}_ms": f"{value:.3f}"
            for stage, percentiles in self._session.gate.ledger.percentiles_ms().items()
            for name, value in percentiles.items()
        }


def main() -> int:
    """Run the node."""
    return run(GatingNode)


if __name__ == "__main__":
    sys.exit(main())

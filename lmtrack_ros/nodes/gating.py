"""Turns landmark positions into beam holds and couch shifts."""

import secrets
import sys
import time
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from std_srvs.srv import SetBool, Trigger

from lmtrack_ros import interface
from lmtrack_ros.core.records import NS_PER_S, CouchShift, GateDecision
from lmtrack_ros.gating.parameters import GatingParameters
from lmtrack_ros.gating.session import start_session
from lmtrack_ros.ros.convert import make
from lmtrack_ros.ros.lifecycle import ManagedNode, run

# how long a stopping gate waits for its last HOLD to arrive
_LAST_WORDS = Duration(seconds=1)
# a simulated clock that stands still this long has lost its source
_CLOCK_STALL_NS = NS_PER_S


class GatingNode(ManagedNode):
    """Subscribes to landmarks and couch_status; publishes gate and couch_shift.

    Services: arm, disarm (Trigger), hold, couch_tracking (SetBool).
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__("gating", **arguments)
        self._settings = self.declare(GatingParameters)
        self.reject_unknown_parameters()

    def configure(self) -> None:
        """Make a new session of the gate: disarmed."""
        self._gate, self._controller = start_session(self._settings, secrets.randbits(63) | 1)
        self._decisions = self.publisher("gate")
        self._shifts = self.publisher("couch_shift")

    def activate(self) -> None:
        """Start to decide."""
        self.subscribe("landmarks", self._on_landmarks)
        self.subscribe("couch_status", self._on_couch)
        self.serve(Trigger, "arm", self._on_arm)
        self.serve(Trigger, "disarm", self._on_disarm)
        self.serve(SetBool, "hold", self._on_hold)
        self.serve(SetBool, "couch_tracking", self._on_couch_tracking)
        self._clock_ns = 0
        self._clock_moved_ns = time.monotonic_ns()
        # steady, so that neither a time of day set back nor a clock that stands still silences the gate
        self.repeat(self._settings.tick_ms / 1e3, self._on_tick, Clock(clock_type=ClockType.STEADY_TIME))
        self.get_logger().info("disarmed: holding the beam until the service 'arm' is called")

    def deactivate(self) -> None:
        """Hold, stop the couch, and wait until that has arrived."""
        now_ns = self.now_ns()
        self._hold(self._gate.shut_down(now_ns))
        for publisher in (self._decisions, self._shifts):
            publisher.wait_for_all_acked(_LAST_WORDS)

    def _decide(self, decision: GateDecision, shift: CouchShift) -> None:
        self._decisions.publish(interface.gate_decision(make, decision))
        self._shifts.publish(interface.couch_shift(make, shift))

    def _hold(self, decision: GateDecision | None) -> None:
        """Publish a HOLD that follows from no frame; the couch stands still with it."""
        if decision is not None:
            self._decide(decision, self._controller.stand_still(decision.stamp_ns))

    # callbacks -----------------------------------------------------------------------------------

    def _on_landmarks(self, msg: Any) -> None:
        decision = self._gate.update(interface.read_landmark_array(msg), self.now_ns())
        assert self._gate.target is not None
        self._decide(decision, self._controller.update(self._gate.target, decision.stamp_ns))

    def _on_couch(self, msg: Any) -> None:
        self._gate.update_couch(interface.read_couch_status(msg), self.now_ns())

    def _on_tick(self) -> None:
        now_ns, steady_ns = self.now_ns(), time.monotonic_ns()
        if now_ns != self._clock_ns:
            self._clock_ns, self._clock_moved_ns = now_ns, steady_ns
        stalled = steady_ns - self._clock_moved_ns > _CLOCK_STALL_NS
        self._hold(self._gate.hold_silent(now_ns) if stalled else self._gate.tick(now_ns))

    def _on_arm(self, request: Any, response: Any) -> Any:
        self._gate.arm()
        response.success, response.message = True, f"armed, session {self._gate.session}"
        self.get_logger().info(response.message)
        return response

    def _on_disarm(self, request: Any, response: Any) -> Any:
        self._follow(False)
        self._hold(self._gate.disarm(self.now_ns()))
        response.success, response.message = True, "disarmed"
        self.get_logger().info(response.message)
        return response

    def _on_hold(self, request: Any, response: Any) -> Any:
        self._hold(self._gate.set_operator_hold(request.data, self.now_ns()))
        response.success, response.message = True, "held" if request.data else "released"
        self.get_logger().info(response.message)
        return response

    def _on_couch_tracking(self, request: Any, response: Any) -> Any:
        self._follow(request.data)
        if not request.data:
            self._shifts.publish(interface.couch_shift(make, self._controller.stand_still(self.now_ns())))
        response.success = True
        response.message = "the couch follows the target" if request.data else "the couch stands still"
        self.get_logger().info(response.message)
        return response

    def _follow(self, follow: bool) -> None:
        self._controller.tracking = follow
        self._gate.needs_couch = follow


def main() -> int:
    """Run the node."""
    return run(GatingNode)


if __name__ == "__main__":
    sys.exit(main())

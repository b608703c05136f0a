"""Turns landmark positions into beam holds and couch shifts."""

import secrets
import sys
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from std_srvs.srv import SetBool, Trigger

from lmtrack_ros import interface
from lmtrack_ros.core.records import GateDecision
from lmtrack_ros.gating.couch_controller import CouchController
from lmtrack_ros.gating.gate import Gate
from lmtrack_ros.gating.parameters import GatingParameters
from lmtrack_ros.ros import qos
from lmtrack_ros.ros.convert import make, message_class
from lmtrack_ros.ros.lifecycle import ManagedNode, logged, run

# how long a stopping gate waits for its last HOLD to arrive
_LAST_WORDS = Duration(seconds=1)


class GatingNode(ManagedNode):
    """Subscribes to landmarks and couch_status; publishes gate and couch_shift.

    Services: arm, disarm (Trigger), hold, couch_tracking (SetBool).
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__("gating", **arguments)
        self._settings = self.declare(GatingParameters)
        self.reject_unknown_parameters()
        self._gate: Gate | None = None

    @logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make a new session of the gate: disarmed."""
        session = secrets.randbits(63) | 1
        self._gate = Gate(self._settings, session)
        self._controller = CouchController(self._settings.couch, session)
        self._decisions = self._publisher("gate")
        self._shifts = self._publisher("couch_shift")
        return TransitionCallbackReturn.SUCCESS

    @logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to decide."""
        result = super().on_activate(state)
        self._inputs = [
            self.create_subscription(message_class(interface.TOPIC_TYPES[topic]), topic, callback, qos.STREAM)
            for topic, callback in (("landmarks", self._on_landmarks), ("couch_status", self._on_couch))
        ]
        self._services_of_the_operator = [
            self.create_service(Trigger, "arm", self._on_arm),
            self.create_service(Trigger, "disarm", self._on_disarm),
            self.create_service(SetBool, "hold", self._on_hold),
            self.create_service(SetBool, "couch_tracking", self._on_couch_tracking),
        ]
        # silence must be noticed even if the time of day is set back; in a replay time is the clock's
        simulated = self.get_parameter("use_sim_time").value
        clock = self.get_clock() if simulated else Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(self._settings.tick_ms / 1e3, self._on_tick, clock=clock)
        self.get_logger().info("disarmed: holding the beam until the service 'arm' is called")
        return result

    @logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Hold, and stop to decide."""
        self._say_last_words()
        self.destroy_timer(self._timer)
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        for service in self._services_of_the_operator:
            self.destroy_service(service)
        return super().on_deactivate(state)

    def finish(self) -> None:
        """Hold."""
        if self._gate is not None:
            self._say_last_words()

    def _publisher(self, topic: str) -> Any:
        return self.create_lifecycle_publisher(
            message_class(interface.TOPIC_TYPES[topic]), topic, qos.DECISIONS
        )

    def _say_last_words(self) -> None:
        assert self._gate is not None
        now_ns = self.now_ns()
        self._publish(self._gate.shut_down(now_ns))
        self._shifts.publish(interface.couch_shift(make, self._controller.stop(now_ns)))
        for publisher in (self._decisions, self._shifts):
            publisher.wait_for_all_acked(_LAST_WORDS)

    def _publish(self, decision: GateDecision | None) -> None:
        if decision is not None:
            self._decisions.publish(interface.gate_decision(make, decision))

    # callbacks -----------------------------------------------------------------------------------

    def _on_landmarks(self, msg: Any) -> None:
        assert self._gate is not None
        self._publish(self._gate.update(interface.read_landmark_array(msg), self.now_ns()))
        assert self._gate.target is not None
        shift = self._controller.update(self._gate.target, interface.stamp_ns(msg.header.stamp))
        self._shifts.publish(interface.couch_shift(make, shift))

    def _on_couch(self, msg: Any) -> None:
        assert self._gate is not None
        self._gate.update_couch(interface.read_couch_status(msg))

    def _on_tick(self) -> None:
        assert self._gate is not None
        self._publish(self._gate.tick(self.now_ns()))

    def _on_arm(self, request: Any, response: Any) -> Any:
        assert self._gate is not None
        self._gate.arm()
        response.success, response.message = True, f"armed, session {self._gate.session}"
        self.get_logger().info(response.message)
        return response

    def _on_disarm(self, request: Any, response: Any) -> Any:
        assert self._gate is not None
        self._publish(self._gate.disarm(self.now_ns()))
        response.success, response.message = True, "disarmed"
        self.get_logger().info(response.message)
        return response

    def _on_hold(self, request: Any, response: Any) -> Any:
        assert self._gate is not None
        self._publish(self._gate.set_operator_hold(request.data, self.now_ns()))
        response.success, response.message = True, "held" if request.data else "released"
        self.get_logger().info(response.message)
        return response

    def _on_couch_tracking(self, request: Any, response: Any) -> Any:
        if request.data:
            self._controller.tracking = True
        else:
            self._shifts.publish(interface.couch_shift(make, self._controller.stop(self.now_ns())))
        response.success = True
        response.message = "the couch follows the target" if request.data else "the couch stands still"
        self.get_logger().info(response.message)
        return response


def main() -> int:
    """Run the node."""
    return run(GatingNode)


if __name__ == "__main__":
    sys.exit(main())

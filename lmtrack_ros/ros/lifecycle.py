"""The lifecycle node that all our nodes are, and their main."""

import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from lmtrack_ros.core.errors import EXIT_USER_ERROR, UserError
from lmtrack_ros.ros import environment
from lmtrack_ros.ros.parameters import declare, reject_unknown

_SPIN_S = 0.05  # a signal is noticed within this time

T = TypeVar("T")
Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def logged(transition: Transition) -> Transition:
    """Log what goes wrong in a transition, which rclpy would swallow.

    A UserError is one line and a FAILURE; anything else is logged with its traceback, an ERROR.
    """

    @wraps(transition)
    def run(self: Any, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(self, state)
        except UserError as error:
            self.failure = str(error)
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.failure = f"{transition.__name__} failed"
            self.get_logger().error(f"{transition.__name__} failed:\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR

    return run


class ManagedNode(LifecycleNode):
    """A lifecycle node with parameters from dataclasses.

    Args:
        name: default name of the node.
        arguments: handed to rclpy's LifecycleNode (context, parameter_overrides, namespace, ...).
    """

    linger_s: float = 0.0
    """How long the node still listens after it was told to stop."""

    def __init__(self, name: str, **arguments: Any) -> None:
        super().__init__(name, **arguments)
        self.autostart = bool(self.declare_parameter("autostart", True).value)
        self.failure = ""
        """Why the node cannot go on, in one line; ends its process."""

    def declare(self, cls: type[T], prefix: str = "") -> T:
        """Declare the parameters of a dataclass and return their values; see ros.parameters."""
        return declare(self, cls, prefix)

    def reject_unknown_parameters(self) -> None:
        """Refuse parameters that nothing declared; see ros.parameters."""
        reject_unknown(self)

    def now_ns(self) -> int:
        """Return the node's time (simulated where use_sim_time is set), ns."""
        return int(self.get_clock().now().nanoseconds)

    def start(self) -> bool:
        """Configure and activate; returns whether both succeeded."""
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    def finish(self) -> None:
        """Say what must be said last; called once, while everything still works."""


def run(node_class: Callable[[], ManagedNode]) -> int:
    """Run one node in this process until a signal; returns the exit code.

    The node's ``finish`` is called after SIGINT or SIGTERM and before anything is torn down, so
    that a gate can still say HOLD.
    """
    environment.prepare()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    node: ManagedNode | None = None
    # rclpy's own handlers would shut ROS down before the last words
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    executor = SingleThreadedExecutor()
    try:
        node = node_class()
        executor.add_node(node)
        if node.autostart and not node.start():
            return _fail(node.failure)
        while not stop.is_set():
            executor.spin_once(timeout_sec=_SPIN_S)
            if node.failure:
                return _fail(node.failure)
        until = time.monotonic() + node.linger_s
        while time.monotonic() < until:
            executor.spin_once(timeout_sec=_SPIN_S)
    except UserError as error:
        return _fail(str(error))
    finally:
        if node is not None:
            node.finish()
            node.destroy_node()
        executor.shutdown()
        rclpy.try_shutdown()
    return 0


def _fail(reason: str) -> int:
    sys.stderr.write(f"error: {reason}\n")
    return EXIT_USER_ERROR

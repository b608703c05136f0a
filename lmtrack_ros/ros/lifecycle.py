"""The lifecycle node that all our nodes are, and their main."""

import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import Any, TypeVar

import rclpy
from rclpy.clock import Clock
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions

from lmtrack_ros import interface
from lmtrack_ros.core.errors import EXIT_USER_ERROR, UserError
from lmtrack_ros.ros import environment, qos
from lmtrack_ros.ros.convert import message_class
from lmtrack_ros.ros.logs import logged_by
from lmtrack_ros.ros.parameters import declare, reject_unknown

_SPIN_S = 0.05  # a signal is noticed within this time

T = TypeVar("T")
Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def logged(transition: Transition) -> Transition:
    """Log what goes wrong in a transition, which rclpy would swallow.

    A UserError is a FAILURE; anything else is logged with its traceback, an ERROR.
    """

    @wraps(transition)
    def run(self: Any, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(self, state)
        except UserError as error:
            self.failure = str(error)
            if not self.autostart:  # otherwise the end of the process says it
                self.get_logger().error(self.failure)
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.failure = f"{transition.__name__} failed"
            self.get_logger().error(f"{self.failure}:\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR

    return run


class ManagedNode(LifecycleNode):
    """A lifecycle node with parameters from dataclasses, whose resources live as long as its states.

    A node fills in ``configure``, ``activate``, ``deactivate`` and ``cleanup``. What it makes with
    ``publisher`` goes with cleanup, and with ``subscribe``, ``serve`` and ``repeat`` with
    deactivation, however that comes about: a transition, an error, a shutdown or a signal.

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
        self._while_configured: ExitStack | None = None
        self._while_active: ExitStack | None = None

    # what a node fills in ------------------------------------------------------------------------

    def configure(self) -> None:
        """Make ready whatever is slow or may fail."""

    def activate(self) -> None:
        """Start to work."""

    def deactivate(self) -> None:
        """Say what must be said last, and stop."""

    def cleanup(self) -> None:
        """Give back what configure took."""

    # what a node uses ----------------------------------------------------------------------------

    def declare(self, cls: type[T], prefix: str = "") -> T:
        """Declare the parameters of a dataclass and return their values; see ros.parameters."""
        return declare(self, cls, prefix)

    def reject_unknown_parameters(self) -> None:
        """Refuse parameters that nothing declared; see ros.parameters."""
        reject_unknown(self)

    def now_ns(self) -> int:
        """Return the node's time (simulated where use_sim_time is set), ns."""
        return int(self.get_clock().now().nanoseconds)

    def publisher(self, topic: str) -> Any:
        """Return a publisher of one of the package's topics; silent while the node is not active."""
        assert self._while_configured is not None
        message = message_class(interface.TOPIC_TYPES[topic])
        publisher = self.create_lifecycle_publisher(message, topic, qos.of_topic(topic))
        self._while_configured.callback(self.destroy_lifecycle_publisher, publisher)
        return publisher

    def subscribe(
        self, topic: str, callback: Callable[[Any], None], profile: QoSProfile | None = None
    ) -> None:
        """Listen to one of the package's topics while active; by default as its publisher sends it."""
        message = message_class(interface.TOPIC_TYPES[topic])
        subscription = self.create_subscription(message, topic, callback, profile or qos.of_topic(topic))
        self.keep_while_active(subscription)

    def keep_while_active(self, subscription: Any) -> None:
        """Destroy a subscription with deactivation."""
        assert self._while_active is not None
        self._while_active.callback(self.destroy_subscription, subscription)

    def serve(self, service: type, name: str, callback: Callable[[Any, Any], Any]) -> None:
        """Offer a service while active."""
        assert self._while_active is not None
        self._while_active.callback(self.destroy_service, self.create_service(service, name, callback))

    def repeat(self, period_s: float, callback: Callable[[], None], clock: Clock | None = None) -> None:
        """Call back periodically while active, on the node's clock or another."""
        assert self._while_active is not None
        timer = self.create_timer(period_s, callback, clock=clock)
        self._while_active.callback(self.destroy_timer, timer)

    # transitions ---------------------------------------------------------------------------------

    @logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Configure; what was made is given back where it fails."""
        self._while_configured = ExitStack()
        try:
            self.configure()
        except BaseException:
            self._while_configured.close()
            self._while_configured = None
            raise
        return TransitionCallbackReturn.SUCCESS

    @logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Activate."""
        result = super().on_activate(state)
        self._while_active = ExitStack()
        self.activate()
        return result

    @logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate."""
        self._deactivate()
        return super().on_deactivate(state)

    @logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Clean up."""
        self._cleanup()
        return TransitionCallbackReturn.SUCCESS

    @logged
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate and clean up, from whatever state."""
        self.finish()
        return TransitionCallbackReturn.SUCCESS

    @logged
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate and clean up after an error in a transition."""
        self.finish()
        return TransitionCallbackReturn.SUCCESS

    def start(self) -> bool:
        """Configure and activate; returns whether both succeeded."""
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    def finish(self) -> None:
        """Deactivate and clean up where that is still to be done."""
        self._deactivate()
        self._cleanup()

    def _deactivate(self) -> None:
        if self._while_active is None:
            return
        stack, self._while_active = self._while_active, None
        with stack:
            self.deactivate()

    def _cleanup(self) -> None:
        if self._while_configured is None:
            return
        stack, self._while_configured = self._while_configured, None
        with stack:
            self.cleanup()


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
        with logged_by(node.get_logger()):
            return _live(node, executor, stop)
    except UserError as error:
        return _fail(str(error))
    finally:
        try:
            if node is not None:
                node.finish()
                node.destroy_node()
        finally:
            executor.shutdown()
            rclpy.try_shutdown()


def _live(node: ManagedNode, executor: SingleThreadedExecutor, stop: threading.Event) -> int:
    if node.autostart and not node.start():
        return _fail(node.failure)
    while not stop.is_set():
        executor.spin_once(timeout_sec=_SPIN_S)
        if node.failure and node.autostart:
            return _fail(node.failure)
    until = time.monotonic() + node.linger_s
    while time.monotonic() < until:
        executor.spin_once(timeout_sec=_SPIN_S)
    return 0


def _fail(reason: str) -> int:
    sys.stderr.write(f"error: {reason}\n")
    return EXIT_USER_ERROR

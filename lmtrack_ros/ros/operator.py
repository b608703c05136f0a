"""An operator's console as a node: arms, lets the couch follow, and sees what the gate decides."""

import time
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from lmtrack_ros import interface
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import CouchStatus, GateDecision, LandmarkSet
from lmtrack_ros.graph import check_namespace
from lmtrack_ros.ros import environment, qos
from lmtrack_ros.ros.convert import message_class

_SPIN_S = 0.05


class Operator:
    """Listens to the decisions and calls the gate's services; a context manager.

    Args:
        namespace: of the graph.
    """

    def __init__(self, namespace: str = "") -> None:
        self._namespace = check_namespace(namespace)
        self.decision: GateDecision | None = None
        self.landmarks: LandmarkSet | None = None
        self.couch: CouchStatus | None = None

    def __enter__(self) -> "Operator":
        environment.prepare()
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = Node("operator", namespace=self._namespace, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self.listen("gate", self._on_decision)
        self.listen("landmarks", self._on_landmarks)
        self.listen("couch_status", self._on_couch)
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def listen(self, topic: str, callback: Callable[[Any], None]) -> None:
        """Call back with every message of one of the package's topics, none left out."""
        type_name = interface.TOPIC_TYPES[topic]
        self._node.create_subscription(message_class(type_name), topic, callback, qos.EVERY_MESSAGE)

    def spin(self, seconds: float) -> None:
        """Listen for a while."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(left, _SPIN_S))

    def spin_once(self) -> None:
        """Listen for a moment."""
        self._executor.spin_once(timeout_sec=_SPIN_S)

    def arm(self, timeout_s: float) -> str:
        """Arm the gate; returns what it answers.

        Raises:
            UserError: no gate answers in time, or it refuses.
        """
        return self._call(Trigger, "arm", Trigger.Request(), timeout_s)

    def set_couch_tracking(self, follow: bool, timeout_s: float) -> str:
        """Let the couch follow the target or not; returns what the gate answers.

        Raises:
            UserError: no gate answers in time, or it refuses.
        """
        return self._call(SetBool, "couch_tracking", SetBool.Request(data=follow), timeout_s)

    def acknowledge(self, timeout_s: float) -> str:
        """Acknowledge what has latched; returns what the gate answers.

        Raises:
            UserError: no gate answers in time, or it refuses.
        """
        return self._call(Trigger, "acknowledge", Trigger.Request(), timeout_s)

    def disarm(self, timeout_s: float) -> str:
        """Disarm the gate; returns what it answers.

        Raises:
            UserError: no gate answers in time, or it refuses.
        """
        return self._call(Trigger, "disarm", Trigger.Request(), timeout_s)

    def set_hold(self, hold: bool, timeout_s: float) -> str:
        """Hold the beam, or release the hold; returns what the gate answers.

        Raises:
            UserError: no gate answers in time, or it refuses.
        """
        return self._call(SetBool, "hold", SetBool.Request(data=hold), timeout_s)

    def propose_setup(self, timeout_s: float) -> str:
        """Ask for a set-up shift; returns what the gate answers, with the numbers to confirm it by.

        Raises:
            UserError: no gate answers in time, or it refuses.
        """
        return self._call(Trigger, "propose_setup", Trigger.Request(), timeout_s)

    def cancel_setup(self, timeout_s: float) -> str:
        """Stop a set-up; returns what the gate answers.

        Raises:
            UserError: no gate answers in time, or it refuses.
        """
        return self._call(Trigger, "cancel_setup", Trigger.Request(), timeout_s)

    def confirm_setup(self, session: int, sequence: int, timeout_s: float) -> str:
        """Confirm a set-up shift; returns what the gate answers.

        Raises:
            UserError: no gate answers in time, or it refuses.
        """
        service = message_class("lmtrack_ros/srv/ConfirmCouchShift")
        request = service.Request(session=session, sequence=sequence)
        return self._call(service, "confirm_setup", request, timeout_s)

    def _call(self, service: Any, name: str, request: Any, timeout_s: float) -> str:
        client = self._node.create_client(service, name)
        try:
            until = time.monotonic() + timeout_s
            while not client.service_is_ready():
                if time.monotonic() > until:
                    raise UserError(f"no gate offers '{name}' within {timeout_s:g} s")
                self.spin_once()
            future = client.call_async(request)
            while not future.done():
                if time.monotonic() > until:
                    raise UserError(f"the gate did not answer '{name}' in time: its state is not known")
                self.spin_once()
            response = future.result()
            done = response.accepted if hasattr(response, "accepted") else response.success
            if not done:
                raise UserError(f"the gate refused '{name}': {response.message}")
            return str(response.message)
        finally:
            self._node.destroy_client(client)

    def _on_decision(self, msg: Any) -> None:
        self.decision = interface.read_gate_decision(msg)

    def _on_landmarks(self, msg: Any) -> None:
        self.landmarks = interface.read_landmark_array(msg)

    def _on_couch(self, msg: Any) -> None:
        self.couch = interface.read_couch_status(msg)

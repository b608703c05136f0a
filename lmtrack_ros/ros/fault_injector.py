"""Stands between the nodes of a graph: relays their messages, at will with a fault, and reads the beam."""

import heapq
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from lmtrack_ros import interface
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import (
    NS_PER_MS,
    NS_PER_S,
    GateDecision,
    Landmark,
    LandmarkSet,
    MarkedLandmarks,
    Reason,
)
from lmtrack_ros.evaluation.faults import Transformation
from lmtrack_ros.gating.consumer import BeamEnable
from lmtrack_ros.recording import IMAGER_FRAME
from lmtrack_ros.ros import environment, qos
from lmtrack_ros.ros.convert import make, message_class

PREFIX = "faults/"
CLOCK = PREFIX + "clock"
"""Where the clock is published that a node may follow in place of the machine's."""

REMAPPINGS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "image_source": {t: PREFIX + t for t in ("image", "image_geometry", "initial_landmarks")},
        "tracker": {"landmarks": PREFIX + "landmarks"},
        "couch_simulator": {"couch_status": PREFIX + "couch_status"},
    }
)
"""How each node must publish so that all that it says comes through here."""

_RELAYED = ("image_geometry", "initial_landmarks", "landmarks", "couch_status")
_SERVICES: Mapping[str, Any] = MappingProxyType(
    {"arm": Trigger, "acknowledge": Trigger, "couch_tracking": SetBool}
)
_SPIN_S = 0.05
_SAMPLE_S = 0.001
_CLOCK_PERIOD_NS = 4 * NS_PER_MS
# the simulated clock lags behind by its period and its transport: no report may come from its future
_COUCH_LAG_MS = 30.0


class BeamWatch:
    """What the reference consumer reads, from moment to moment. Times are of the monotonic clock, ns.

    Args:
        validity_ms: of a decision, on that clock.
    """

    def __init__(self, validity_ms: float) -> None:
        self._validity_ms = validity_ms
        self._lock = threading.Lock()
        self._beam: BeamEnable | None = None
        self.session = 0
        """That the consumer is armed with; 0: none."""
        self._changes: list[tuple[int, bool]] = [(0, False)]
        self._decisions: list[tuple[int, GateDecision]] = []
        self.newest: GateDecision | None = None
        """The last decision of whatever session."""

    def arm(self, session: int) -> None:
        """Obey a session from now on, and no other."""
        with self._lock:
            self.session = session
            self._beam = BeamEnable(session, self._validity_ms)

    def receive(self, decision: GateDecision) -> None:
        """Take up a decision that arrives now."""
        with self._lock:
            now_ns = time.monotonic_ns()
            self._decisions.append((now_ns, decision))
            self.newest = decision
            if self._beam is not None:
                self._beam.receive(decision, now_ns)
        self.sample()

    def sample(self) -> None:
        """Read the beam."""
        with self._lock:
            now_ns = time.monotonic_ns()
            on = self._beam is not None and self._beam.beam_on(time.time_ns(), now_ns)
            if on != self._changes[-1][1]:
                self._changes.append((now_ns, on))

    def forget(self) -> None:
        """Forget all but how things stand."""
        with self._lock:
            del self._changes[:-1]
            self._decisions.clear()

    def on_since_ns(self) -> int | None:
        """Return since when the beam has been on, or None where it is off."""
        with self._lock:
            since_ns, on = self._changes[-1]
            return since_ns if on else None

    def off_after_ns(self, moment_ns: int) -> int | None:
        """Return the first moment at or after another at which the beam was off, or None."""
        with self._lock:
            was_on = [on for since_ns, on in self._changes if since_ns <= moment_ns]
            if was_on and not was_on[-1]:
                return moment_ns
            return next((ns for ns, on in self._changes if ns > moment_ns and not on), None)

    def on_after_ns(self, moment_ns: int) -> int | None:
        """Return the first moment after another at which the beam came on, or None."""
        with self._lock:
            return next((ns for ns, on in self._changes if ns > moment_ns and on), None)

    def reasons_after(self, moment_ns: int) -> Reason:
        """Return every reason given since a moment."""
        with self._lock:
            reasons = Reason(0)
            for arrived_ns, decision in self._decisions:
                if arrived_ns >= moment_ns:
                    reasons |= decision.reasons
            return reasons

    def foreign_ns(self) -> int | None:
        """Return when the first decision of another session was made, or None."""
        with self._lock:
            for arrived_ns, decision in self._decisions:
                if decision.session != self.session:
                    return min(arrived_ns, decision.stamps.decided_ns - time.time_ns() + time.monotonic_ns())
            return None


class FaultInjector:
    """The relay between the nodes of a graph; a context manager with a thread of its own.

    Args:
        namespace: of the graph.
        validity_ms: of a decision at the consumer.
    """

    def __init__(self, namespace: str, validity_ms: float) -> None:
        self._namespace = namespace
        self.watch = BeamWatch(validity_ms)
        self._heard_ns: dict[str, int] = {}
        self._lock = threading.Lock()
        self._publishers: dict[str, Any] = {}
        self._last: dict[str, Any] = {}
        self._lag_ms: dict[str, float] = {}
        self._waiting: list[tuple[int, int, str, Any]] = []
        self._count = 0
        self._topic = ""
        self._transformation: Transformation | None = None
        self._index = 0
        self._injected_ns: int | None = None
        self._truth: LandmarkSet | None = None
        self._clock_offset_ns: int | None = None
        self._clock_due_ns = 0
        self._stopping = threading.Event()

    def __enter__(self) -> "FaultInjector":
        environment.prepare()
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = Node(
            "faults",
            namespace=self._namespace,
            context=self._context,
            # each of them costs time with every message
            start_parameter_services=False,
            enable_rosout=False,
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._clients = {name: self._node.create_client(service, name) for name, service in _SERVICES.items()}
        self._clock = self._node.create_publisher(message_class("rosgraph_msgs/msg/Clock"), CLOCK, qos.STREAM)
        for topic in (*_RELAYED, "image"):
            cls = message_class(interface.TOPIC_TYPES[topic])
            self._publishers[topic] = self._node.create_publisher(cls, topic, qos.of_topic(topic))
        for topic in _RELAYED:
            self._relay(topic)
        self._listen("gate", lambda m: self.watch.receive(interface.read_gate_decision(m)))
        self._listen("truth", self._on_truth)
        self._threads = [
            threading.Thread(target=work, name=f"faults {work.__name__}", daemon=True)
            for work in (self._spin, self._sample)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def _listen(self, topic: str, callback: Callable[[Any], None]) -> None:
        cls = message_class(interface.TOPIC_TYPES[topic])
        self._node.create_subscription(cls, topic, callback, qos.EVERY_MESSAGE)

    def _relay(self, topic: str) -> None:
        cls = message_class(interface.TOPIC_TYPES[topic])
        profile = qos.of_topic(topic)
        self._node.create_subscription(cls, PREFIX + topic, lambda m: self._on_message(topic, m), profile)

    # the operator --------------------------------------------------------------------------------

    def arm(self, timeout_s: float) -> None:
        """Arm the gate.

        Raises:
            UserError: it refuses, or does not answer in time.
        """
        self._call("arm", Trigger.Request(), timeout_s)

    def acknowledge(self, timeout_s: float) -> None:
        """Acknowledge what has latched.

        Raises:
            UserError: the gate refuses, or does not answer in time.
        """
        self._call("acknowledge", Trigger.Request(), timeout_s)

    def set_couch_tracking(self, follow: bool, timeout_s: float) -> None:
        """Let the couch follow the target or not.

        Raises:
            UserError: the gate refuses, or does not answer in time.
        """
        self._call("couch_tracking", SetBool.Request(data=follow), timeout_s)

    def _call(self, name: str, request: Any, timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        while not self._clients[name].service_is_ready():
            if time.monotonic() > until:
                raise UserError(f"no gate offers '{name}' within {timeout_s:g} s")
            time.sleep(_SPIN_S)
        answered = threading.Event()
        future = self._clients[name].call_async(request)
        future.add_done_callback(lambda _: answered.set())
        if not answered.wait(timeout_s):
            raise UserError(f"the gate did not answer '{name}' in time")
        if not future.result().success:
            raise UserError(f"the gate refused '{name}': {future.result().message}")

    # faults of messages --------------------------------------------------------------------------

    def inject(self, topic: str, transformation: Transformation) -> None:
        """Change what comes on a topic from now on.

        A message that was latched is changed and sent at once; the next message otherwise.
        """
        with self._lock:
            self._topic, self._transformation = topic, transformation
            self._index, self._injected_ns = 0, None
            if qos.of_topic(topic) is qos.LATCHED and topic in self._last:
                self._forward(topic, self._last[topic])

    @property
    def injected_ns(self) -> int | None:
        """When the first changed message was, or should have been, published; None: not yet."""
        return self._injected_ns

    def clear(self) -> None:
        """Relay everything as it comes again; what is still delayed is lost."""
        with self._lock:
            topic, self._topic, self._transformation = self._topic, "", None
            self._waiting.clear()
            if topic and qos.of_topic(topic) is qos.LATCHED and topic in self._last:
                self._forward(topic, self._last[topic])

    def _on_message(self, topic: str, message: Any) -> None:
        with self._lock:
            self._forward(topic, message)
        self._heard_ns[topic] = time.monotonic_ns()

    def heard_ns(self, topic: str) -> int:
        """Return when the last message came on a topic, on the monotonic clock, ns; 0: none has."""
        return self._heard_ns.get(topic, 0)

    def _forward(self, topic: str, message: Any) -> None:
        now_ns = time.monotonic_ns()
        if self._transformation is None or topic != self._topic:
            self._last[topic] = message
            self._publish(topic, message, now_ns, self._lag_ms.get(topic, 0.0))
            return
        if self._injected_ns is None:
            self._injected_ns = now_ns
        for outgoing in self._transformation(message, self._last[topic], self._index):
            self._publish(topic, outgoing.message, now_ns, outgoing.delay_ms)
        self._index += 1

    def _publish(self, topic: str, message: Any, now_ns: int, delay_ms: float) -> None:
        if delay_ms == 0:
            self._publishers[topic].publish(message)
            return
        self._count += 1
        due_ns = now_ns + int(delay_ms * NS_PER_MS)
        heapq.heappush(self._waiting, (due_ns, self._count, topic, message))

    def _release(self) -> float:
        """Publish what is due; returns how long to wait for the next, s."""
        with self._lock:
            while self._waiting and self._waiting[0][0] <= time.monotonic_ns():
                _, _, topic, message = heapq.heappop(self._waiting)
                self._publishers[topic].publish(message)
            if not self._waiting:
                return _SPIN_S
            return min(_SPIN_S, max(0.0, (self._waiting[0][0] - time.monotonic_ns()) / NS_PER_S))

    # landmarks -----------------------------------------------------------------------------------

    def mark_landmarks(self) -> None:
        """Mark the landmarks anew on the newest frame, where the phantom says that they are."""
        if self._truth is not None:
            landmarks = tuple(Landmark(e.id, e.uv_px) for e in self._truth.estimates)
            marked = MarkedLandmarks(landmarks, self._truth.stamp_ns)
            message = interface.initial_landmarks(make, marked, IMAGER_FRAME)
            self._publishers["initial_landmarks"].publish(message)

    def _on_truth(self, message: Any) -> None:
        self._truth = interface.read_landmark_array(message)

    # the clock -----------------------------------------------------------------------------------

    def set_clock(self, offset_s: float | None) -> int:
        """Publish the time of day, so far off, for nodes on simulated time; None: nothing.

        Returns:
            When that was done, on the monotonic clock, ns.
        """
        with self._lock:
            self._lag_ms = {} if offset_s is None else {"couch_status": _COUCH_LAG_MS}
            self._clock_offset_ns = None if offset_s is None else int(offset_s * NS_PER_S)
            self._clock_due_ns = 0
        return time.monotonic_ns()

    def _tell_time(self) -> None:
        offset_ns = self._clock_offset_ns
        if offset_ns is None or time.monotonic_ns() < self._clock_due_ns:
            return
        self._clock_due_ns = time.monotonic_ns() + _CLOCK_PERIOD_NS
        self._clock.publish(interface.clock(make, time.time_ns() + offset_ns))

    # the threads ---------------------------------------------------------------------------------

    def _spin(self) -> None:
        pending = True
        while not self._stopping.is_set():
            # a source that waits for a listener must wait for the tracker, not for this relay
            if pending and self._tracker_listens():
                self._relay("image")
                pending = False
            self._executor.spin_once(timeout_sec=self._release())

    def _tracker_listens(self) -> bool:
        topic = self._publishers["image"].topic_name
        return any(s.node_name == "tracker" for s in self._node.get_subscriptions_info_by_topic(topic))

    def _sample(self) -> None:
        while not self._stopping.is_set():
            time.sleep(_SAMPLE_S)
            self.watch.sample()
            self._tell_time()

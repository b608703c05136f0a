"""Real ROS for every test: a domain of its own, on this machine only."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lmtrack_ros.msg", reason="the messages are not built: run 'make setup'")

import rclpy
from domain_coordinator import domain_id
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter

from lmtrack_ros import interface
from lmtrack_ros.ros import environment, qos
from lmtrack_ros.ros.convert import message_class

# its assertions say what differs
pytest.register_assert_rewrite("live_recording")


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A ROS domain that no other test uses, for this process and those it starts."""
    with domain_id() as number:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
        monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        # the nodes' processes run the code under test, not an installed copy of it
        root = str(Path(__file__).parents[2])
        monkeypatch.setenv("PYTHONPATH", root)
        environment.prepare()
        yield number


class Ros:
    """One context with one executor for nodes under test and a probe."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.probe = Node("probe", context=self.context)
        self.executor.add_node(self.probe)
        self._nodes: list[Any] = []

    def add(self, node_class: Callable[..., Any], **parameters: Any) -> Any:
        """Return a new active node."""
        overrides = [Parameter(name.replace("__", "."), value=value) for name, value in parameters.items()]
        node = node_class(context=self.context, parameter_overrides=overrides)
        self._nodes.append(node)
        self.executor.add_node(node)
        assert node.start(), node.failure
        return node

    def listen(self, topic: str) -> list[Any]:
        """Return a list that fills with a topic's messages."""
        received: list[Any] = []
        profile = qos.of_topic(topic)
        self.probe.create_subscription(
            message_class(interface.TOPIC_TYPES[topic]), topic, received.append, profile
        )
        return received

    def publisher(self, topic: str) -> Any:
        """Return the probe's publisher of a topic."""
        profile = qos.of_topic(topic)
        return self.probe.create_publisher(message_class(interface.TOPIC_TYPES[topic]), topic, profile)

    def call(self, service: type, name: str, request: Any) -> Any:
        """Return a service's response."""
        client = self.probe.create_client(service, name)
        self.spin_until(client.service_is_ready)
        future = client.call_async(request)
        self.spin_until(future.done)
        return future.result()

    def spin_until(self, condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Spin until a condition holds; fails when it does not in time."""
        until = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < until, "timed out"
            self.executor.spin_once(timeout_sec=0.02)

    def spin(self, seconds: float) -> None:
        """Spin for a while."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.executor.spin_once(timeout_sec=0.01)

    def close(self) -> None:
        """Destroy all nodes."""
        for node in self._nodes:
            node.finish()
            node.destroy_node()
        self.probe.destroy_node()
        self.executor.shutdown()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def ros(domain: int) -> Iterator[Ros]:
    """A context in a domain of its own."""
    instance = Ros()
    yield instance
    instance.close()


def matched(publishers: Sequence[Any]) -> bool:
    """Whether every publisher has a subscriber."""
    return all(p.get_subscription_count() > 0 for p in publishers)

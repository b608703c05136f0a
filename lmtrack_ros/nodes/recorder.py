"""Records any topics, as they come over the wire, to a rosbag2 recording."""

import sys
from typing import Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from lmtrack_ros import interface
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.recording import RecorderParameters, RecordingWriter, TopicQos
from lmtrack_ros.ros import qos
from lmtrack_ros.ros.convert import message_class
from lmtrack_ros.ros.lifecycle import ManagedNode, run

_DISCOVERY_PERIOD_S = 0.25
# what a killed recorder may lose
_FLUSH_PERIOD_S = 1.0
_DEPTH = 100
# nobody replays these
_IGNORED = ("/parameter_events",)
_ABSOLUTE = ("/tf", "/tf_static")

# subscribed to at once: what is published before it is discovered would be lost
_KNOWN = tuple(topic for topic in interface.TOPIC_TYPES if topic not in ("diagnostics", "/clock"))


class RecorderNode(ManagedNode):
    """Subscribes to raw messages and writes them; completes the recording when it stops."""

    # a launch interrupts all nodes at once: the others' last words belong to the recording
    linger_s = 1.0

    def __init__(self, **arguments: Any) -> None:
        super().__init__("recorder", **arguments)
        self._settings = self.declare(RecorderParameters)
        self.reject_unknown_parameters()
        self._writer: RecordingWriter | None = None
        self._recorded: set[str] = set()

    def configure(self) -> None:
        """Open the recording; refuses to overwrite one."""
        self._writer = RecordingWriter(self._settings.path)

    def activate(self) -> None:
        """Start to record."""
        for topic in _KNOWN:
            if self._is_wanted(self.resolve_topic_name(topic)):
                self._record(topic, interface.TOPIC_TYPES[topic], qos.of_topic(topic))
        self.repeat(_DISCOVERY_PERIOD_S, self._discover)
        self.repeat(_FLUSH_PERIOD_S, self._flush)
        self.get_logger().info(f"recording to {self._settings.path}")

    def deactivate(self) -> None:
        """Stop to record; the recording stays open until cleanup."""
        self._recorded.clear()

    def cleanup(self) -> None:
        """Complete the recording."""
        assert self._writer is not None
        try:
            self._writer.close()
        except (OSError, UserError) as error:
            self.get_logger().error(f"the recording was not completed: {error}")
        self._writer = None

    def _is_wanted(self, topic: str) -> bool:
        if self._settings.topics:
            return topic in [self.resolve_topic_name(name) for name in self._settings.topics]
        inside = topic.startswith(self.get_namespace().rstrip("/") + "/")
        return (inside or topic in _ABSOLUTE) and topic not in _IGNORED

    def _flush(self) -> None:
        assert self._writer is not None
        try:
            self._writer.flush()
        except OSError as error:
            self.get_logger().error(f"recording fails: {error}", throttle_duration_sec=5.0)

    def _discover(self) -> None:
        for topic, types in self.get_topic_names_and_types():
            if topic in self._recorded or not self._is_wanted(topic):
                continue
            offered = [p.qos_profile for p in self.get_publishers_info_by_topic(topic)]
            if not offered:
                continue
            # the strongest that every publisher offers
            reliable = all(p.reliability == ReliabilityPolicy.RELIABLE for p in offered)
            latched = all(p.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in offered)
            profile = QoSProfile(
                history=HistoryPolicy.KEEP_LAST,
                depth=_DEPTH,
                reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
                durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
            )
            self._record(topic, types[0], profile)

    def _record(self, topic: str, type_name: str, profile: QoSProfile) -> None:
        assert self._writer is not None
        name = self.resolve_topic_name(topic)
        self._recorded.add(name)
        try:
            self._writer.declare(
                name,
                type_name,
                TopicQos(
                    profile.reliability == ReliabilityPolicy.RELIABLE,
                    profile.durability == DurabilityPolicy.TRANSIENT_LOCAL,
                    profile.depth,
                ),
            )
            cls = message_class(type_name)
        except (UserError, ImportError, AttributeError) as error:
            self.get_logger().warning(f"{name} is not recorded: {error}")
            return
        queue = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=max(_DEPTH, profile.depth),
            reliability=profile.reliability,
            durability=profile.durability,
        )

        def write(cdr: bytes) -> None:
            if self._writer is None:
                return
            try:
                self._writer.write_raw(name, type_name, cdr, self.now_ns())
            except OSError as error:
                self.get_logger().error(f"{name} is not recorded: {error}", throttle_duration_sec=5.0)

        self.keep_while_active(self.create_subscription(cls, name, write, queue, raw=True))


def main() -> int:
    """Run the node."""
    return run(RecorderNode)


if __name__ == "__main__":
    sys.exit(main())

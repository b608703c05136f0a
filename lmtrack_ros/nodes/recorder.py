"""Records any topics, as they come over the wire, to a rosbag2 recording."""

import sys
from dataclasses import dataclass
from typing import Any

from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from lmtrack_ros import interface
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.recording import RecordingWriter, TopicQos
from lmtrack_ros.ros import qos
from lmtrack_ros.ros.convert import message_class
from lmtrack_ros.ros.lifecycle import ManagedNode, logged, run

_DISCOVERY_PERIOD_S = 0.25
# what a killed recorder may lose
_FLUSH_PERIOD_S = 1.0
_DEPTH = 100
# nobody replays these
_IGNORED = ("/parameter_events",)
_ABSOLUTE = ("/tf", "/tf_static")

# subscribed to at once: what is published before it is discovered would be lost
_KNOWN = {
    "image": qos.IMAGES,
    "volume": qos.IMAGES,
    "image_geometry": qos.LATCHED,
    "initial_landmarks": qos.LATCHED,
    "truth": qos.STREAM,
    "landmarks": qos.STREAM,
    "gate": qos.DECISIONS,
    "couch_shift": qos.DECISIONS,
    "couch_status": qos.STREAM,
    "beam_status": qos.STREAM,
}


@dataclass(frozen=True)
class RecorderParameters:
    """What is recorded where."""

    path: str = parameter("recording", "NAME.mcap for one file, anything else for a rosbag2 directory")
    topics: tuple[str, ...] = parameter(
        (), "names of the topics to record; empty: all of the node's namespace, /tf and /tf_static"
    )


class RecorderNode(ManagedNode):
    """Subscribes to raw messages and writes them; completes the recording when it stops."""

    # a launch interrupts all nodes at once: the others' last words belong to the recording
    linger_s = 1.0

    def __init__(self, **arguments: Any) -> None:
        super().__init__("recorder", **arguments)
        self._settings = self.declare(RecorderParameters)
        self.reject_unknown_parameters()
        self._writer: RecordingWriter | None = None
        self._recorded: dict[str, Any] = {}

    @logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the recording; refuses to overwrite one."""
        self._writer = RecordingWriter(self._settings.path)
        return TransitionCallbackReturn.SUCCESS

    @logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to record."""
        for topic, profile in _KNOWN.items():
            if self._is_wanted(self.resolve_topic_name(topic)):
                self._record(topic, interface.TOPIC_TYPES[topic], profile)
        self._timers_to_stop = [
            self.create_timer(_DISCOVERY_PERIOD_S, self._discover),
            self.create_timer(_FLUSH_PERIOD_S, self._flush),
        ]
        self.get_logger().info(f"recording to {self._settings.path}")
        return super().on_activate(state)

    @logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop to record; the recording stays open until cleanup."""
        for timer in self._timers_to_stop:
            self.destroy_timer(timer)
        for subscription in self._recorded.values():
            self.destroy_subscription(subscription)
        self._recorded.clear()
        return super().on_deactivate(state)

    @logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Complete the recording."""
        self.finish()
        return TransitionCallbackReturn.SUCCESS

    def finish(self) -> None:
        """Complete the recording."""
        if self._writer is not None:
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
        self._writer.flush()

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
        self._recorded[name] = None
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

        self._recorded[name] = self.create_subscription(cls, name, write, queue, raw=True)


def main() -> int:
    """Run the node."""
    return run(RecorderNode)


if __name__ == "__main__":
    sys.exit(main())

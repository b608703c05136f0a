"""/tf where tf2_msgs is installed; without it (it has no wheel) nothing is published."""

from typing import Any

import numpy as np
from rclpy.node import Node

from lmtrack_ros.core import frames
from lmtrack_ros.core.frames import Array
from lmtrack_ros.ros import qos
from lmtrack_ros.ros.convert import make

_M_PER_MM = 1e-3


class TransformPublisher:
    """Publishes transforms on /tf, or latched on /tf_static.

    Args:
        node: whose publisher it is.
        static: whether the transforms never change.
    """

    def __init__(self, node: Node, static: bool = False) -> None:
        self._publisher: Any = None
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError:
            node.get_logger().debug("tf2_msgs is not installed: no transforms are published")
            return
        topic, profile = ("/tf_static", qos.LATCHED) if static else ("/tf", qos.STREAM)
        self._message_class = TFMessage
        self._publisher = node.create_publisher(TFMessage, topic, profile)

    def publish(self, parent: str, child: str, transform: Array, stamp: Any) -> None:
        """Publish a (4, 4) transform child → parent, mm, at a builtin_interfaces/Time."""
        if self._publisher is None:
            return
        x, y, z = (float(v) for v in np.asarray(transform[:3, 3]) * _M_PER_MM)
        qx, qy, qz, qw = frames.quaternion_from_rotation(transform[:3, :3])
        stamped = make(
            "geometry_msgs/msg/TransformStamped",
            header=make("std_msgs/msg/Header", stamp=stamp, frame_id=parent),
            child_frame_id=child,
            transform=make(
                "geometry_msgs/msg/Transform",
                translation=make("geometry_msgs/msg/Vector3", x=x, y=y, z=z),
                rotation=make("geometry_msgs/msg/Quaternion", x=qx, y=qy, z=qz, w=qw),
            ),
        )
        self._publisher.publish(self._message_class(transforms=[stamped]))

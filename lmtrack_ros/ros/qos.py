"""Quality of service of each kind of topic."""

from rclpy.duration import Duration
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    LivelinessPolicy,
    QoSProfile,
    ReliabilityPolicy,
)

IMAGES = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=5,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
"""Only the newest frame counts, and the tracker's mailbox keeps no other.

The few more that the middleware holds let a busy node see, and count, the frames that it skips.
"""

LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""A late joiner must know, such as the geometry of a fixed imager."""

STREAM = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=10,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)
"""Small messages that should all arrive: positions, poses."""

_ALIVE_WITHIN = Duration(seconds=1)

DECISIONS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
    deadline=_ALIVE_WITHIN,
    liveliness=LivelinessPolicy.AUTOMATIC,
    liveliness_lease_duration=_ALIVE_WITHIN,
)
"""Beam and couch commands: a late joiner must never receive an old one, and silence is noticed."""

EVERY_DECISION = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=20,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)
"""For who must notice a second gate: of a depth of one, the decisions of two hide one another."""

EVERY_MESSAGE = QoSProfile(history=HistoryPolicy.KEEP_ALL, reliability=ReliabilityPolicy.RELIABLE)
"""For who only listens, and must leave nothing out."""

CALLS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1000,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""What an operator did, from the start on: a recording without it could not be replayed."""

_OF_TOPIC = {
    "audit": CALLS,
    "image": IMAGES,
    "volume": IMAGES,
    "image_geometry": LATCHED,
    "initial_landmarks": LATCHED,
    "gate": DECISIONS,
    "couch_shift": DECISIONS,
}


def of_topic(topic: str) -> QoSProfile:
    """Return the quality of service of one of the package's topics."""
    return _OF_TOPIC.get(topic, STREAM)

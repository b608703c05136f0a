"""What rclpy's message classes and those of recordings have in common: every bit."""

import array
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message

from lmtrack_ros import interface
from lmtrack_ros.core import frames
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import ImageGeometry, Modality
from lmtrack_ros.core.records import (
    NS_PER_S,
    CouchMode,
    CouchShift,
    CouchStatus,
    Estimate,
    GateDecision,
    GateState,
    Landmark,
    LandmarkSet,
    LatencyStamps,
    MarkedLandmarks,
    Reason,
    Status,
)
from lmtrack_ros.message_types import MessageTypes
from lmtrack_ros.ros.convert import make, message_class

TYPES = MessageTypes()

STAMPS = LatencyStamps(NS_PER_S, 2 * NS_PER_S, 3 * NS_PER_S, 4 * NS_PER_S + 5)
ESTIMATE = Estimate(
    "dome", Status.UNCERTAIN, (1.5, 2.5), np.array([1.0, -2.0, 3.0]), np.eye(3), (False, True, True), 0.5, 2.0
)
LANDMARKS = LandmarkSet(7 * NS_PER_S, (ESTIMATE, Estimate("lost")), "table_top", "correlation", STAMPS)
DECISION = GateDecision(
    NS_PER_S, 2**63 + 5, 3, GateState.BEAM_ON, Reason(0), 2 * NS_PER_S, 1.5, np.array([0.0, 1.0, 2.0]), STAMPS
)
SHIFT = CouchShift(
    NS_PER_S,
    9,
    3,
    CouchMode.TRACKING,
    np.array([1.0, 2.0, 3.0]),
    np.ones(3),
    (False, True, True),
    8.0,
    2 * NS_PER_S,
)
STATUS = CouchStatus(NS_PER_S, np.array([1.0, 2.0, 3.0]), True, "motor", 9, 3)
GEOMETRY = ImageGeometry(
    Modality.FLUOROSCOPY,
    (0.4, 0.4, 0.0),
    pose=frames.isocenter_from_image(frames.View.CORONAL, (1, 2, 3)),
    sad_mm=1000.0,
    sid_mm=1500.0,
    projection=np.arange(12.0).reshape(3, 4),
)
PIXELS = np.arange(15, dtype=np.uint16).reshape(3, 5)

MESSAGES = {
    "landmarks": lambda make: interface.landmark_array(make, LANDMARKS),
    "initial_landmarks": lambda make: interface.initial_landmarks(
        make, MarkedLandmarks((Landmark("a", (1.0, 2.0, 3.0), (True, False, True)),), NS_PER_S), "imager"
    ),
    "gate": lambda make: interface.gate_decision(make, DECISION),
    "couch_shift": lambda make: interface.couch_shift(make, SHIFT),
    "couch_status": lambda make: interface.couch_status(make, STATUS),
    "image_geometry": lambda make: interface.image_geometry(make, GEOMETRY, NS_PER_S, "imager"),
    "image": lambda make: interface.image(make, PIXELS, NS_PER_S, "imager"),
    "volume": lambda make: interface.volume(make, PIXELS[None], NS_PER_S, "imager"),
}


def canonical(message: Any, type_name: str) -> bytes:
    """Serialise with ROS and write that again: ROS leaves chance bytes between fields."""
    return TYPES.serialize(TYPES.store.deserialize_cdr(serialize_message(message), type_name))


@pytest.mark.parametrize("topic", MESSAGES)
def test_both_classes_carry_the_same_bytes(topic: str) -> None:
    """What a node publishes and what a recording without ROS writes cannot be told apart."""
    live, recorded = (MESSAGES[topic](m) for m in (make, TYPES.make))
    assert canonical(live, interface.TOPIC_TYPES[topic]) == TYPES.serialize(recorded)


@pytest.mark.parametrize("topic", MESSAGES)
def test_node_reads_what_a_recording_holds(topic: str) -> None:
    cls = message_class(interface.TOPIC_TYPES[topic])
    read = deserialize_message(TYPES.serialize(MESSAGES[topic](TYPES.make)), cls)
    type_name = interface.TOPIC_TYPES[topic]
    assert canonical(read, type_name) == canonical(MESSAGES[topic](make), type_name)


READERS: dict[str, tuple[Callable[[Any], Any], Callable[..., Any]]] = {
    "landmarks": (interface.read_landmark_array, interface.landmark_array),
    "gate": (interface.read_gate_decision, interface.gate_decision),
    "couch_shift": (interface.read_couch_shift, interface.couch_shift),
    "couch_status": (interface.read_couch_status, interface.couch_status),
}


@pytest.mark.parametrize("topic", READERS)
def test_record_round_trip(topic: str) -> None:
    """A message that is read into its record and written again is the same message."""
    read, write = READERS[topic]
    message, type_name = MESSAGES[topic](make), interface.TOPIC_TYPES[topic]
    assert canonical(write(make, read(message)), type_name) == canonical(message, type_name)


@pytest.mark.parametrize("type_name", sorted({*interface.TOPIC_TYPES.values()}))
def test_every_topic_has_a_class(type_name: str) -> None:
    assert message_class(type_name).__name__ == type_name.rpartition("/")[2]


def test_default_geometry_is_a_user_error() -> None:
    """ROS makes the default pose a valid one, so it is the rest that has to give it away."""
    with pytest.raises(UserError):
        interface.read_image_geometry(make("lmtrack_ros/msg/ImageGeometry"))


def test_images_round_trip() -> None:
    np.testing.assert_array_equal(interface.read_image(MESSAGES["image"](make)), PIXELS)
    np.testing.assert_array_equal(interface.read_volume(MESSAGES["volume"](make)), PIXELS[None])


def test_image_data_is_handed_over_in_one_piece() -> None:
    """An array of any other kind would be converted element by element, at a hundred times the cost."""
    assert isinstance(MESSAGES["image"](make).data, array.array)


def test_geometry_round_trip() -> None:
    back = interface.read_image_geometry(MESSAGES["image_geometry"](make))
    np.testing.assert_allclose(back.pose, GEOMETRY.pose)
    np.testing.assert_allclose(back.projection, GEOMETRY.projection)
    np.testing.assert_allclose((*back.spacing_mm, back.sad_mm, back.sid_mm), (0.4, 0.4, 0, 1000, 1500))


def test_marked_landmarks_round_trip() -> None:
    back = interface.read_initial_landmarks(MESSAGES["initial_landmarks"](make))
    assert back == MarkedLandmarks((Landmark("a", (1.0, 2.0, 3.0), (True, False, True)),), NS_PER_S)

"""Records to messages and back, in metres, with the message classes of recordings."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import cv2
import numpy as np
import pytest

from lmtrack_ros import interface
from lmtrack_ros.core import frames
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import ImageGeometry, Modality, Mount
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

TYPES = MessageTypes()
MAKES = pytest.mark.parametrize("make", [TYPES.make, interface.make_plain], ids=["rosbags", "plain"])

ESTIMATE = Estimate(
    "dome",
    Status.TRACKED,
    (12.25, 40.5),
    np.array([1.5, -20.0, 300.0]),
    np.array([[np.inf, 0, 0], [0, 0.25, 0.125], [0, 0.125, 4.0]]),
    (False, True, True),
    0.75,
    1.25,
)
LANDMARKS = LandmarkSet(
    3 * NS_PER_S + 7, (ESTIMATE, Estimate("lost")), "table_top", "correlation", LatencyStamps(1, 2, 3, 0)
)
DECISION = GateDecision(
    5 * NS_PER_S + 999_999_999,
    2**63 + 1,
    17,
    GateState.BEAM_ON,
    Reason(0),
    6 * NS_PER_S,
    2.5,
    np.array([np.nan, 4.0, -8.0]),
    LatencyStamps(1, 2, 3, 4 * NS_PER_S),
)
HOLD = GateDecision(5 * NS_PER_S, 1, 2, reasons=Reason.LANDMARK_LOST | Reason.SHUTDOWN)
SHIFT = CouchShift(
    NS_PER_S,
    9,
    2**64 - 1,
    CouchMode.TRACKING,
    np.array([1.0, -2.0, 30.0]),
    np.array([0.5, 0.0, -0.25]),
    (False, True, True),
    16.0,
    2 * NS_PER_S,
)
STATUS = CouchStatus(NS_PER_S, np.array([1.0, -2.0, 30.0]), True, "motor", 9, 11)


def assert_same(actual: object, expected: object) -> None:
    """Compare two records field by field; lengths to the last digits that metres cost."""
    assert type(actual) is type(expected)
    for field in fields(expected):  # type: ignore[arg-type]
        ours, theirs = getattr(actual, field.name), getattr(expected, field.name)
        if isinstance(theirs, np.ndarray | float):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, err_msg=field.name)
        elif theirs and isinstance(theirs, tuple) and isinstance(theirs[0], Estimate):
            for one, other in zip(ours, theirs, strict=True):
                assert_same(one, other)
        elif isinstance(theirs, tuple):
            np.testing.assert_array_equal(ours, theirs, err_msg=field.name)
        else:
            assert ours == theirs, field.name


@MAKES
@pytest.mark.parametrize(
    ("write", "read", "record"),
    [
        pytest.param(interface.landmark_array, interface.read_landmark_array, LANDMARKS, id="landmarks"),
        pytest.param(
            interface.landmark_array, interface.read_landmark_array, LandmarkSet(0), id="no-landmarks"
        ),
        pytest.param(interface.gate_decision, interface.read_gate_decision, DECISION, id="beam-on"),
        pytest.param(interface.gate_decision, interface.read_gate_decision, HOLD, id="hold"),
        pytest.param(interface.couch_shift, interface.read_couch_shift, SHIFT, id="shift"),
        pytest.param(interface.couch_shift, interface.read_couch_shift, CouchShift(0), id="no-shift"),
        pytest.param(interface.couch_status, interface.read_couch_status, STATUS, id="couch"),
    ],
)
def test_record_round_trip(
    make: interface.Make, write: Callable[..., Any], read: Callable[[Any], Any], record: object
) -> None:
    assert_same(read(write(make, record)), record)


def test_messages_are_in_metres() -> None:
    """Checked against numbers that are written out, so that a factor missing both ways shows."""
    estimate = interface.landmark_array(TYPES.make, LANDMARKS).estimates[0]
    assert (estimate.position.x, estimate.position.y, estimate.position.z) == pytest.approx(
        (0.0015, -0.02, 0.3)
    )
    assert estimate.covariance[4] == pytest.approx(0.25e-6)
    assert estimate.radius == pytest.approx(0.00125)
    assert list(estimate.pixel) == [12.25, 40.5]
    decision = interface.gate_decision(TYPES.make, DECISION)
    assert decision.margin == pytest.approx(0.0025)
    assert decision.target.z == pytest.approx(-0.008)
    assert (decision.header.stamp.sec, decision.header.stamp.nanosec) == (5, 999_999_999)
    shift = interface.couch_shift(TYPES.make, SHIFT)
    assert shift.translation.z == pytest.approx(0.03)
    assert shift.delta.x == pytest.approx(0.0005)
    assert shift.speed_limit == pytest.approx(0.016)
    assert interface.couch_status(TYPES.make, STATUS).translation.y == pytest.approx(-0.002)


@pytest.mark.parametrize(
    ("topic", "read", "safe"),
    [
        pytest.param(
            "gate", interface.read_gate_decision, lambda r: r.state is GateState.HOLD, id="gate-holds"
        ),
        pytest.param(
            "couch_shift",
            interface.read_couch_shift,
            lambda r: r.mode is CouchMode.NONE and not any(r.axes) and r.speed_limit_mm_s == 0,
            id="couch-stands",
        ),
        pytest.param(
            "landmarks", interface.read_landmark_array, lambda r: not r.estimates, id="no-landmarks"
        ),
        pytest.param("couch_status", interface.read_couch_status, lambda r: not r.moving, id="couch-at-rest"),
    ],
)
def test_default_message_is_safe(topic: str, read: Callable[[Any], Any], safe: Callable[[Any], bool]) -> None:
    assert safe(read(TYPES.make(interface.TOPIC_TYPES[topic])))


def test_default_estimate_message_is_lost() -> None:
    message = TYPES.make(
        "lmtrack_ros/msg/LandmarkArray", estimates=[TYPES.make("lmtrack_ros/msg/LandmarkEstimate")]
    )
    (estimate,) = interface.read_landmark_array(message).estimates
    assert estimate.status is Status.LOST
    assert estimate.observed == (False, False, False)


@pytest.mark.parametrize("value", [2, 77, 255])
def test_state_from_a_newer_interface_is_the_safe_one(value: int) -> None:
    decision = interface.gate_decision(TYPES.make, DECISION)
    decision.state = value
    assert interface.read_gate_decision(decision).state is GateState.HOLD
    shift = interface.couch_shift(TYPES.make, SHIFT)
    shift.mode = value + 1
    assert interface.read_couch_shift(shift).mode is CouchMode.NONE
    array = interface.landmark_array(TYPES.make, LANDMARKS)
    array.estimates[0].status = value + 1
    assert interface.read_landmark_array(array).estimates[0].status is Status.LOST


def test_reason_from_a_newer_interface_is_kept() -> None:
    message = interface.gate_decision(TYPES.make, HOLD)
    message.reasons = 1 << 40
    assert int(interface.read_gate_decision(message).reasons) == 1 << 40


@pytest.mark.parametrize("angle", [-0.01, np.nan, np.inf], ids=str)
@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_rotated_couch_is_a_fault(axis: str, angle: float) -> None:
    message = interface.couch_status(TYPES.make, CouchStatus(NS_PER_S))
    assert interface.read_couch_status(message).fault == ""
    setattr(message.rotation, axis, angle)
    assert interface.read_couch_status(message).fault == "couch is rotated"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_a_couch_position_that_is_not_finite_is_a_fault(axis: str, value: float) -> None:
    message = interface.couch_status(TYPES.make, CouchStatus(NS_PER_S, np.array([1.0, 2.0, 3.0])))
    setattr(message.translation, axis, value)
    status = interface.read_couch_status(message)
    assert status.fault == "position is not finite"
    assert np.isfinite(status.position_mm).sum() == 2
    message.fault = "motor"
    assert interface.read_couch_status(message).fault == "motor"


# images ------------------------------------------------------------------------------------------


@MAKES
@pytest.mark.parametrize(
    ("dtype", "encoding"), [("uint8", "mono8"), ("uint16", "mono16"), ("float32", "32FC1")]
)
def test_image_round_trip(make: interface.Make, dtype: str, encoding: str) -> None:
    pixels = (np.arange(35).reshape(5, 7) * 7).astype(dtype)
    message = interface.image(make, pixels, NS_PER_S + 3, "imager")
    assert message.encoding == encoding
    assert (message.height, message.width, message.step) == (5, 7, 7 * pixels.itemsize)
    assert interface.stamp_ns(message.header.stamp) == NS_PER_S + 3
    assert message.header.frame_id == "imager"
    back = interface.read_image(message)
    assert back.dtype == pixels.dtype
    np.testing.assert_array_equal(back, pixels)


def image_message(
    encoding: str, rows: list[bytes], width: int, *, padding: int = 0, is_bigendian: int = 0
) -> Any:
    data = b"".join(row + b"\xff" * padding for row in rows)
    return TYPES.make(
        "sensor_msgs/msg/Image",
        height=len(rows),
        width=width,
        encoding=encoding,
        is_bigendian=is_bigendian,
        step=len(rows[0]) + padding,
        data=data,
    )


@pytest.mark.parametrize("padding", [0, 1, 5])
@pytest.mark.parametrize("is_bigendian", [0, 1], ids=["little", "big"])
@pytest.mark.parametrize("encoding", ["mono8", "8UC1", "mono16", "16UC1", "32FC1"])
def test_grey_image_of_any_layout(encoding: str, is_bigendian: int, padding: int) -> None:
    """Row padding, also of an odd number of bytes, and the byte order do not reach the pixels."""
    kind = {"mono8": "u1", "8UC1": "u1", "mono16": "u2", "16UC1": "u2", "32FC1": "f4"}[encoding]
    pixels = np.array([[1, 2, 3], [200, 254, 255]], kind)
    stored = pixels.astype((">" if is_bigendian else "<") + kind)
    message = image_message(
        encoding, [row.tobytes() for row in stored], 3, padding=padding, is_bigendian=is_bigendian
    )
    back = interface.read_image(message)
    assert back.dtype == np.dtype(kind)
    np.testing.assert_array_equal(back, pixels)


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize(
    ("encoding", "order"), [("rgb8", "rgb"), ("bgr8", "bgr"), ("rgba8", "rgba"), ("bgra8", "bgra")]
)
def test_colour_becomes_grey(encoding: str, order: str, padding: int) -> None:
    """The channels are weighed by their colour (ITU-R BT.601), wherever they stand; alpha does not count."""
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 90, 90]]], np.uint8)
    channels = {"r": colours[..., 0], "g": colours[..., 1], "b": colours[..., 2]}
    channels["a"] = np.full((1, 4), 13, np.uint8)
    stored = np.stack([channels[c] for c in order], axis=-1)
    grey = interface.read_image(image_message(encoding, [stored[0].tobytes()], 4, padding=padding))
    assert grey.shape == (1, 4)
    np.testing.assert_allclose(grey[0], [0.299 * 255, 0.587 * 255, 0.114 * 255, 90], atol=1)


def test_grey_agrees_with_opencv() -> None:
    colour = np.random.default_rng(1).integers(0, 256, (6, 5, 3), np.uint8)
    message = image_message("bgr8", [row.tobytes() for row in colour], 5)
    np.testing.assert_array_equal(interface.read_image(message), cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY))


def broken_image(**changes: object) -> Any:
    message = interface.image(TYPES.make, np.zeros((4, 6), np.uint16), 0, "imager")
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"data": np.zeros(47, np.uint8)}, id="truncated"),
        pytest.param({"data": np.zeros(0, np.uint8)}, id="no-data"),
        pytest.param({"step": 11}, id="step-shorter-than-a-row"),
        pytest.param({"step": 0}, id="no-step"),
        pytest.param({"height": 5}, id="more-rows-than-data"),
        pytest.param({"width": 0}, id="no-columns"),
        pytest.param({"height": 0}, id="no-rows"),
        pytest.param({"encoding": "bayer_rggb8"}, id="unknown-encoding"),
        pytest.param({"encoding": ""}, id="no-encoding"),
    ],
)
def test_broken_image_is_a_user_error(changes: dict[str, object]) -> None:
    assert interface.read_image(broken_image()).shape == (4, 6)
    with pytest.raises(UserError):
        interface.read_image(broken_image(**changes))


def test_default_image_is_a_user_error() -> None:
    with pytest.raises(UserError):
        interface.read_image(TYPES.make("sensor_msgs/msg/Image"))


def test_pixels_of_another_type_are_a_user_error() -> None:
    with pytest.raises(UserError, match="float64"):
        interface.image(TYPES.make, np.zeros((2, 2)), 0, "imager")


# volumes -----------------------------------------------------------------------------------------


@MAKES
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_volume_round_trip(make: interface.Make, dtype: str) -> None:
    voxels = np.arange(2 * 3 * 4).reshape(2, 3, 4).astype(dtype)
    message = interface.volume(make, voxels, NS_PER_S, "imager")
    assert (message.depth, message.height, message.width) == (2, 3, 4)
    back = interface.read_volume(message)
    assert back.dtype == voxels.dtype
    np.testing.assert_array_equal(back, voxels)


def test_big_endian_volume() -> None:
    message = interface.volume(TYPES.make, np.zeros((1, 1, 2), np.uint16), 0, "imager")
    message.is_bigendian, message.data = 1, np.array([0, 1, 1, 0], np.uint8)
    assert interface.read_volume(message).tolist() == [[[1, 256]]]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"data": np.zeros(47, np.uint8)}, id="truncated-within-a-voxel"),
        pytest.param({"data": np.zeros(46, np.uint8)}, id="truncated"),
        pytest.param({"data": np.zeros(50, np.uint8)}, id="too-long"),
        pytest.param({"depth": 0}, id="no-slices"),
        pytest.param({"encoding": "rgb8"}, id="colour"),
    ],
)
def test_broken_volume_is_a_user_error(changes: dict[str, object]) -> None:
    message = interface.volume(TYPES.make, np.zeros((2, 3, 4), np.uint16), 0, "imager")
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(UserError):
        interface.read_volume(message)


# geometry ----------------------------------------------------------------------------------------

GEOMETRIES = {
    "room": ImageGeometry(
        Modality.ULTRASOUND,
        (0.5, 0.25, 0.0),
        pose=frames.isocenter_from_image(frames.View.LONGITUDINAL, (1, 2, 3)),
    ),
    "couch": ImageGeometry(Modality.MR, (1.5, 1.5, 4.0), Mount.COUCH),
    "hand-held": ImageGeometry(
        Modality.ULTRASOUND_VOLUME,
        (0.5, 0.5, 0.5),
        Mount.PATIENT,
        frames.isocenter_from_table_top((9, -8, 7), (0.3, -0.2, 1.1)),
    ),
    "projection": ImageGeometry(
        Modality.FLUOROSCOPY,
        (0.4, 0.4, 0.0),
        pose=frames.isocenter_from_image(frames.View.CORONAL),
        sad_mm=1000.0,
        sid_mm=1500.0,
        projection=np.arange(12.0).reshape(3, 4),
    ),
}


@MAKES
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_geometry_round_trip(make: interface.Make, geometry: ImageGeometry) -> None:
    message = interface.image_geometry(make, geometry, NS_PER_S, "imager")
    back = interface.read_image_geometry(message)
    assert message.parent_frame == geometry.frame_id
    assert (back.modality, back.mount) == (geometry.modality, geometry.mount)
    np.testing.assert_allclose(back.spacing_mm, geometry.spacing_mm, rtol=1e-12)
    np.testing.assert_allclose(back.pose, geometry.pose, atol=1e-9)
    np.testing.assert_allclose((back.sad_mm, back.sid_mm), (geometry.sad_mm, geometry.sid_mm))
    if geometry.projection is None:
        assert back.projection is None
    else:
        assert back.projection is not None
        np.testing.assert_allclose(back.projection, geometry.projection)


def test_geometry_is_in_metres() -> None:
    """The matrix takes metres: a point in metres projects where the same point in millimetres does."""
    message = interface.image_geometry(TYPES.make, GEOMETRIES["projection"], 0, "imager")
    assert list(message.spacing) == pytest.approx([0.0004, 0.0004, 0])
    assert (message.source_axis_distance, message.source_image_distance) == (1.0, 1.5)
    in_metres = np.reshape(message.projection, (3, 4)) @ (0.001, 0.002, 0.003, 1)
    in_millimetres = np.arange(12.0).reshape(3, 4) @ (1, 2, 3, 1)
    np.testing.assert_allclose(in_metres, in_millimetres)


def test_writing_a_geometry_leaves_it_as_it_was() -> None:
    projection = GEOMETRIES["projection"].projection
    assert projection is not None
    interface.image_geometry(TYPES.make, GEOMETRIES["projection"], 0, "imager")
    np.testing.assert_array_equal(projection, np.arange(12.0).reshape(3, 4))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"spacing": np.zeros(3)}, id="no-spacing"),
        pytest.param({"spacing": np.array([np.nan, 1, 1])}, id="nan-spacing"),
        pytest.param({"modality": "x-ray"}, id="unknown-modality"),
        pytest.param({"mount": 3}, id="unknown-mount"),
        pytest.param({"mount": 255}, id="unknown-mount-255"),
        pytest.param({"source_axis_distance": 1.0}, id="half-a-projection"),
        pytest.param({"source_axis_distance": np.nan, "source_image_distance": np.nan}, id="nan-projection"),
        pytest.param({"parent_frame": "patient"}, id="frame-that-the-mount-contradicts"),
    ],
)
def test_unusable_geometry_is_a_user_error(changes: dict[str, object]) -> None:
    message = interface.image_geometry(TYPES.make, GEOMETRIES["room"], 0, "imager")
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(UserError):
        interface.read_image_geometry(message)


@MAKES
@pytest.mark.parametrize("mount", [3, 9, 255])
def test_an_unknown_mount_is_named(make: interface.Make, mount: int) -> None:
    message = interface.image_geometry(make, GEOMETRIES["room"], 0, "imager")
    message.mount = mount
    with pytest.raises(UserError, match=rf"mount is {mount}, not one of 0 \(room\), 1 \(couch\), 2"):
        interface.read_image_geometry(message)


@pytest.mark.parametrize(("w", "x"), [(0.0, 0.0), (2.0, 0.0), (np.nan, 0.0)], ids=["zero", "long", "nan"])
def test_geometry_without_a_rotation_is_a_user_error(w: float, x: float) -> None:
    message = interface.image_geometry(TYPES.make, GEOMETRIES["couch"], 0, "imager")
    message.pose.orientation.w, message.pose.orientation.x = w, x
    with pytest.raises(UserError, match="unusable"):
        interface.read_image_geometry(message)


def test_geometry_with_a_position_that_is_no_number_is_a_user_error() -> None:
    message = interface.image_geometry(TYPES.make, GEOMETRIES["couch"], 0, "imager")
    message.pose.position.y = np.nan
    with pytest.raises(UserError, match="finite"):
        interface.read_image_geometry(message)


def test_default_geometry_is_a_user_error() -> None:
    with pytest.raises(UserError):
        interface.read_image_geometry(TYPES.make("lmtrack_ros/msg/ImageGeometry"))


# landmarks that are marked -----------------------------------------------------------------------


@MAKES
@pytest.mark.parametrize(
    "landmark",
    [
        pytest.param(Landmark("point", (1.5, 2.5)), id="point"),
        pytest.param(Landmark("edge", (1.5, 2.5), (False, True)), id="edge"),
        pytest.param(Landmark("voxel", (1.5, 2.5, 3.5), (True, False, True)), id="voxel"),
    ],
)
def test_marked_landmarks_round_trip(make: interface.Make, landmark: Landmark) -> None:
    marked = MarkedLandmarks((landmark, Landmark("other", (0.0, 0.0))), 3 * NS_PER_S)
    back = interface.read_initial_landmarks(interface.initial_landmarks(make, marked, "imager"))
    assert back == marked


@pytest.mark.parametrize("pixel", [(), (1.0,), (1.0, 2.0, 3.0, 4.0)], ids=["none", "one", "four"])
def test_marked_landmark_needs_two_or_three_coordinates(pixel: tuple[float, ...]) -> None:
    marked = MarkedLandmarks((Landmark("a", (1.0, 2.0)),))
    message = interface.initial_landmarks(TYPES.make, marked, "imager")
    message.estimates[0].pixel = np.array(pixel)
    with pytest.raises(UserError, match="'a' has"):
        interface.read_initial_landmarks(message)

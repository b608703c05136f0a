"""Recordings: round trips, both forms, interruptions, and what other tools need of them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability, QosReliability
from rosbags.rosbag2 import StoragePlugin, Writer

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
    Frame,
    GateDecision,
    GateState,
    LandmarkSet,
    Reason,
    Status,
)
from lmtrack_ros.message_types import MessageTypes
from lmtrack_ros.recording import Recording, RecordingWriter, TopicQos, is_unfinished, recover
from lmtrack_ros.sources import open_source

GEOMETRY = ImageGeometry(
    Modality.FLUOROSCOPY,
    (0.4, 0.5, 0.0),
    pose=frames.isocenter_from_image(frames.View.CORONAL, (-10, 0, 20)),
    sad_mm=1000,
    sid_mm=1500,
)

FORMS = pytest.mark.parametrize("name", ["rec", "rec.mcap"])


def images(count: int, dtype: str = "uint8", shape: tuple[int, ...] = (6, 7)) -> list[Frame]:
    values = np.random.default_rng(3).integers(0, 200, (count, *shape)).astype(dtype)
    return [
        Frame((index + 1) * NS_PER_S, image, GEOMETRY, (index + 1) * NS_PER_S + 5)
        for index, image in enumerate(values)
    ]


@FORMS
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shape", [(6, 7), (3, 6, 7)])
def test_frames_come_back_pixel_exact(tmp_path: Path, name: str, dtype: str, shape: tuple[int, ...]) -> None:
    written = images(5, dtype, shape)
    with RecordingWriter(tmp_path / name) as writer:
        for frame in written:
            writer.write_frame(frame)
    with Recording(tmp_path / name) as recording:
        read = list(recording.frames())
        assert recording.has("image_geometry")
        assert sum(topic.count for topic in recording.topics.values()) == 6
    assert [f.image.tolist() for f in read] == [f.image.tolist() for f in written]
    assert [(f.stamp_ns, f.received_ns, f.image.dtype) for f in read] == [
        (f.stamp_ns, f.received_ns, f.image.dtype) for f in written
    ]
    geometry = read[0].geometry
    assert geometry is not None
    np.testing.assert_allclose(geometry.pose, GEOMETRY.pose, atol=1e-12)
    assert (geometry.sad_mm, geometry.sid_mm) == (1000, 1500)


@FORMS
def test_records_come_back_in_order_of_receipt(tmp_path: Path, name: str) -> None:
    landmarks = LandmarkSet(
        5,
        (
            Estimate(
                "dome", Status.TRACKED, (1.5, 2.5), np.arange(3.0), np.eye(3), (True, False, True), 0.5, 2.0
            ),
        ),
    )
    decision = GateDecision(5, 7, 8, GateState.BEAM_ON, Reason(0), 9, 1.25, np.array([1.0, 2.0, 3.0]))
    shift = CouchShift(5, mode=CouchMode.TRACKING, axes=(True, False, True), target_mm=np.ones(3))
    with RecordingWriter(tmp_path / name) as writer:
        writer.write_record("couch_status", CouchStatus(5, fault="jammed"), 40)
        writer.write_record("gate", decision, 20)
        writer.write_record("couch_shift", shift, 30)
        writer.write_record("landmarks", landmarks, 10)
    with Recording(tmp_path / name) as recording:
        everything = list(recording.messages())
        chosen = list(recording.messages(["couch_shift", "gate"]))
    assert [(topic, stamp) for topic, _, stamp in everything] == [
        ("/landmarks", 10),
        ("/gate", 20),
        ("/couch_shift", 30),
        ("/couch_status", 40),
    ]
    assert [topic for topic, _, _ in chosen] == ["gate", "couch_shift"]
    read = interface.read_landmark_array(everything[0][1]).estimates[0]
    assert (read.id, read.status, read.uv_px, read.observed) == (
        "dome",
        Status.TRACKED,
        (1.5, 2.5),
        (True, False, True),
    )
    assert interface.read_gate_decision(everything[1][1]).margin_mm == pytest.approx(1.25)
    assert interface.read_couch_shift(everything[2][1]).axes == (True, False, True)
    assert interface.read_couch_status(everything[3][1]).fault == "jammed"


def test_the_directory_is_what_ros2_bag_expects(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "rec") as writer:
        writer.write_frame(images(1)[0])
        writer.declare("chatter", "std_msgs/msg/String", TopicQos(reliable=False, depth=3))
    metadata = yaml.safe_load((tmp_path / "rec" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert metadata["version"] == 9
    assert metadata["storage_identifier"] == "mcap"
    assert metadata["relative_file_paths"] == ["rec.mcap"]
    assert sorted(f.name for f in (tmp_path / "rec").iterdir()) == ["metadata.yaml", "rec.mcap"]
    assert sorted(f.name for f in tmp_path.iterdir()) == ["rec"]
    topics = {t["topic_metadata"]["name"]: t["topic_metadata"] for t in metadata["topics_with_message_count"]}
    assert all(t["type_description_hash"].startswith("RIHS01_") for t in topics.values())
    assert topics["/image_geometry"]["offered_qos_profiles"][0]["durability"] == "transient_local"
    assert topics["/image"]["offered_qos_profiles"][0]["durability"] == "volatile"
    assert topics["/chatter"]["offered_qos_profiles"][0]["reliability"] == "best_effort"
    with AnyReader([tmp_path / "rec"]) as reader:
        assert set(reader.topics) == set(topics)


@FORMS
def test_a_recording_carries_its_definitions(tmp_path: Path, name: str) -> None:
    with RecordingWriter(tmp_path / name) as writer:
        writer.write_frame(images(1)[0])
    # no default typestore: everything comes from the recording itself
    with AnyReader([tmp_path / name]) as reader:
        connection = next(c for c in reader.connections if c.topic == "/image_geometry")
        _, _, cdr = next(reader.messages([connection]))
        message: Any = reader.deserialize(cdr, connection.msgtype)
        assert message.modality == "fluoroscopy"
        qos = connection.ext.offered_qos_profiles[0]  # type: ignore[union-attr]
        assert qos.durability is QosDurability.TRANSIENT_LOCAL
        assert qos.reliability is QosReliability.RELIABLE


def test_raw_messages_pass_unchanged(tmp_path: Path) -> None:
    types = MessageTypes()
    cdr = types.serialize(types.make("std_msgs/msg/String", data="hello"))
    with RecordingWriter(tmp_path / "rec") as writer:
        writer.write_raw("/room1/chatter", "std_msgs/msg/String", cdr, 17)
    with Recording(tmp_path / "rec") as recording:
        ((topic, message, stamp_ns),) = recording.messages(["chatter"])
    assert (topic, message.data, stamp_ns) == ("chatter", "hello", 17)


def test_definitions_of_other_packages_are_found_where_they_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "share" / "probe_msgs" / "msg"
    folder.mkdir(parents=True)
    (folder / "Tip.msg").write_text("std_msgs/Header header\nDepth[2] depths\n")
    (folder / "Depth.msg").write_text("float64 metres\n")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    tip = MessageTypes().make("probe_msgs/msg/Tip")
    assert [d.metres for d in tip.depths] == [0, 0]
    with pytest.raises(UserError, match="not installed here"):
        MessageTypes().require("probe_msgs/msg/Nothing")


def test_make_fills_in_what_is_missing_and_refuses_what_is_unknown() -> None:
    types = MessageTypes()
    shift = types.make("lmtrack_ros/msg/CouchShift", axes=[True] * 6)
    assert shift.axes.dtype == np.bool_
    assert shift.header.frame_id == ""
    assert shift.translation.x == 0
    with pytest.raises(TypeError, match="no field colour"):
        types.make("lmtrack_ros/msg/CouchShift", colour="red")


def test_a_topic_is_found_in_its_namespace(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "rec") as writer:
        for namespace in ("/a", "/b"):
            writer.write(f"{namespace}/chatter", writer.make("std_msgs/msg/String"), 1)
        writer.write("/a/only", writer.make("std_msgs/msg/String"), 1)
    with Recording(tmp_path / "rec") as recording:
        assert [t for t, _, _ in recording.messages(["only"])] == ["only"]
        assert recording.has("chatter")
        assert not recording.has("image")
        with pytest.raises(UserError, match="several topics"):
            list(recording.messages(["chatter"]))
        with pytest.raises(UserError, match="Did you mean '/a/only'"):
            list(recording.messages(["/a/onyl"]))
        with pytest.raises(UserError, match="holds no images"):
            recording.frames()


def test_the_only_image_topic_of_a_foreign_recording_is_found(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "rec") as writer:
        message = interface.image(writer.make, images(1)[0].image, 3, "probe")
        writer.write("/probe/image_raw", message, 5)
    with Recording(tmp_path / "rec") as recording:
        (frame,) = recording.frames()
    assert (frame.stamp_ns, frame.received_ns, frame.geometry) == (3, 5, None)
    with pytest.raises(UserError, match="give the modality"):
        open_source(tmp_path / "rec", rate_hz=1)
    with open_source(tmp_path / "rec", rate_hz=1, modality="ultrasound", spacing_mm=(1, 2)) as source:
        assert [f.geometry for f in source] == [source.info.geometry]


def test_a_lone_sqlite_file_opens(tmp_path: Path) -> None:
    types = MessageTypes()
    for name in ("sensor_msgs/msg/Image", "lmtrack_ros/msg/ImageGeometry"):
        types.require(name)
    with Writer(tmp_path / "rec", version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        image = writer.add_connection("/image", "sensor_msgs/msg/Image", typestore=types.store)
        for frame in images(3):
            message = interface.image(types.make, frame.image, frame.stamp_ns, "imager")
            writer.write(image, frame.received_ns, types.serialize(message))
    for path in (tmp_path / "rec", tmp_path / "rec" / "rec.db3"):
        with open_source(path, modality="mr", spacing_mm=(1, 1)) as source:
            assert len(list(source)) == 3
            assert source.info.rate_hz == 1


def test_a_hand_held_imager_has_the_geometry_of_the_same_stamp(tmp_path: Path) -> None:
    written = [
        replace(
            f, geometry=replace(GEOMETRY, mount=Mount.PATIENT, pose=frames.rigid(translation_mm=(i, 0, 0)))
        )
        for i, f in enumerate(images(4))
    ]
    written[2] = replace(written[2], geometry=None)
    with RecordingWriter(tmp_path / "rec") as writer:
        for frame in written:
            writer.write_frame(frame)
    with open_source(tmp_path / "rec") as source:
        shifts = [None if f.geometry is None else f.geometry.pose[0, 3] for f in source]
    assert shifts == [0, pytest.approx(1), None, pytest.approx(3)]


def test_a_latched_geometry_that_came_late_or_changed(tmp_path: Path) -> None:
    first, second, third = images(3)
    with RecordingWriter(tmp_path / "rec") as writer:
        writer.write_frame(replace(first, geometry=None))
        writer.write_frame(second)
        writer.write_frame(replace(third, geometry=replace(GEOMETRY, spacing_mm=(1, 1, 0))))
    with open_source(tmp_path / "rec") as source:
        spacings = [f.geometry.spacing_mm[0] for f in source if f.geometry is not None]
    assert spacings == pytest.approx([0.4, 0.4, 1])
    with open_source(tmp_path / "rec", spacing_mm=(3, 3)) as source:
        geometries = [f.geometry for f in source]
    assert [g.spacing_mm[0] for g in geometries if g is not None] == [3, 3, 3]
    # what the recording knows beyond the spacing stays
    assert geometries[0] is not None
    np.testing.assert_allclose(geometries[0].pose, GEOMETRY.pose, atol=1e-12)


def test_broken_images_in_a_recording_are_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second, third = images(3)
    with RecordingWriter(tmp_path / "rec") as writer:
        writer.write_frame(first)
        broken = interface.image(writer.make, second.image, second.stamp_ns, "imager")
        broken.encoding = "yuv422"
        writer.write("image", broken, second.received_ns)
        writer.write_frame(replace(third, stamp_ns=first.stamp_ns))
        writer.write_frame(third)
    with Recording(tmp_path / "rec") as recording:
        stamps = [f.stamp_ns for f in recording.frames()]
    assert stamps == [first.stamp_ns, third.stamp_ns]
    assert "yuv422" in caplog.text
    assert "not later" in caplog.text


@FORMS
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="is not overwritten"):
        RecordingWriter(tmp_path / name)
    (tmp_path / "other.partial").mkdir()
    with pytest.raises(UserError, match="interrupted recording"):
        RecordingWriter(tmp_path / "other")
    writer = RecordingWriter(tmp_path / "late")
    (tmp_path / "late").mkdir()
    with pytest.raises(UserError, match="is not overwritten"):
        writer.close()
    assert (tmp_path / "late.partial").is_dir()


@FORMS
@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_nothing(tmp_path: Path, name: str, kind: Callable[[], BaseException]) -> None:
    with pytest.raises((RuntimeError, KeyboardInterrupt)), RecordingWriter(tmp_path / name) as writer:  # noqa: PT012
        writer.write_frame(images(1)[0])
        assert list(tmp_path.iterdir()) == [tmp_path / f"{name}.partial"]
        raise kind()
    assert list(tmp_path.iterdir()) == []


@FORMS
def test_a_killed_writer_leaves_all_but_the_last_second(tmp_path: Path, name: str) -> None:
    writer = RecordingWriter(tmp_path / name)
    for frame in images(8):
        writer.write_frame(frame)
    # as killed: nothing is closed, and the last record is torn
    partial = tmp_path / f"{name}.partial"
    (storage,) = partial.glob("*/*.mcap")
    with storage.open("ab") as file:
        file.write(b"\x06\xff\xff\x00\x00\x00\x00\x00\x00torn")
    assert is_unfinished(partial)
    with pytest.raises(UserError, match="was not finished"):
        Recording(partial)
    assert recover(partial, tmp_path / "saved") >= 8
    with Recording(tmp_path / "saved") as recording:
        saved = list(recording.frames())
    assert [f.image.tolist() for f in saved] == [f.image.tolist() for f in images(8)[: len(saved)]]
    assert len(saved) >= 7
    metadata = yaml.safe_load((tmp_path / "saved" / "metadata.yaml").read_text())[
        "rosbag2_bagfile_information"
    ]
    durability = [
        t["topic_metadata"]["offered_qos_profiles"][0]["durability"]
        for t in metadata["topics_with_message_count"]
    ]
    assert durability == ["transient_local", "volatile"]


def test_a_truncated_file_is_recovered_up_to_the_tear(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "rec.mcap") as writer:
        for frame in images(8):
            writer.write_frame(frame)
    whole = (tmp_path / "rec.mcap").read_bytes()
    (tmp_path / "torn.mcap").write_bytes(whole[: len(whole) // 3])
    with pytest.raises(UserError, match="was not finished"):
        open_source(tmp_path / "torn.mcap")
    assert 2 <= recover(tmp_path / "torn.mcap", tmp_path / "saved.mcap") < 9
    (tmp_path / "stub.mcap").write_bytes(whole[:20])
    with pytest.raises(UserError):
        recover(tmp_path / "stub.mcap", tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    assert not (tmp_path / "nothing.partial").exists()


def test_what_is_no_recording_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "words.mcap").write_text("not a recording")
    (tmp_path / "words.db3").write_text("not a recording")
    (tmp_path / "folder").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "metadata.yaml").write_text("rosbag2_bagfile_information: 3\n")
    for name in ("missing", "words.mcap", "words.db3", "folder", "bad"):
        with pytest.raises(UserError) as caught:
            Recording(tmp_path / name)
        assert "\n" not in str(caught.value)

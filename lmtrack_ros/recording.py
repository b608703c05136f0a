"""Recordings: rosbag2 in MCAP, written and read without ROS.

A path that ends in ``.mcap`` is one lone file; any other is a rosbag2 directory with its
``metadata.yaml``. While a recording is written it lies in ``<path>.partial`` beside its place and
moves there when it is complete. What a killed writer leaves there is whole up to the last second
or so: :func:`recover` makes a recording of it.
"""

import logging
import os
import shutil
import struct
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from rosbags.highlevel import AnyReader
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinitionFormat,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import Reader, StoragePlugin, Writer

from lmtrack_ros import interface
from lmtrack_ros.core.errors import UserError, unknown_name
from lmtrack_ros.core.geometry import ImageGeometry, Mount
from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.core.records import (
    NS_PER_S,
    CouchShift,
    CouchStatus,
    Frame,
    GateDecision,
    LandmarkSet,
)
from lmtrack_ros.message_types import MessageTypes, type_hash
from lmtrack_ros.sources.stream import Unreadable, guarded

logger = logging.getLogger(__name__)

LONE_FILE_SUFFIX = ".mcap"
PARTIAL_SUFFIX = ".partial"
STORAGE_SUFFIXES = (LONE_FILE_SUFFIX, ".db3")

IMAGE = "image"
VOLUME = "volume"
IMAGE_GEOMETRY = "image_geometry"
INITIAL_LANDMARKS = "initial_landmarks"

IMAGER_FRAME = "imager"
"""tf frame of the imager, where nothing else is said."""

_METADATA = "metadata.yaml"
_FLUSH_INTERVAL_NS = NS_PER_S
_MCAP_MAGIC = b"\x89MCAP0\r\n"
_MCAP_RECORD = struct.Struct("<BQ")  # opcode, length
_MCAP_DATA_END = 0x0F
_MCAP_FOOTER = 0x02

_Self = TypeVar("_Self")


@dataclass(frozen=True)
class RecorderParameters:
    """What is recorded where."""

    path: str = parameter("recording", "NAME.mcap for one file, anything else for a rosbag2 directory")
    topics: tuple[str, ...] = parameter(
        (), "names of the topics to record; empty: all of the node's namespace, /tf and /tf_static"
    )


@dataclass(frozen=True)
class TopicQos:
    """How a topic was offered, and is offered again when the recording is played.

    Attributes:
        reliable: whether lost messages are sent again.
        transient_local: whether a late joiner gets the last messages.
        depth: how many are kept.
    """

    reliable: bool = True
    transient_local: bool = False
    depth: int = 10


LATCHED = TopicQos(transient_local=True, depth=1)

_LATCHED_TOPICS = (IMAGE_GEOMETRY, INITIAL_LANDMARKS, "tf_static")

_RECORD_BUILDERS: Mapping[type, Callable[..., Any]] = {
    LandmarkSet: interface.landmark_array,
    GateDecision: interface.gate_decision,
    CouchShift: interface.couch_shift,
    CouchStatus: interface.couch_status,
}


class RecordingWriter:
    """Writes one recording; a context manager that completes it, or removes it after an exception.

    Relative topic names become absolute (``image`` is recorded as ``/image``). Not thread-safe.

    Args:
        path: ``NAME.mcap`` for one file, anything else for a rosbag2 directory.

    Raises:
        UserError: the path exists, an interrupted recording of that name does, or neither can be made.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._partial = self._path.with_name(self._path.name + PARTIAL_SUFFIX)
        _refuse_existing(self._path)
        if self._partial.exists():
            raise UserError(
                f"{self._partial} is left from an interrupted recording: "
                f"save it with 'lmtrack convert {self._partial} --out NAME', or remove it"
            )
        self._types = MessageTypes()
        self._connections: dict[tuple[str, str], Connection] = {}
        self._geometry: ImageGeometry | None = None
        self._flushed_ns: int | None = None
        # rosbags names the storage file after its folder, so the folder has its final name already
        self._writer: Writer | None = Writer(
            self._partial / self._path.stem if self._lone else self._partial / self._path.name,
            version=Writer.VERSION_LATEST,
            storage_plugin=StoragePlugin.MCAP,
        )
        try:
            self._writer.open()
        except OSError as error:
            raise UserError(f"cannot write {self._path}: {error.strerror}") from error

    @property
    def _lone(self) -> bool:
        return self._path.suffix == LONE_FILE_SUFFIX

    def make(self, type_name: str, **fields: Any) -> Any:
        """Return a message for :meth:`write`; fields that are not given are zero, empty or false."""
        return self._types.make(type_name, **fields)

    def declare(self, topic: str, type_name: str, qos: TopicQos | None = None) -> None:
        """Add a topic before its first message, or without one; done by the first message otherwise.

        Args:
            topic: its name.
            type_name: ``pkg/msg/Name``.
            qos: as it is offered; geometry and initial landmarks are latched where not given.

        Raises:
            UserError: the type's definition is not found.
        """
        self._connection(topic, type_name, qos)

    def write_raw(self, topic: str, type_name: str, cdr: bytes, stamp_ns: int) -> None:
        """Write a serialised message.

        Args:
            topic: its name.
            type_name: ``pkg/msg/Name``.
            cdr: the message with its four-byte encapsulation header, as ROS delivers it.
            stamp_ns: when it was received; the recording is replayed by it.

        Raises:
            UserError: the type's definition is not found.
        """
        writer = self._open_writer()
        writer.write(self._connection(topic, type_name, None), stamp_ns, cdr)
        if self._flushed_ns is None:
            self._flushed_ns = stamp_ns
        elif abs(stamp_ns - self._flushed_ns) >= _FLUSH_INTERVAL_NS:
            self.flush()
            self._flushed_ns = stamp_ns

    def write(self, topic: str, message: Any, stamp_ns: int) -> None:
        """Write a message that :meth:`make` made."""
        self.write_raw(topic, message.__msgtype__, self._types.serialize(message), stamp_ns)

    def write_record(
        self, topic: str, record: LandmarkSet | GateDecision | CouchShift | CouchStatus, stamp_ns: int
    ) -> None:
        """Write a core record as its message."""
        self.write(topic, _RECORD_BUILDERS[type(record)](self.make, record), stamp_ns)

    def write_frame(self, frame: Frame, frame_id: str = IMAGER_FRAME) -> None:
        """Write a frame as ``image`` or ``volume``, and before it its geometry where that is new.

        The geometry of a hand-held imager is written with each frame, for it is matched by stamp.

        Args:
            frame: recorded at the time it was received, or of its stamp.
            frame_id: tf frame of the imager.
        """
        recorded_ns = frame.received_ns or frame.stamp_ns
        moving = frame.geometry is not None and frame.geometry.mount is Mount.PATIENT
        if frame.geometry is not None and (moving or frame.geometry is not self._geometry):
            geometry = interface.image_geometry(self.make, frame.geometry, frame.stamp_ns, frame_id)
            self.write(IMAGE_GEOMETRY, geometry, recorded_ns)
            self._geometry = frame.geometry
        if frame.image.ndim == 2:
            message = interface.image(self.make, frame.image, frame.stamp_ns, frame_id)
            self.write(IMAGE, message, recorded_ns)
        else:
            message = interface.volume(self.make, frame.image, frame.stamp_ns, frame_id)
            self.write(VOLUME, message, recorded_ns)

    def copy(self, connection: Connection, stamp_ns: int, cdr: bytes) -> None:
        """Write a message of another recording, with its own definition and quality of service.

        Raises:
            UserError: its type is not described by ``.msg`` text.
        """
        if not isinstance(connection.ext, ConnectionExtRosbag2):
            raise UserError(f"{connection.topic} is not from a rosbag2 recording")
        key = connection.topic, connection.msgtype
        if key not in self._connections:
            if connection.msgdef.format != MessageDefinitionFormat.MSG:
                raise UserError(f"message type {connection.msgtype} has no .msg definition in the recording")
            self._connections[key] = self._open_writer().add_connection(
                *key,
                msgdef=connection.msgdef.data,
                rihs01=type_hash(connection.msgtype, connection.msgdef.data),
                offered_qos_profiles=connection.ext.offered_qos_profiles,
            )
        self.write_raw(*key, cdr, stamp_ns)

    def flush(self) -> None:
        """Hand everything written so far to the system, so that it survives the end of this process.

        Happens by itself when a message comes a second or more after the last flush.
        """
        storage: Any = self._open_writer().storage
        if storage.chunk.bio.tell():
            storage.close_chunk()
        storage.bio.flush()

    def close(self) -> None:
        """Complete the recording and move it to its place; safe to call twice.

        Raises:
            UserError: something has appeared there meanwhile; the recording stays recoverable.
        """
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        writer.close()
        _refuse_existing(self._path)
        made = writer.path / f"{writer.path.name}.mcap" if self._lone else writer.path
        os.replace(made, self._path)
        shutil.rmtree(self._partial)

    def discard(self) -> None:
        """Remove what was written; does nothing after :meth:`close`."""
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        writer.abort()
        shutil.rmtree(self._partial, ignore_errors=True)

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, exception: type[BaseException] | None, *_: object) -> None:
        if exception is None:
            self.close()
        else:
            self.discard()

    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise ValueError(f"the recording {self._path} is closed")
        return self._writer

    def _connection(self, topic: str, type_name: str, qos: TopicQos | None) -> Connection:
        topic = topic if topic.startswith("/") else f"/{topic}"
        key = topic, type_name
        if key not in self._connections:
            self._types.require(type_name)
            default = LATCHED if topic.rpartition("/")[2] in _LATCHED_TOPICS else TopicQos()
            self._connections[key] = self._open_writer().add_connection(
                topic,
                type_name,
                typestore=self._types.store,
                offered_qos_profiles=[_rosbags_qos(qos or default)],
            )
        return self._connections[key]


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise UserError(f"{path} exists and is not overwritten: choose another name or remove it")


def _rosbags_qos(qos: TopicQos) -> Qos:
    forever = QosTime(9223372036, 854775807)
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=qos.depth,
        reliability=QosReliability.RELIABLE if qos.reliable else QosReliability.BEST_EFFORT,
        durability=QosDurability.TRANSIENT_LOCAL if qos.transient_local else QosDurability.VOLATILE,
        deadline=forever,
        lifespan=forever,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=forever,
        avoid_ros_namespace_conventions=False,
    )


# reading -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Topic:
    """What a recording holds of one topic.

    Attributes:
        type_name: ``pkg/msg/Name``.
        count: how many messages.
    """

    type_name: str
    count: int


class Recording:
    """Reads a rosbag2 directory, or a lone ``.mcap`` or ``.db3`` file; a context manager.

    A relative topic name (``image``) stands for the topic of that name in whatever namespace it
    was recorded (``/image`` before ``/room1/image``).

    Args:
        path: the directory or file.

    Raises:
        UserError: it does not exist, is no recording, or was not finished.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise UserError(f"{self.path} does not exist")
        if is_unfinished(self.path):
            raise UserError(
                f"{self.path} was not finished: save it with 'lmtrack convert {self.path} --out NAME'"
            )
        self._types = MessageTypes()
        try:
            for type_name in interface.TOPIC_TYPES.values():
                self._types.require(type_name)
            # the store is used where the recording does not define its types itself
            self._reader = AnyReader([self.path], default_typestore=self._types.store)
            self._reader.open()
        except UserError:
            raise
        except Exception as error:  # rosbags raises many kinds for a broken file
            raise UserError(f"{self.path} cannot be read as a recording: {_one_line(error)}") from error
        self.topics: Mapping[str, Topic] = {
            topic: Topic(info.msgtype or "several types", info.msgcount)
            for topic, info in self._reader.topics.items()
        }

    def has(self, topic: str) -> bool:
        """Return whether the recording has messages of a topic."""
        return any(self.topics[name].count for name in self._matching(topic))

    def messages(self, topics: Sequence[str] | None = None) -> Iterator[tuple[str, Any, int]]:
        """Yield (topic as asked for, message, time of receipt in ns) in order of receipt.

        Args:
            topics: which; all, by their full names, where not given.

        Raises:
            UserError: there is no such topic, a name is ambiguous, or the recording is broken.
        """
        asked = {self._resolved(t): t for t in topics} if topics is not None else {t: t for t in self.topics}
        connections = [c for c in self._reader.connections if c.topic in asked]
        if not connections:
            return
        try:
            for connection, stamp_ns, cdr in self._reader.messages(connections):
                message = self._reader.deserialize(cdr, connection.msgtype)
                yield asked[connection.topic], message, stamp_ns
        except UserError:
            raise
        except Exception as error:  # rosbags raises many kinds for a broken file
            raise UserError(f"{self.path} is broken: {_one_line(error)}") from error

    def frames(self, topic: str | None = None) -> Iterator[Frame]:
        """Yield the frames of an image topic with their geometry.

        Stamps are those of the messages, times of receipt those of the recording. A frame that
        cannot be read, changes size or runs backwards in time is reported through ``logging`` and
        skipped. The geometry is the one of the same stamp, or of an imager that is not hand-held the
        one latched at the time; None where the recording has none.

        Args:
            topic: by default ``image`` or ``volume``, else the only topic with images.

        Raises:
            UserError: there is no such topic.
        """
        return guarded(self._raw_frames(topic or self.frame_topic()), self.path.name)

    def frame_topic(self) -> str:
        """Return the topic that :meth:`frames` reads by default.

        Raises:
            UserError: there is none, or there are several and none is called image or volume.
        """
        for name in (IMAGE, VOLUME):
            if self.has(name):
                return self._resolved(name)
        readable = (interface.TOPIC_TYPES[IMAGE], interface.TOPIC_TYPES[VOLUME])
        found = [name for name, topic in self.topics.items() if topic.type_name in readable and topic.count]
        if len(found) != 1:
            what = f"several image topics ({', '.join(found)}), none called 'image'" if found else "no images"
            raise UserError(f"{self.path} holds {what}; it has {', '.join(self.topics) or 'no topics'}")
        return found[0]

    def close(self) -> None:
        """Close the files; safe to call twice."""
        if self._reader.stack is not None:
            self._reader.close()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _raw_frames(self, topic: str) -> Iterator[Frame | Unreadable]:
        geometry = _GeometryTimeline(self)
        is_volume = self.topics[self._resolved(topic)].type_name == interface.TOPIC_TYPES[VOLUME]
        read = interface.read_volume if is_volume else interface.read_image
        try:
            for _, message, received_ns in self.messages([topic]):
                try:
                    pixels = read(message)
                except UserError as error:
                    yield Unreadable(str(error))
                    continue
                stamp_ns = interface.stamp_ns(message.header.stamp)
                yield Frame(stamp_ns, pixels, geometry.at(stamp_ns, received_ns), received_ns)
        except UserError as error:
            yield Unreadable(str(error))

    def _matching(self, topic: str) -> list[str]:
        if topic in self.topics or topic.startswith("/"):
            return [topic] if topic in self.topics else []
        if f"/{topic}" in self.topics:
            return [f"/{topic}"]
        return [name for name in self.topics if name.endswith(f"/{topic}")]

    def _resolved(self, topic: str) -> str:
        matching = self._matching(topic)
        if not matching:
            raise unknown_name(f"topic in {self.path}:", topic, self.topics)
        if len(matching) > 1:
            raise UserError(f"{self.path} has several topics '{topic}': name one of {', '.join(matching)}")
        return matching[0]


class _GeometryTimeline:
    """Which geometry holds for a frame."""

    def __init__(self, recording: Recording) -> None:
        self._of_stamp: dict[int, ImageGeometry] = {}
        self._received_ns: list[int] = []
        self._latched: list[ImageGeometry] = []
        if not recording.has(IMAGE_GEOMETRY):
            return
        for _, message, received_ns in recording.messages([IMAGE_GEOMETRY]):
            try:
                geometry = interface.read_image_geometry(message)
            except UserError as error:
                logger.warning("%s: %s", recording.path.name, error)
                continue
            # of an imager that goes from view to view, what was latched last may be of the other view
            self._of_stamp[interface.stamp_ns(message.header.stamp)] = geometry
            if geometry.mount is not Mount.PATIENT:
                self._received_ns.append(received_ns)
                self._latched.append(geometry)

    def at(self, stamp_ns: int, received_ns: int) -> ImageGeometry | None:
        if stamp_ns in self._of_stamp or not self._latched:
            return self._of_stamp.get(stamp_ns)
        # a latched message may reach the recorder after the first frames that it holds for
        return self._latched[max(0, bisect_right(self._received_ns, received_ns) - 1)]


def is_recording(path: Path) -> bool:
    """Return whether a path looks like a recording, finished or not."""
    if path.is_dir():
        return (path / _METADATA).is_file() or is_unfinished(path)
    return path.suffix in STORAGE_SUFFIXES


# unfinished recordings ---------------------------------------------------------------------------


def is_unfinished(path: Path) -> bool:
    """Return whether a path holds an MCAP recording whose writer did not finish it."""
    if path.is_dir():
        return not (path / _METADATA).is_file() and _storage_file(path) is not None
    if path.suffix != LONE_FILE_SUFFIX or not path.is_file():
        return False
    with path.open("rb") as file:
        if file.read(len(_MCAP_MAGIC)) != _MCAP_MAGIC:
            return False
        file.seek(-len(_MCAP_MAGIC), os.SEEK_END)
        return file.read() != _MCAP_MAGIC or file.tell() == len(_MCAP_MAGIC)


def recover(path: str | Path, out: str | Path) -> int:
    """Write what an unfinished MCAP recording holds to a new one; the old one stays as it is.

    Everything up to the last complete chunk is kept, with its types and qualities of service.

    Args:
        path: the ``.partial`` folder, a directory without metadata, or a truncated ``.mcap`` file.
        out: as for :class:`RecordingWriter`.

    Returns:
        How many messages were saved.

    Raises:
        UserError: there is nothing to save, or ``out`` exists.
    """
    path = Path(path)
    storage = path if path.is_file() else _storage_file(path)
    if storage is None:
        raise UserError(f"{path} holds no .mcap file to recover")
    out = Path(out)
    count = 0
    with RecordingWriter(out) as writer, tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        mended = Path(scratch, "mended.mcap")
        _mend(storage, mended)
        try:
            with Reader(mended) as reader:
                # read by scanning, for the messages of an interrupted recorder need not be in order
                for connection, stamp_ns, cdr in reader.storage.messages_scan(reader.connections):  # type: ignore[attr-defined]
                    writer.copy(connection, stamp_ns, cdr)
                    count += 1
        except UserError:
            raise
        except Exception as error:  # rosbags raises many kinds for a broken file
            raise UserError(f"{storage} cannot be recovered: {_one_line(error)}") from error
        if not count:
            raise UserError(f"{storage} holds no complete message")
    return count


def _storage_file(folder: Path) -> Path | None:
    if folder.suffix == PARTIAL_SUFFIX:
        return next(folder.glob(f"*/*{LONE_FILE_SUFFIX}"), None)
    # a recorder names the file after its folder; other files are recordings by themselves
    files = sorted(f for f in folder.glob(f"*{LONE_FILE_SUFFIX}") if f.name.startswith(folder.resolve().name))
    return files[0] if files else None


def _mend(storage: Path, mended: Path) -> None:
    """Copy all complete records of an MCAP file and end it as the format asks, without an index."""
    with storage.open("rb") as source, mended.open("wb") as target:
        length = _complete_length(source, storage.stat().st_size)
        source.seek(0)
        while length > 0 and (piece := source.read(min(length, 1 << 20))):
            target.write(piece)
            length -= len(piece)
        target.write(_MCAP_RECORD.pack(_MCAP_DATA_END, 4) + bytes(4))
        target.write(_MCAP_RECORD.pack(_MCAP_FOOTER, 20) + bytes(20) + _MCAP_MAGIC)


def _complete_length(file: BinaryIO, size: int) -> int:
    position = len(_MCAP_MAGIC)
    while True:
        file.seek(position)
        head = file.read(_MCAP_RECORD.size)
        if len(head) < _MCAP_RECORD.size:
            return position
        opcode, length = _MCAP_RECORD.unpack(head)
        end = position + _MCAP_RECORD.size + length
        if opcode in (_MCAP_DATA_END, _MCAP_FOOTER) or end > size:
            return position
        position = end


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

"""Follows landmarks through the newest frame with the selected model."""

import secrets
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros import interface
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import ImageGeometry, Mount
from lmtrack_ros.core.records import Frame, Landmark, LatencyStamps, MarkedLandmarks, Reason
from lmtrack_ros.nodes.counters import Counters
from lmtrack_ros.nodes.mailbox import Mailbox
from lmtrack_ros.nodes.sole_publisher import SolePublisher
from lmtrack_ros.ros import qos
from lmtrack_ros.ros.convert import make, message_class
from lmtrack_ros.ros.image import read_image
from lmtrack_ros.ros.lifecycle import ManagedNode, run
from lmtrack_ros.ros.parameters import reject_unknown
from lmtrack_ros.ros.synchronizer import time_synchronizer
from lmtrack_ros.trackers import parameters_class, tracker_names
from lmtrack_ros.trackers.parameters import TrackerParameters
from lmtrack_ros.trackers.selection import create_follower

# how many past frames landmarks may still be marked on, and how much memory these may take
_BUFFERED_FRAMES, _BUFFERED_BYTES = 32, 256 * 2**20
_JOIN_S = 5.0
_Reader = Callable[[Any], NDArray[np.generic]]
_READERS: Mapping[str, _Reader] = MappingProxyType({"image": read_image, "volume": interface.read_volume})
# what stands for the pixels of an image that cannot be read: like no frame that landmarks were marked on
_UNREADABLE = np.zeros((0, 0), np.uint8)


class TrackerNode(ManagedNode):
    """Subscribes to image, volume and image_geometry; publishes landmarks for the newest frame.

    Once there are landmarks to follow, every frame is answered, if only with what is wrong with it, and of
    radiographs that are registered with a plan every pair; a model that fails is silent.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__("tracker", **arguments)
        self._settings = self.declare(TrackerParameters)
        self._groups = {name: self._declare_group(name) for name in self._settings.used_trackers}
        # a configuration may keep the parameters of trackers that do not run
        reject_unknown(self, [name for name in tracker_names() if name not in self._groups])
        self._geometry: ImageGeometry | None = None
        self._buffer: OrderedDict[int, Frame] = OrderedDict()
        self._pending: MarkedLandmarks | None = None
        self._lock = threading.Lock()
        self._counts = {"frames_received": 0, "frames_tracked": 0, "frames_skipped": 0}
        self._worker: threading.Thread | None = None

    def _declare_group(self, tracker: str) -> Mapping[str, Any]:
        return asdict(self.declare(parameters_class(tracker), f"{tracker}."))

    def configure(self) -> None:
        """Make the model ready, in a new session."""
        session = secrets.randbits(63) | 1
        self._follower = create_follower(self._settings, self._groups, session)
        self._sole_publishers = {topic: SolePublisher() for topic in _READERS}
        self._pending = self._settings.marked
        self._publisher = self.publisher("landmarks")
        self._counters = Counters(self, lambda: {**self._counts, **self._follower.remarks})

    def activate(self) -> None:
        """Start to listen and to follow."""
        views = bool(self._settings.registration.names)
        # both images of a pair come at once, and neither says anything without the other
        self._mailbox: Mailbox[Frame] = Mailbox(slots=2 if views else 1)
        if views or self._settings.moving_imager:
            geometry = message_class(interface.TOPIC_TYPES["image_geometry"]), "image_geometry", qos.STREAM
            for topic, read in _READERS.items():
                images = message_class(interface.TOPIC_TYPES[topic]), topic, qos.IMAGES
                for subscription in time_synchronizer(
                    self, (images, geometry), partial(self._on_pair, read=read)
                ):
                    self.keep_while_active(subscription)
        else:
            for topic in _READERS:
                self.subscribe(topic, partial(self._on_image, topic=topic))
            self.subscribe("image_geometry", self._on_geometry)
        self.subscribe("initial_landmarks", self._on_initial_landmarks)
        service = message_class("lmtrack_ros/srv/InitializeLandmarks")
        self.serve(service, "initialize_landmarks", self._on_initialize)
        self._counters.start()
        self._worker = threading.Thread(target=self._work, name="tracker", daemon=True)
        self._worker.start()
        self.get_logger().info(f"{self._follower.name}: waiting for frames on 'image' or 'volume'")

    def deactivate(self) -> None:
        """End the worker and say what was counted."""
        self._mailbox.close()
        if self._worker is not None:
            self._worker.join(_JOIN_S)
            if self._worker.is_alive():
                self.get_logger().error("the model does not stop")
        self._counters.publish()
        with self._lock:
            self._buffer.clear()

    # callbacks -----------------------------------------------------------------------------------

    def _on_geometry(self, msg: Any) -> None:
        try:
            geometry = interface.read_image_geometry(msg)
        except UserError as error:
            # without geometry there are no positions, and the gate holds
            self._geometry = None
            self.get_logger().error(str(error))
            return
        if geometry.mount is Mount.PATIENT:
            self._geometry = None
            self.get_logger().error("the imager is hand-held: set moving_imager", once=True)
            return
        self._geometry = geometry

    def _on_image(self, msg: Any, info: Mapping[str, Any], topic: str) -> None:
        self._sole_publishers[topic].add(info["publication_sequence_number"])
        self._accept(msg, self._geometry, _READERS[topic])

    def _on_pair(self, image: Any, msg: Any, read: _Reader) -> None:
        try:
            geometry = interface.read_image_geometry(msg)
        except UserError as error:
            geometry = None
            self.get_logger().error(str(error), throttle_duration_sec=5.0)
        self._accept(image, geometry, read)

    def _accept(self, msg: Any, geometry: ImageGeometry | None, read: _Reader) -> None:
        received_ns = self.now_ns()
        try:
            pixels = read(msg)
        except UserError as error:
            pixels = _UNREADABLE
            self.get_logger().error(str(error), throttle_duration_sec=5.0)
        self._counts["frames_received"] += 1
        frame = Frame(interface.stamp_ns(msg.header.stamp), pixels, geometry, received_ns)
        if pixels is not _UNREADABLE:
            self._buffer_frame(frame)
        self._counts["frames_skipped"] += self._mailbox.put(frame)

    def _buffer_frame(self, frame: Frame) -> None:
        with self._lock:
            self._buffer[frame.stamp_ns] = frame
            sizes = [one.image.nbytes for one in self._buffer.values()]
            # the newest one stays, however large
            while len(sizes) > 1 and (len(sizes) > _BUFFERED_FRAMES or sum(sizes) > _BUFFERED_BYTES):
                sizes.pop(0)
                self._buffer.popitem(last=False)

    def _on_initial_landmarks(self, msg: Any) -> None:
        try:
            reason = self._request(interface.read_initial_landmarks(msg))
        except UserError as error:
            reason = str(error)
        if reason:
            self.get_logger().error(f"initial_landmarks: {reason}")

    def _on_initialize(self, request: Any, response: Any) -> Any:
        dimensions = len(request.pixels) // len(request.ids) if request.ids else 0
        if dimensions not in (2, 3) or len(request.pixels) != dimensions * len(request.ids):
            response.message = "pixels needs column and row (and slice) for each id"
            return response
        axes = list(request.axes) or [True] * len(request.pixels)
        if len(axes) != len(request.pixels):
            response.message = "axes needs one value for each value in pixels, or none"
            return response
        landmarks = tuple(
            Landmark(
                name,
                tuple(request.pixels[i * dimensions : (i + 1) * dimensions]),
                tuple(axes[i * dimensions : (i + 1) * dimensions]),
            )
            for i, name in enumerate(request.ids)
        )
        response.message = self._request(MarkedLandmarks(landmarks, interface.stamp_ns(request.stamp)))
        response.accepted = not response.message
        return response

    def _request(self, marked: MarkedLandmarks) -> str:
        """Hand landmarks to the worker; returns why not, or an empty text."""
        with self._lock:
            frame = self._buffer.get(marked.stamp_ns)
            newest_ns = next(reversed(self._buffer), 0)
            if marked.stamp_ns and frame is None and marked.stamp_ns <= newest_ns:
                return "the frame of that stamp is not among the last ones received"
            known = frame or next(reversed(self._buffer.values()), None)
            if reason := _misfit(marked.landmarks, known):
                return reason
            self._pending = marked
        return ""

    # the worker's thread -------------------------------------------------------------------------

    def _work(self) -> None:
        while (frame := self._mailbox.take()) is not None:
            # the geometry may arrive after the first frames that it holds for
            frame = self._located(frame)
            if frame.geometry is None:
                self.get_logger().warning("waiting for 'image_geometry'", once=True)
            try:
                self._initialize_if_asked(frame)
                if self._follower.landmark_ids:
                    self._publish(frame)
            except Exception as error:
                # the gate holds on silence; the next frame may do better
                self.get_logger().error(f"tracker failed on a frame: {error!r}", throttle_duration_sec=5.0)

    def _located(self, frame: Frame) -> Frame:
        return frame if frame.geometry else replace(frame, geometry=self._geometry)

    def _initialize_if_asked(self, newest: Frame) -> None:
        try:
            marked = self._take_pending(newest)
            if marked is not None:
                self._follower.initialize(*marked)
                self.get_logger().info(f"following {', '.join(self._follower.landmark_ids)}")
        except UserError as error:
            # what was followed before is followed still
            self.get_logger().error(str(error))

    def _take_pending(self, newest: Frame) -> tuple[Frame, Sequence[Landmark]] | None:
        """Return the frame and the landmarks to start from, or None where it is too early for that."""
        with self._lock:
            pending = self._pending
            if pending is None or newest.geometry is None:
                return None
            frame = newest if pending.stamp_ns == 0 else self._buffer.get(pending.stamp_ns)
            if frame is None and pending.stamp_ns < newest.stamp_ns:
                self._pending = None
                raise UserError("the frame that the landmarks are marked on never arrived")
            if frame is None or frame.image is _UNREADABLE:
                return None
            self._pending = None
        frame = self._located(frame)
        if frame.geometry is None:
            raise UserError("the frame that the landmarks are marked on has no geometry")
        return frame, pending.landmarks

    def _publish(self, frame: Frame) -> None:
        landmarks = self._follower.update(frame)
        if landmarks is None:
            return
        stamps = LatencyStamps(frame.stamp_ns, frame.received_ns, self.now_ns())
        doubled = any(one.is_doubled for one in self._sole_publishers.values())
        faults = Reason.SECOND_PUBLISHER if doubled else Reason(0)
        answer = replace(landmarks, stamps=stamps, faults=landmarks.faults | faults)
        self._publisher.publish(interface.landmark_array(make, answer))
        self._counts["frames_tracked"] += 1


def _misfit(landmarks: Sequence[Landmark], frame: Frame | None) -> str:
    """Return why these landmarks cannot be followed (in that frame, where it is known), or an empty text."""
    ids = [landmark.id for landmark in landmarks]
    if len(set(ids)) != len(ids) or not all(ids):
        return f"the names of the landmarks must be given and distinct, got {', '.join(ids)}"
    for landmark in landmarks:
        if not any(landmark.axes):
            return f"landmark '{landmark.id}' is defined on no axis"
        uv = np.array(landmark.uv_px)
        size = np.array(frame.image.shape[::-1]) if frame else np.full(len(uv), np.inf)
        if len(uv) != len(size) or not ((uv >= 0) & (uv <= size - 1) & np.isfinite(uv)).all():
            extent = "" if frame is None else " of " + "x".join(str(n) for n in size) + " px"
            return f"landmark '{landmark.id}' at {landmark.uv_px} is outside the image{extent}"
    return ""


def main() -> int:
    """Run the node."""
    return run(TrackerNode)


if __name__ == "__main__":
    sys.exit(main())

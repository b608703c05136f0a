"""Publishes the frames of any source: a file, a recording, a camera, or a phantom on the couch."""

import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rosgraph_msgs.msg import Clock

from lmtrack_ros import interface
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array, View
from lmtrack_ros.core.geometry import ImageGeometry, Modality
from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S, Frame, Landmark, MarkedLandmarks
from lmtrack_ros.gating.couch_history import CouchHistory
from lmtrack_ros.nodes.counters import Counters
from lmtrack_ros.phantoms import open_phantom
from lmtrack_ros.phantoms.phantom import Phantom
from lmtrack_ros.phantoms.ultrasound import UltrasoundParameters
from lmtrack_ros.recording import IMAGER_FRAME
from lmtrack_ros.ros import qos
from lmtrack_ros.ros.convert import make, message_class
from lmtrack_ros.ros.lifecycle import ManagedNode, logged, run
from lmtrack_ros.ros.tf import TransformPublisher
from lmtrack_ros.sources import CAMERA_PREFIX, PHANTOM_PREFIX, Source, open_source
from lmtrack_ros.sources.landmarks import marked_landmarks

_CLOCK_PERIOD_S = 0.005
_SUBSCRIBER_POLL_S = 0.05
# a subscriber that was just discovered may still miss a best-effort message
_DISCOVERY_GRACE_S = 0.5
_MAX_COUCH_AGE_MS = 200.0


@dataclass(frozen=True)
class SourceParameters:
    """Where frames come from and how they are played."""

    uri: str = parameter("phantom:ultrasound", "folder, file, recording, camera:N or phantom:NAME")
    modality: str = parameter(
        "", "what made the images, where the source does not say", choices=("", *(m.value for m in Modality))
    )
    spacing_mm: tuple[float, ...] = parameter(
        (), "pixel pitch along columns and rows, likewise, mm", minimum=0.0
    )
    rate_hz: float = parameter(
        0.0, "frame rate, likewise, Hz; 0: as the source says", minimum=0.0, maximum=1000.0
    )
    view: str = parameter(
        "", "how the image plane stands in the room, likewise", choices=("", *(v.value for v in View))
    )
    imaging_latency_ms: float = parameter(
        0.0,
        "time from mid-exposure to the frame's arrival, ms: taken off a camera's arrival times, "
        "waited for by every other source",
        minimum=0.0,
        maximum=5000.0,
    )
    speed: float = parameter(1.0, "of a replay, in multiples of real time", minimum=0.01, maximum=100.0)
    publish_clock: bool = parameter(
        False, "publish the recorded time on /clock and keep the recorded stamps; others then use_sim_time"
    )
    wait_for_subscriber: bool = parameter(True, "publish the first frame only when someone listens")
    ultrasound: UltrasoundParameters = field(default_factory=UltrasoundParameters)


class ImageSource(ManagedNode):
    """Publishes image, image_geometry, and where they are known initial_landmarks and truth."""

    def __init__(self, **arguments: object) -> None:
        super().__init__("image_source", **arguments)
        self._settings = self.declare(SourceParameters)
        self.reject_unknown_parameters()
        self._couch = CouchHistory(_MAX_COUCH_AGE_MS)
        self._couch_lock = threading.Lock()
        self._stopping = threading.Event()
        self._player: threading.Thread | None = None
        self._counts = {"frames_published": 0}
        self.finished = threading.Event()
        """Set when a source that ends has ended."""

    @logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the source."""
        p = self._settings
        self._source: Source
        if p.uri.startswith(PHANTOM_PREFIX):
            self._source = self._phantom = open_phantom(p.uri.removeprefix(PHANTOM_PREFIX), p.ultrasound)
        else:
            self._source = open_source(
                p.uri,
                modality=p.modality or None,
                spacing_mm=p.spacing_mm or None,
                rate_hz=p.rate_hz or None,
                view=p.view or None,
                latency_ms=p.imaging_latency_ms,
            )
        self._images = self._publisher("image", qos.IMAGES)
        self._volumes = self._publisher("volume", qos.IMAGES)
        self._geometries = self._publisher("image_geometry", qos.LATCHED)
        self._initial = self._publisher("initial_landmarks", qos.LATCHED)
        self._truth = self._publisher("truth", qos.STREAM)
        self._clock_publisher = self.create_publisher(Clock, "/clock", 1) if p.publish_clock else None
        self._transforms = TransformPublisher(self, static=True)
        return TransitionCallbackReturn.SUCCESS

    @logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to play."""
        self._counters = Counters(self, self._counts)
        self._couch_subscription = self.create_subscription(
            message_class("lmtrack_ros/msg/CouchStatus"),
            "couch_status",
            self._on_couch,
            qos.STREAM,
        )
        self._stopping.clear()
        self._player = threading.Thread(target=self._play, name="player", daemon=True)
        result = super().on_activate(state)
        self._player.start()
        return result

    @logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop to play."""
        self._stop_playing()
        self.destroy_subscription(self._couch_subscription)
        self._counters.close()
        return super().on_deactivate(state)

    @logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the source."""
        self._source.close()
        return TransitionCallbackReturn.SUCCESS

    def finish(self) -> None:
        """Stop to play and say how many frames there were."""
        if self._player is not None:
            self._stop_playing()
            self._counters.publish()

    def _publisher(self, topic: str, profile: object) -> object:
        return self.create_lifecycle_publisher(message_class(interface.TOPIC_TYPES[topic]), topic, profile)

    def _on_couch(self, msg: Any) -> None:
        with self._couch_lock:
            self._couch.add(interface.read_couch_status(msg))

    def _couch_position_mm(self, stamp_ns: int) -> Array:
        """Return the (3,) couch position of a moment; zero where no couch reports."""
        with self._couch_lock:
            position = self._couch.position_mm(stamp_ns)
        return np.zeros(3) if position is None else position

    def _stop_playing(self) -> None:
        self._stopping.set()
        if self._player is not None:
            self._player.join()

    # the player's thread -------------------------------------------------------------------------

    def _play(self) -> None:
        try:
            if self._await_subscriber():
                self._play_source()
        except UserError as error:
            self.failure = str(error)
        except Exception:
            self.failure = f"playing {self._settings.uri} failed"
            self.get_logger().error(f"{self.failure}:\n{traceback.format_exc()}")
        self.finished.set()

    def _await_subscriber(self) -> bool:
        """Wait until someone listens, where that is asked for; returns whether to play."""
        waits = self._settings.wait_for_subscriber
        self.get_logger().info(
            f"playing {self._settings.uri}" + (", waiting for a subscriber of 'image'" if waits else "")
        )
        if not waits:
            return True
        while not self._images.get_subscription_count() and not self._volumes.get_subscription_count():
            if self._stopping.wait(_SUBSCRIBER_POLL_S):
                return False
        return not self._stopping.wait(_DISCOVERY_GRACE_S)

    def _play_source(self) -> None:
        uri = self._settings.uri
        if uri.startswith(CAMERA_PREFIX):
            self._play_live()
        elif uri.startswith(PHANTOM_PREFIX):
            self._play_phantom(self._phantom)
        else:
            self._play_recorded()

    def _play_live(self) -> None:
        for frame in self._source:
            if self._stopping.is_set():
                return
            self._publish(frame)

    def _play_phantom(self, phantom: Phantom) -> None:
        """Expose at regular times; publish each frame when its imaging latency has passed.

        By then the couch has reported where it was at the exposure.
        """
        latency_ns = int(self._settings.imaging_latency_ms * NS_PER_MS)
        period_ns = round(NS_PER_S / phantom.info.rate_hz)
        start_ns = self.now_ns()
        render_ns = 0
        for index in count():
            stamp_ns = start_ns + index * period_ns
            time_s = index * period_ns / NS_PER_S
            if self._sleep_until(self.now_ns, stamp_ns + max(0, latency_ns - render_ns)):
                return
            began_ns = time.monotonic_ns()
            couch_mm = self._couch_position_mm(stamp_ns)
            frame = phantom.render(stamp_ns, time_s, couch_mm)
            # the slowest rendering so far, forgotten slowly
            render_ns = max(time.monotonic_ns() - began_ns, int(0.98 * render_ns))
            if self._sleep_until(self.now_ns, stamp_ns + latency_ns):
                return
            truth = phantom.truth(stamp_ns, time_s, couch_mm)
            landmarks = [Landmark(e.id, e.uv_px) for e in truth.estimates]
            self._publish(frame, landmarks if index == 0 else ())
            self._truth.publish(interface.landmark_array(make, truth))

    def _play_recorded(self) -> None:
        """Publish each frame when its time has come, restamped to now unless /clock is ours."""
        p = self._settings
        latency_ns = int(p.imaging_latency_ms * NS_PER_MS)
        frames: Iterator[Frame] = iter(self._source)
        first = next(frames, None)
        if first is None:
            return
        marked = marked_landmarks(Path(p.uri))
        began_ns = time.monotonic_ns()

        def elapsed_ns() -> int:
            return int((time.monotonic_ns() - began_ns) * p.speed)

        restamp_ns = 0 if p.publish_clock else self.now_ns() - first.stamp_ns
        frame: Frame | None = first
        while frame is not None:
            due_ns = frame.stamp_ns - first.stamp_ns + latency_ns
            if self._sleep_until(elapsed_ns, due_ns, first.stamp_ns):
                return
            # faster or slower than real time, stamps follow the time of day
            stamp_ns = frame.stamp_ns
            if restamp_ns:
                stamp_ns = first.stamp_ns + restamp_ns + int((frame.stamp_ns - first.stamp_ns) / p.speed)
            is_marked = marked.landmarks and frame.stamp_ns >= marked.stamp_ns
            self._publish(replace(frame, stamp_ns=stamp_ns), marked.landmarks if is_marked else ())
            if is_marked:
                marked = MarkedLandmarks()
            frame = next(frames, None)
        self.get_logger().info(f"{p.uri} has ended after {self._counts['frames_published']} frames")

    def _sleep_until(self, clock_ns: Callable[[], int], due_ns: int, clock_base_ns: int = 0) -> bool:
        """Wait, publishing /clock where it is ours; returns whether to stop."""
        while True:
            now_ns = clock_ns()
            if self._clock_publisher is not None:
                sec, nanosec = divmod(clock_base_ns + min(now_ns, due_ns), NS_PER_S)
                self._clock_publisher.publish(
                    Clock(clock=make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec))
                )
            if now_ns >= due_ns:
                return self._stopping.is_set()
            wait_s = (due_ns - now_ns) / NS_PER_S / self._settings.speed
            if self._stopping.wait(min(wait_s, _CLOCK_PERIOD_S) if self._clock_publisher else wait_s):
                return True

    def _publish(self, frame: Frame, landmarks: Sequence[Landmark] = ()) -> None:
        self._publish_geometry(frame)
        if landmarks:
            marked = MarkedLandmarks(tuple(landmarks), frame.stamp_ns)
            self._initial.publish(interface.initial_landmarks(make, marked, IMAGER_FRAME))
        if frame.image.ndim == 2:
            self._images.publish(interface.image(make, frame.image, frame.stamp_ns, IMAGER_FRAME))
        else:
            self._volumes.publish(interface.volume(make, frame.image, frame.stamp_ns, IMAGER_FRAME))
        self._counts["frames_published"] += 1

    def _publish_geometry(self, frame: Frame) -> None:
        geometry: ImageGeometry | None = frame.geometry
        if geometry is None or geometry is self._published_geometry:
            return
        self._published_geometry = geometry
        message = interface.image_geometry(make, geometry, frame.stamp_ns, IMAGER_FRAME)
        self._geometries.publish(message)
        self._transforms.publish(geometry.frame_id, IMAGER_FRAME, geometry.pose, message.header.stamp)

    _published_geometry: ImageGeometry | None = None


def main() -> int:
    """Run the node."""
    return run(ImageSource)


if __name__ == "__main__":
    sys.exit(main())

"""Publishes the frames of any source: a file, a recording, a camera, or a phantom on the couch."""

import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lmtrack_ros import interface
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.geometry import ImageGeometry, Mount
from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S, Frame, Landmark, MarkedLandmarks
from lmtrack_ros.gating.couch_history import CouchHistory
from lmtrack_ros.nodes.counters import Counters
from lmtrack_ros.phantoms import Phantom, open_phantom
from lmtrack_ros.recording import IMAGER_FRAME
from lmtrack_ros.ros.convert import make
from lmtrack_ros.ros.lifecycle import ManagedNode, run
from lmtrack_ros.ros.tf import TransformPublisher
from lmtrack_ros.sources import CAMERA_PREFIX, PHANTOM_PREFIX, Source, open_source
from lmtrack_ros.sources.landmarks import marked_landmarks
from lmtrack_ros.sources.parameters import SourceParameters

_CLOCK_PERIOD_S = 0.005
_SUBSCRIBER_POLL_S = 0.05
# a subscriber that was just discovered may still miss a best-effort message
_DISCOVERY_GRACE_S = 0.5
_MAX_COUCH_AGE_MS = 200.0
_JOIN_S = 5.0


class ImageSource(ManagedNode):
    """Publishes image, image_geometry, and where they are known initial_landmarks and truth."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__("image_source", **arguments)
        self._settings = self.declare(SourceParameters)
        self.reject_unknown_parameters()
        self._couch = CouchHistory(_MAX_COUCH_AGE_MS)
        self._couch_lock = threading.Lock()
        self._couch_mm: Array = np.zeros(3)
        self._stopping = threading.Event()
        self._player: threading.Thread | None = None
        self._counts = {"frames_published": 0}
        self.finished = threading.Event()
        """Set when a source that ends has ended."""

    def configure(self) -> None:
        """Open the source."""
        p = self._settings
        self._source: Source
        if p.uri.startswith(PHANTOM_PREFIX):
            self._source = self._phantom = open_phantom(p.uri.removeprefix(PHANTOM_PREFIX), p.phantom)
            # much is made with the first picture: it would come late
            self._phantom.exposed(1, 0.0)
        else:
            self._source = open_source(
                p.uri,
                modality=p.modality or None,
                spacing_mm=p.spacing_mm or None,
                rate_hz=p.rate_hz or None,
                view=p.view or None,
                sad_mm=p.sad_mm or None,
                sid_mm=p.sid_mm or None,
                latency_ms=p.imaging_latency_ms,
            )
        self._images = self.publisher("image")
        self._volumes = self.publisher("volume")
        self._geometries = self.publisher("image_geometry")
        self._initial = self.publisher("initial_landmarks")
        self._truth = self.publisher("truth")
        self._clock_publisher = self.publisher("/clock") if p.publish_clock else None
        self._clock_ns = 0
        self._counters = Counters(self, lambda: self._counts)
        self._fixed_transform = TransformPublisher(self, static=True)
        self._moving_transform = TransformPublisher(self)
        self._published_geometry: ImageGeometry | None = None

    def activate(self) -> None:
        """Start to play."""
        self.subscribe("couch_status", self._on_couch)
        self._counters.start()
        self._stopping.clear()
        self.finished.clear()
        self._player = threading.Thread(target=self._play, name="player", daemon=True)
        self._player.start()

    def deactivate(self) -> None:
        """Stop to play and say how many frames there were."""
        self._stopping.set()
        if self._player is not None:
            self._player.join(_JOIN_S)
            if self._player.is_alive():
                self.get_logger().error(f"{self._settings.uri} does not stop: its driver hangs")
        self._counters.publish()

    def cleanup(self) -> None:
        """Close the source."""
        self._source.close()

    def _on_couch(self, msg: Any) -> None:
        with self._couch_lock:
            self._couch.add(interface.read_couch_status(msg))

    def _couch_position_mm(self, stamp_ns: int) -> Array:
        """Return the (3,) couch position of a moment: the last known one, zero where no couch reports."""
        with self._couch_lock:
            position = self._couch.position_mm(stamp_ns)
        if position is not None:
            self._couch_mm = position
        return self._couch_mm

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
        # a replay's time goes on, so that the gate sees the silence
        while self._clock_publisher is not None and not self._stopping.wait(_CLOCK_PERIOD_S):
            self._publish_clock(self._clock_ns + int(_CLOCK_PERIOD_S * NS_PER_S * self._settings.speed))

    def _await_subscriber(self) -> bool:
        """Wait until as many listen as are asked for; returns whether to play."""
        wanted = self._settings.wait_for_subscribers
        waits = f", waiting for {wanted} to subscribe to 'image' or 'volume'" if wanted else ""
        self.get_logger().info(f"playing {self._settings.uri}{waits}")
        if not wanted:
            return True
        publishers = (self._images, self._volumes)
        while max(publisher.get_subscription_count() for publisher in publishers) < wanted:
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

        By then the couch has reported where it was at the exposure. Exposures that the machine is too slow
        for are left out: frames that come later and later would be of no use.
        """
        latency_ns = int(self._settings.imaging_latency_ms * NS_PER_MS)
        period_ns = round(NS_PER_S / phantom.info.rate_hz)
        start_ns = self.now_ns()
        render_ns = 0
        is_first = True
        index = -1
        while True:
            overdue = (self.now_ns() - latency_ns - start_ns) // period_ns
            index = max(index + 1, overdue)
            stamp_ns = start_ns + index * period_ns
            time_s = index * period_ns / NS_PER_S
            if self._sleep_until(self.now_ns, stamp_ns + max(0, latency_ns - render_ns)):
                return
            began_ns = time.monotonic_ns()
            couch_mm = self._couch_position_mm(stamp_ns)
            frames = phantom.exposed(stamp_ns, time_s, couch_mm)
            # the slowest rendering so far, forgotten slowly
            render_ns = max(time.monotonic_ns() - began_ns, int(0.98 * render_ns))
            if self._sleep_until(self.now_ns, stamp_ns + latency_ns):
                return
            for frame in frames:
                self._publish(frame, phantom.landmarks(time_s, couch_mm) if is_first else ())
                is_first = False
                truth = phantom.truth(frame.stamp_ns, time_s, couch_mm)
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
                self._publish_clock(clock_base_ns + min(now_ns, due_ns))
            if now_ns >= due_ns:
                return self._stopping.is_set()
            wait_s = (due_ns - now_ns) / NS_PER_S / self._settings.speed
            if self._stopping.wait(min(wait_s, _CLOCK_PERIOD_S) if self._clock_publisher else wait_s):
                return True

    def _publish_clock(self, now_ns: int) -> None:
        assert self._clock_publisher is not None
        self._clock_ns = now_ns
        self._clock_publisher.publish(interface.clock(make, now_ns))

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
        geometry = frame.geometry
        if geometry is None:
            return
        moving = geometry.mount is Mount.PATIENT
        if geometry is self._published_geometry and not moving:
            return
        self._published_geometry = geometry
        message = interface.image_geometry(make, geometry, frame.stamp_ns, IMAGER_FRAME)
        self._geometries.publish(message)
        transforms = self._moving_transform if moving else self._fixed_transform
        transforms.publish(geometry.frame_id, IMAGER_FRAME, geometry.pose, message.header.stamp)


def main() -> int:
    """Run the node."""
    return run(ImageSource)


if __name__ == "__main__":
    sys.exit(main())

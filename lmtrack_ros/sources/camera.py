"""A live camera or frame grabber."""

import logging
import time
from collections.abc import Callable, Iterator

import cv2

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import NS_PER_MS, Frame
from lmtrack_ros.sources.options import SourceOptions
from lmtrack_ros.sources.source import SourceInfo
from lmtrack_ros.sources.stream import GuardedSource, Unreadable, grey_of_colour

logger = logging.getLogger(__name__)

wall_clock_ns = time.time_ns

_FAILURES_TO_END = 10


class CameraSource(GuardedSource):
    """Frames as (H, W) uint8, stamped with their arrival minus the latency of the imaging chain.

    The stream ends when the device delivers nothing ten times in a row, as when it is unplugged.

    Args:
        device: a number, or a path such as ``/dev/video0``.
        options: must give modality and spacing, and the rate where the device does not say it.
        latency_ms: from mid-exposure to arrival.
        clock: ns since the epoch.

    Raises:
        UserError: the device does not open or delivers no frame, or an option is missing.
    """

    def __init__(
        self,
        device: str,
        options: SourceOptions,
        *,
        latency_ms: float = 0.0,
        clock: Callable[[], int] = wall_clock_ns,
    ) -> None:
        name = f"camera {device}"
        self._clock = clock
        self._latency_ns = round(latency_ms * NS_PER_MS)
        self._capture = cv2.VideoCapture(int(device) if device.isdecimal() else device)
        # a queued frame would be stamped later than it was taken
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        ok, image = self._capture.read()
        try:
            if not ok:
                raise UserError(f"{name} delivers no frame: check that it is plugged in and free")
            stated_hz = self._capture.get(cv2.CAP_PROP_FPS)
            rate_hz = options.rate(name, stated_hz if stated_hz > 0 else None)
            geometry = options.geometry(name, image.shape[:2])
        except UserError:
            self._capture.release()
            raise
        super().__init__(SourceInfo(name, geometry, rate_hz, None))

    def _read(self) -> Iterator[Frame | Unreadable]:
        failures = 0
        while self._capture.isOpened() and failures < _FAILURES_TO_END:
            ok, image = self._capture.read()
            received_ns = self._clock()
            if not ok:
                failures += 1
                yield Unreadable("the device delivered nothing")
                continue
            failures = 0
            pixels = grey_of_colour(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
            yield Frame(received_ns - self._latency_ns, pixels, self.info.geometry, received_ns)
        if failures:
            logger.error(
                "%s: the stream has ended, no frame came %d times in a row", self.info.name, failures
            )

    def close(self) -> None:
        """Give the device back."""
        self._capture.release()

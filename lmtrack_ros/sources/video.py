"""A video file: frames at the times that its container gives them."""

from collections.abc import Iterator
from pathlib import Path

import cv2

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import Frame
from lmtrack_ros.sources.options import SourceOptions
from lmtrack_ros.sources.source import SourceInfo
from lmtrack_ros.sources.stream import GuardedSource, Unreadable, grey_of_colour, stamp_at

SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".m4v", ".webm", ".mpg", ".mpeg", ".wmv")

_MS_PER_S = 1000.0


class VideoSource(GuardedSource):
    """Frames of a video file as (H, W) uint8.

    Args:
        path: the file.
        options: must give modality and spacing; a rate replaces the container's times.
        name: for logs and recordings.

    Raises:
        UserError: the file cannot be opened or holds no frame, or an option is missing.
    """

    def __init__(self, path: Path, options: SourceOptions, name: str) -> None:
        self._path = path
        self._even_rate_hz = options.rate_hz
        capture = cv2.VideoCapture(str(path))
        try:
            ok, image = capture.read()
            if not ok:
                raise UserError(f"{path} cannot be read as a video: it is broken or its codec is unknown")
            stated_hz = capture.get(cv2.CAP_PROP_FPS)
            stated_frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        finally:
            capture.release()
        geometry = options.geometry(name, image.shape[:2])
        rate_hz = options.rate(name, stated_hz if stated_hz > 0 else None)
        super().__init__(SourceInfo(name, geometry, rate_hz, stated_frames if stated_frames > 0 else None))

    def _read(self) -> Iterator[Frame | Unreadable]:
        capture = cv2.VideoCapture(str(self._path))
        index = 0
        try:
            while True:
                ok, image = capture.read()
                if not ok:
                    break
                if self._even_rate_hz is None:
                    seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / _MS_PER_S
                else:
                    seconds = index / self._even_rate_hz
                stamp_ns = stamp_at(seconds)
                pixels = grey_of_colour(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
                yield Frame(stamp_ns, pixels, self.info.geometry, stamp_ns)
                index += 1
        finally:
            capture.release()
        if self.info.frames is not None and index < self.info.frames:
            yield Unreadable(f"{self._path} ends after {index} of the {self.info.frames} frames it promises")

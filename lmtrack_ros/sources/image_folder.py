"""A folder of still images, one per frame, in the natural order of their names."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import Frame
from lmtrack_ros.sources.options import SourceOptions
from lmtrack_ros.sources.source import SourceInfo
from lmtrack_ros.sources.stream import GuardedSource, Unreadable, grey, grey_of_colour, stamp_at

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".pgm")


class ImageFolderSource(GuardedSource):
    """Frames from image files, evenly spaced in time; colour becomes grey.

    A frame keeps the time of its place among the files where others are skipped.

    Args:
        files: in order.
        options: must give modality, spacing and rate.
        name: for logs and recordings.

    Raises:
        UserError: no file is an image, or an option is missing.
    """

    def __init__(self, files: Sequence[Path], options: SourceOptions, name: str) -> None:
        self._files = files
        self._rate_hz = options.rate(name)
        first = next((image for image in map(_load, files) if image is not None), None)
        if first is None:
            raise UserError(f"{name}: none of the {len(files)} image files can be read, such as {files[0]}")
        geometry = options.geometry(name, first.shape)
        super().__init__(SourceInfo(name, geometry, self._rate_hz, len(files)))

    def _read(self) -> Iterator[Frame | Unreadable]:
        for index, file in enumerate(self._files):
            image = _load(file)
            if image is None:
                yield Unreadable(f"{file} is not an image")
                continue
            stamp_ns = stamp_at(index / self._rate_hz)
            yield Frame(stamp_ns, image, self.info.geometry, stamp_ns)


def _load(file: Path) -> NDArray[np.generic] | None:
    try:
        # imread cannot open names outside the code page on Windows and logs to stderr by itself
        encoded = np.fromfile(file, np.uint8)
        image = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) if encoded.size else None
    except (OSError, cv2.error):
        return None
    if image is None:
        return None
    if image.ndim == 3:
        return grey_of_colour(image, cv2.COLOR_BGRA2GRAY if image.shape[2] == 4 else cv2.COLOR_BGR2GRAY)
    return grey(image)

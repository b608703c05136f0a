"""MetaImage, NIfTI and NRRD files: a series x, y, t in one file, or one image or volume per file."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import SimpleITK
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import Modality
from lmtrack_ros.core.records import Frame
from lmtrack_ros.sources.options import SourceOptions
from lmtrack_ros.sources.source import SourceInfo
from lmtrack_ros.sources.stream import GuardedSource, Unreadable, grey, grey_of_colour, stamp_at

SUFFIXES = (".mha", ".mhd", ".nii", ".nii.gz", ".nrrd")


class MetaImageSource(GuardedSource):
    """Frames of one or more files that ITK reads, evenly spaced in time.

    The axis beyond those of a frame is time: x, y, t for images, x, y, z, t for volumes. Spacing
    is the header's where the user gives none; the rate always comes from the user, for the header
    does not say whether its last spacing is one in time.

    Args:
        files: in order.
        options: must give modality and rate; ``ultrasound_volume`` makes frames (D, H, W).
        name: for logs and recordings.

    Raises:
        UserError: the first file cannot be read, its dimension does not fit, or an option is missing.
    """

    def __init__(self, files: Sequence[Path], options: SourceOptions, name: str) -> None:
        self._files = files
        self._rate_hz = options.rate(name)
        self._frame_axes = 3 if options.modality is Modality.ULTRASOUND_VOLUME else 2
        try:
            # read now, so that a broken file is an error and not an empty stream
            self._first, spacing_mm = _load(files[0], self._frame_axes)
        except _UnreadableFileError as error:
            raise UserError(str(error)) from error
        geometry = options.geometry(name, self._first.shape[1:], spacing_mm=spacing_mm)
        frames = len(self._first) if len(files) == 1 else len(files) if len(self._first) == 1 else None
        super().__init__(SourceInfo(name, geometry, self._rate_hz, frames))

    def _read(self) -> Iterator[Frame | Unreadable]:
        index = 0
        for file in self._files:
            try:
                images = self._first if file is self._files[0] else _load(file, self._frame_axes)[0]
            except _UnreadableFileError as error:
                yield Unreadable(str(error))
                index += 1
                continue
            for image in images:
                stamp_ns = stamp_at(index / self._rate_hz)
                yield Frame(stamp_ns, image, self.info.geometry, stamp_ns)
                index += 1


class _UnreadableFileError(Exception):
    """A file that ITK cannot read, or whose dimension does not fit; the message is one line."""


def _load(file: Path, frame_axes: int) -> tuple[NDArray[np.generic], tuple[float, ...]]:
    """Return (N, [D,] H, W) frames and their (column, row[, slice]) spacing, mm."""
    try:
        image: Any = SimpleITK.ReadImage(str(file))
    except RuntimeError as error:
        raise _UnreadableFileError(
            f"{file} cannot be read: it is broken, incomplete or of another kind"
        ) from error
    axes = image.GetDimension()
    if axes not in (frame_axes, frame_axes + 1):
        raise _UnreadableFileError(
            f"{file} has {axes} axes; a series of {frame_axes}-D frames has {frame_axes} or {frame_axes + 1}"
        )
    pixels = SimpleITK.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        pixels = _luminance(pixels, file)
    pixels = grey(pixels)
    if axes == frame_axes:
        pixels = pixels[np.newaxis]
    return pixels, tuple(image.GetSpacing()[:frame_axes])


def _luminance(pixels: NDArray[np.generic], file: Path) -> NDArray[np.generic]:
    if pixels.shape[-1] != 3 or pixels.dtype != np.uint8:
        raise _UnreadableFileError(
            f"{file} has {pixels.shape[-1]} components per pixel; only grey and 8-bit RGB are read"
        )
    # all rows of all frames as one tall picture
    tall = pixels.reshape(-1, pixels.shape[-2], 3)
    return grey_of_colour(tall, cv2.COLOR_RGB2GRAY).reshape(pixels.shape[:-1])

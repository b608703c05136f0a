"""What every source shares: the guard over its stream, the origin of time, grey pixels."""

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.records import NS_PER_S, Frame
from lmtrack_ros.sources.source import SourceInfo

logger = logging.getLogger(__name__)

FIRST_STAMP_NS = NS_PER_S
"""Stamp of the first frame of a file without absolute times: one second, so that zero stays "not set"."""

PIXEL_TYPES = ("uint8", "uint16", "float32")


class Fault(str, Enum):
    """Why a frame was skipped."""

    UNREADABLE = "cannot be read"
    SIZE = "differs in size from the first"
    PIXEL_TYPE = "differs in pixel type from the first"
    TIME = "is not later than the one before"


@dataclass(frozen=True)
class Unreadable:
    """Stands in a raw stream for a frame that could not be read.

    Attributes:
        detail: which frame, and what is wrong with it.
    """

    detail: str


def guarded(raw: Iterator[Frame | Unreadable], name: str) -> Iterator[Frame]:
    """Yield the frames that fit: readable, of the first one's size and pixel type, later and later.

    The first skipped frame of each kind of fault is logged in full and the rest are counted; the
    counts are logged when the stream ends.

    Args:
        raw: what the source read.
        name: what the log calls the source.
    """
    skipped: Counter[Fault] = Counter()
    first: Frame | None = None
    last_ns = 0
    try:
        for index, item in enumerate(raw):
            fault, detail = _fault(item, first, last_ns)
            if fault is not None:
                skipped[fault] += 1
                if skipped[fault] == 1:
                    logger.warning("%s: frame %d %s and is skipped: %s", name, index, fault.value, detail)
                continue
            assert isinstance(item, Frame)
            first = first or item
            last_ns = item.stamp_ns
            yield item
    finally:
        for fault, count in skipped.items():
            if count > 1:
                logger.warning("%s: skipped %d frames that each %s", name, count, fault.value)


def _fault(item: Frame | Unreadable, first: Frame | None, last_ns: int) -> tuple[Fault | None, str]:
    if isinstance(item, Unreadable):
        return Fault.UNREADABLE, item.detail
    if first is None:
        return None, ""
    if item.image.shape != first.image.shape:
        return Fault.SIZE, f"{item.image.shape} instead of {first.image.shape}"
    if item.image.dtype != first.image.dtype:
        return Fault.PIXEL_TYPE, f"{item.image.dtype} instead of {first.image.dtype}"
    if item.stamp_ns <= last_ns:
        return Fault.TIME, f"{item.stamp_ns} ns after {last_ns} ns"
    return None, ""


_Self = TypeVar("_Self", bound="GuardedSource")


class GuardedSource(ABC):
    """A source whose frames pass the guard; a context manager that closes it.

    Args:
        info: what is known before the first frame.
    """

    def __init__(self, info: SourceInfo) -> None:
        self._info = info

    @property
    def info(self) -> SourceInfo:
        """What is known before the first frame."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames; a file starts from its first frame each time."""
        return guarded(self._read(), self._info.name)

    @abstractmethod
    def _read(self) -> Iterator[Frame | Unreadable]:
        """Yield what is there, unchecked."""

    def close(self) -> None:  # noqa: B027 - most sources hold nothing open
        """Give back files and devices; safe to call twice."""

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def stamp_at(seconds: float) -> int:
    """Return the stamp, ns, of a frame this long after the first one of its file."""
    return FIRST_STAMP_NS + round(seconds * NS_PER_S)


def grey(image: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return a grey image as uint8, uint16 or float32.

    Other integers and floats become float32, without scaling.

    Args:
        image: (..., H, W) grey.
    """
    if image.dtype.name in PIXEL_TYPES:
        return np.ascontiguousarray(image)
    return np.ascontiguousarray(image, dtype=np.uint8 if image.dtype == np.bool_ else np.float32)


def grey_of_colour(image: NDArray[np.generic], conversion: int) -> NDArray[np.generic]:
    """Return the (H, W) luminance of an (H, W, 3 or 4) image; equal channels keep their value.

    Args:
        image: uint8, uint16 or float32.
        conversion: OpenCV's code, for one ``cv2.COLOR_BGR2GRAY``.
    """
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), conversion))

"""What every image source offers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from lmtrack_ros.core.geometry import ImageGeometry
from lmtrack_ros.core.records import Frame


@dataclass(frozen=True, eq=False)
class SourceInfo:
    """What is known before the first frame.

    Attributes:
        name: short name for logs and recordings.
        geometry: where the pixels lie, or None where the source does not know.
        rate_hz: nominal frame rate.
        frames: how many there are, or None where it cannot be known.
    """

    name: str
    geometry: ImageGeometry | None
    rate_hz: float
    frames: int | None


class Source(Protocol):
    """Yields frames in order of time; opened by :func:`lmtrack_ros.sources.open_source`."""

    @property
    def info(self) -> SourceInfo:
        """What is known before the first frame."""

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames whose stamps grow strictly and whose size stays that of the first.

        A frame that cannot be read, changes size or runs backwards in time is reported through
        ``logging`` and skipped.
        """

    def close(self) -> None:
        """Give back files and devices; safe to call twice."""

"""Frames of a source that are kept, to be followed more than once."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lmtrack_ros.core.records import Frame
from lmtrack_ros.sources import Source, SourceInfo


class Excerpt:
    """Some frames as a source.

    Args:
        frames: at least one, in order of time.
        info: of the source that they come from.
    """

    def __init__(self, frames: Sequence[Frame], info: SourceInfo) -> None:
        self._frames = frames
        self.info = replace(info, geometry=frames[0].geometry, frames=len(frames))

    @classmethod
    def of(cls, source: Source) -> "Excerpt":
        """Return all frames of a source, which is closed."""
        try:
            return cls(list(source), source.info)
        finally:
            source.close()

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames."""
        return iter(self._frames)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._frames)

    def since(self, start: int) -> "Excerpt":
        """Return the frames from a number on."""
        return Excerpt(self._frames[start:], self.info)

    def close(self) -> None:
        """Nothing is open."""

"""The frames of a recording."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import ImageGeometry
from lmtrack_ros.core.records import NS_PER_S, Frame
from lmtrack_ros.recording import Recording
from lmtrack_ros.sources.options import SourceOptions
from lmtrack_ros.sources.source import SourceInfo

_SAMPLE_FRAMES = 10

_Self = TypeVar("_Self")


class RosbagSource:
    """Frames of a recording, with the stamps and times of receipt of its messages.

    Args:
        path: a rosbag2 directory or a lone storage file.
        options: must give modality and spacing where the recording has no geometry.

    Raises:
        UserError: it is no recording or has no readable frame, or an option is missing.
    """

    def __init__(self, path: Path, options: SourceOptions) -> None:
        self._options = options
        self._name = path.resolve().name
        self._recording = Recording(path)
        try:
            self._topic = self._recording.frame_topic()
            sample = list(islice(self._recording.frames(self._topic), _SAMPLE_FRAMES))
            if not sample:
                raise UserError(f"{path} has no readable frame in topic {self._topic}")
            self._shape = sample[0].image.shape
            recorded = next((f.geometry for f in sample if f.geometry is not None), None)
            if recorded is None:
                self._fixed: ImageGeometry | None = options.geometry(self._name, self._shape)
                geometry = self._fixed
            else:
                self._fixed = None
                geometry = options.applied_to(self._name, self._shape, recorded)
            self._info = SourceInfo(
                self._name,
                geometry,
                options.rate(self._name, _rate_hz(sample)),
                self._recording.topics[self._topic].count,
            )
        except UserError:
            self._recording.close()
            raise

    @property
    def info(self) -> SourceInfo:
        """What is known before the first frame."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames, from the first one each time."""
        recorded: ImageGeometry | None = None
        applied = self._fixed
        for frame in self._recording.frames(self._topic):
            if self._fixed is None and frame.geometry is not recorded:
                recorded = frame.geometry
                # a frame of a moving probe without its geometry stays without one
                applied = recorded and self._options.applied_to(self._name, self._shape, recorded)
            yield replace(frame, geometry=applied)

    def close(self) -> None:
        """Close the recording; safe to call twice."""
        self._recording.close()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _rate_hz(sample: list[Frame]) -> float | None:
    if len(sample) < 2:
        return None
    return (len(sample) - 1) * NS_PER_S / (sample[-1].stamp_ns - sample[0].stamp_ns)

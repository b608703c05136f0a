"""What all phantoms share: frames at their rate, a couch, and the truth about their landmarks."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmtrack_ros.core.errors import unknown_name
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.geometry import ImageGeometry, Modality, Mount
from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.core.records import NS_PER_S, Estimate, Frame, Landmark, LandmarkSet, Status
from lmtrack_ros.phantoms.motion import MotionParameters, MotionRange, open_motion
from lmtrack_ros.sources.source import SourceInfo

_START_NS = NS_PER_S  # a zero stamp would mean "not set"


@dataclass(frozen=True)
class PhantomParameters:
    """A phantom: which patient under which imager, and how it moves."""

    preset: str = parameter(
        "",
        "kind of anatomy and imager ('lmtrack phantom MODALITY --help' lists them); empty: the first",
    )
    seed: int = parameter(0, "of the patient, the motion and the noise", minimum=0)
    rate_hz: float = parameter(0.0, "frame rate, Hz; 0: that of the preset", minimum=0.0, maximum=100.0)
    mount: str = parameter(
        Mount.ROOM.value,
        "what the imager is fixed to: the room, or the couch, whose motion it then does not see",
        choices=(Mount.ROOM.value, Mount.COUCH.value),
    )
    motion: MotionParameters = field(default_factory=MotionParameters)


@dataclass(frozen=True)
class Preset:
    """A kind of anatomy under a kind of imager; modalities add to it.

    Attributes:
        description: one line for the user.
        rate_hz: usual frame rate.
        motion: within what its patients breathe.
    """

    description: str
    rate_hz: float
    motion: MotionRange


_P = TypeVar("_P", bound=Preset)


def preset_of(parameters: PhantomParameters, presets: Mapping[str, _P]) -> _P:
    """Return the preset that is asked for, the first where none is.

    Raises:
        UserError: there is no preset of that name.
    """
    name = parameters.preset or next(iter(presets))
    if name not in presets:
        raise unknown_name("preset", name, presets)
    return presets[name]


def marked(name: str, uv_px: tuple[float, ...], edges: Collection[str]) -> Landmark:
    """Return a landmark at a pixel; of one on an edge, only the row is defined."""
    return Landmark(name, uv_px, tuple(axis == 1 or name not in edges for axis in range(len(uv_px))))


class Phantom(ABC):
    """A source that renders any moment, knows the truth, and lies on a couch.

    One preset and seed give one patient and one recording: every frame is a function of them, of the time
    and of the couch, to the bit.

    Args:
        name: of the modality.
        geometry: where the pixels lie, and what the imager is fixed to.
        preset: says rate and motion where the parameters do not.
        parameters: of the phantom.

    Raises:
        UserError: the trace cannot be read.
    """

    edges: ClassVar[frozenset[str]] = frozenset()
    """Landmarks on an edge that runs along the columns, such as a dome: what shows of them is their row."""

    def __init__(
        self, name: str, geometry: ImageGeometry, preset: Preset, parameters: PhantomParameters
    ) -> None:
        self.info = SourceInfo(f"phantom:{name}", geometry, parameters.rate_hz or preset.rate_hz, frames=None)
        self.motion = open_motion(parameters.motion, preset.motion, parameters.seed)
        self.geometry = geometry
        self._seed = parameters.seed

    @abstractmethod
    def positions_mm(self, time_s: float) -> Mapping[str, Array]:
        """Return the (3,) position of every landmark at one moment, the couch at zero, in isocenter, mm."""

    @abstractmethod
    def _image(self, time_s: float, couch_mm: Array) -> NDArray[Any]:
        """Return the picture of one moment, the anatomy displaced by (3,) couch_mm in isocenter."""

    def masks(self, time_s: float, couch_mm: ArrayLike = (0, 0, 0)) -> Mapping[str, NDArray[np.bool_]]:
        """Return which pixels show each structure that has an extent; the image's shape, by name."""
        return self._masks(time_s, self._seen_couch_mm(couch_mm))

    def _masks(self, time_s: float, couch_mm: Array) -> Mapping[str, NDArray[np.bool_]]:
        return {}

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames without end, the couch at zero."""
        for _, frames in self.exposures():
            yield from frames

    def exposures(self) -> Iterator[tuple[float, tuple[Frame, ...]]]:
        """Yield the phantom's own time, s, and the images of each moment, without end, the couch at zero."""
        for index in count():
            time_s = index / self.info.rate_hz
            yield time_s, self.exposed(_START_NS + round(time_s * NS_PER_S), time_s)

    def close(self) -> None:  # noqa: B027 - nothing is open
        """Nothing to give back."""

    def render(self, stamp_ns: int, time_s: float, couch_mm: ArrayLike = (0, 0, 0)) -> Frame:
        """Return the image of one moment.

        Args:
            stamp_ns: what to stamp the frame with.
            time_s: the phantom's own time.
            couch_mm: (3,) position of table_top in isocenter at that moment, mm.
        """
        image = self._image(time_s, self._seen_couch_mm(couch_mm))
        return Frame(stamp_ns, image, self.geometry, received_ns=stamp_ns)

    def exposed(self, stamp_ns: int, time_s: float, couch_mm: ArrayLike = (0, 0, 0)) -> tuple[Frame, ...]:
        """Return all images of one moment, as :meth:`render` does: one, but of an imager with two views."""
        return (self.render(stamp_ns, time_s, couch_mm),)

    def truth(self, stamp_ns: int, time_s: float, couch_mm: ArrayLike = (0, 0, 0)) -> LandmarkSet:
        """Return where every landmark truly is at that moment, in the frame of the geometry."""
        couch = self._seen_couch_mm(couch_mm)
        estimates = tuple(
            Estimate(
                name,
                Status.TRACKED,
                self.pixel(position_mm + couch),
                position_mm + couch,
                np.zeros((3, 3)),
                (True, True, True),
                confidence=1.0,
                radius_mm=0.0,
            )
            for name, position_mm in self.positions_mm(time_s).items()
        )
        return LandmarkSet(stamp_ns, estimates, self.geometry.frame_id, "ground_truth")

    def landmarks(self, time_s: float, couch_mm: ArrayLike = (0, 0, 0)) -> tuple[Landmark, ...]:
        """Return the landmarks as an operator would mark them on the picture of that moment."""
        return tuple(
            marked(e.id, e.uv_px, self.edges) for e in self.truth(_START_NS, time_s, couch_mm).estimates
        )

    def pixel(self, position_mm: Array) -> tuple[float, ...]:
        """Return where a (3,) position shows: (column, row), of a volume (column, row, slice)."""
        if self.geometry.projection is not None:
            column, row, scale = (self.geometry.projection @ np.append(position_mm, 1.0)).tolist()
            return column / scale, row / scale
        pixel = tuple(self.geometry.pixel(position_mm).tolist())
        return pixel if self.geometry.modality is Modality.ULTRASOUND_VOLUME else pixel[:2]

    def _seen_couch_mm(self, couch_mm: ArrayLike) -> Array:
        """Return how far the couch has carried the anatomy past the imager."""
        return np.zeros(3) if self.geometry.mount is Mount.COUCH else np.array(couch_mm, dtype=float)

    def _noise(self, time_s: float) -> np.random.Generator:
        """Return the chance of one moment."""
        return np.random.default_rng((self._seed, round(time_s * 1e6)))

"""Run a tracker over a recorded sequence, frame by frame."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import ImageGeometry
from lmtrack_ros.core.records import Estimate, Landmark
from lmtrack_ros.sources import Source
from lmtrack_ros.sources.annotations import Annotation
from lmtrack_ros.trackers import Tracker


@dataclass(frozen=True, eq=False)
class Track:
    """What a tracker reported about one landmark after it was initialised.

    Attributes:
        landmark: as it was marked.
        frames: (N,) frame numbers.
        uv_px: (N, 2) column and row; of a LOST estimate the last known one.
        status: (N,) values of ``Status``.
        confidence: (N,).
        radius_mm: (N,) infinite where the tracker gives none.
    """

    landmark: Landmark
    frames: NDArray[np.int64]
    uv_px: NDArray[np.float64]
    status: NDArray[np.int64]
    confidence: NDArray[np.float64]
    radius_mm: NDArray[np.float64]

    @classmethod
    def of(cls, landmark: Landmark, estimates: Sequence[tuple[int, Estimate]]) -> "Track":
        """Gather the estimates of one landmark, each with its frame number."""
        uv_px = np.array([e.uv_px for _, e in estimates], dtype=float).reshape(-1, 2)
        last = np.array(landmark.uv_px)
        for uv in uv_px:
            # a tracker may leave the pixel of what it lost unknown
            uv[:] = last = np.where(np.isfinite(uv), uv, last)
        return cls(
            landmark,
            np.array([i for i, _ in estimates], dtype=np.int64),
            uv_px,
            np.array([e.status for _, e in estimates], dtype=np.int64),
            np.array([e.confidence for _, e in estimates], dtype=float),
            np.array([e.radius_mm for _, e in estimates], dtype=float),
        )


@dataclass(frozen=True, eq=False)
class Run:
    """One tracker on one sequence.

    Attributes:
        tracker: its name.
        frames: how many the sequence has.
        geometry: of the first frame.
        rate_hz: nominal frame rate.
        tracks: one per landmark.
        fps: frames per second of the tracker alone, all landmarks together.
    """

    tracker: str
    frames: int
    geometry: ImageGeometry
    rate_hz: float
    tracks: tuple[Track, ...]
    fps: float


@dataclass
class _Group:
    """The landmarks that are marked on the same frame share a tracker."""

    tracker: Tracker
    landmarks: list[Landmark] = field(default_factory=list)


def follow(
    source: Source,
    annotations: Sequence[Annotation],
    new_tracker: Callable[[], Tracker],
    name: str,
    on_frame: Callable[[], None] = lambda: None,
) -> Run:
    """Follow every landmark from its first annotated frame to the end of the sequence.

    Args:
        source: recorded sequence with known geometry.
        annotations: what to follow.
        new_tracker: makes a tracker; one for each frame that landmarks start on.
        name: what to call the tracker.
        on_frame: called after each frame.

    Raises:
        UserError: the pixel spacing is unknown, the sequence is empty or ends before a landmark
            can be followed, or the tracker refuses a landmark or does not know it.
    """
    groups: dict[int, _Group] = {}
    for annotation in annotations:
        start = annotation.first_frame
        groups.setdefault(start, _Group(new_tracker())).landmarks.append(annotation.landmark)
    estimates: dict[str, list[tuple[int, Estimate]]] = {a.landmark.id: [] for a in annotations}
    geometry: ImageGeometry | None = None
    frames, updates, seconds = 0, 0, 0.0
    for number, frame in enumerate(source):
        geometry = geometry or frame.geometry
        frames += 1
        began = perf_counter()
        for start, group in groups.items():
            if number == start:
                marked = group.landmarks if group.tracker.needs_initialization else []
                group.tracker.initialize(frame, marked)
            elif number > start:
                wanted = {landmark.id for landmark in group.landmarks}
                for estimate in group.tracker.update(frame).estimates:
                    if estimate.id in wanted:
                        estimates[estimate.id].append((number, estimate))
        if number > min(groups):
            seconds += perf_counter() - began
            updates += 1
        on_frame()
    if geometry is None:
        raise UserError(f"{source.info.name}: the pixel spacing is unknown, so there are no millimetres")
    if frames <= max(groups):
        raise UserError(f"{source.info.name} has {frames} frames; a landmark starts on frame {max(groups)}")
    for landmark_id, found in estimates.items():
        if not found:
            raise UserError(f"{name} gives no estimate of '{landmark_id}' in {source.info.name}")
    tracks = tuple(Track.of(a.landmark, estimates[a.landmark.id]) for a in annotations)
    fps = updates / seconds if seconds else 0.0
    return Run(name, frames, geometry, source.info.rate_hz, tracks, fps)

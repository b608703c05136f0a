"""Whether phantoms are as hard to track as real recordings, for three trackers.

Each tracker follows every landmark from where it is on the first frame. An error is the distance from the
truth, of a real recording from the annotation on its certain frames, in mm over the axes on which the
landmark is defined, at the last known position where the landmark is lost. Each sequence counts alike,
real or simulated, however many frames and landmarks it has.

Trackers take a patch of so many pixels. So a recording whose pixels are finer than the phantom's is also
followed on the phantom's, and that is what the phantom is compared with.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.evaluation.baselines import create_baseline
from lmtrack_ros.evaluation.excerpt import Excerpt
from lmtrack_ros.evaluation.metrics import errors
from lmtrack_ros.evaluation.runs import follow
from lmtrack_ros.evaluation.tracker_settings import tracker_parameters
from lmtrack_ros.phantoms import PhantomParameters, open_phantom
from lmtrack_ros.phantoms.export import frame_count
from lmtrack_ros.sources import open_source
from lmtrack_ros.sources.annotations import Annotation, Mark, read_annotations
from lmtrack_ros.trackers import Tracker, create_tracker

OWN_TRACKER = "correlation"
TRACKERS = (OWN_TRACKER, "OpenCV KCF", "OpenCV CSRT")

LEAST_RATIO = 0.7
"""A tracker's mean error on the phantoms must be at least this part of its real one."""

SEEDS = tuple(range(20))
"""The patients of a modality's default preset."""

# pixels of no more than this part of another's are finer
_ALIKE = 0.8
_RESAMPLES = 1000
_INTERVAL = (0.025, 0.975)


@dataclass(frozen=True)
class Setting:
    """What is compared.

    Attributes:
        modality: name of the phantom.
        recordings: folders of the real recordings.
        seconds: of each simulated sequence, at its preset's rate.
    """

    modality: str
    recordings: tuple[str, ...]
    seconds: float


SETTINGS = (
    Setting("ultrasound", ("us_kidney",), 12.0),
    Setting("fluoroscopy", ("xray_chest",), 10.0),
    Setting("mr", ("cine_liver", "cine_thorax"), 25.0),
)


@dataclass(frozen=True, eq=False)
class Spread:
    """Errors of one tracker on several sequences.

    Attributes:
        errors_mm: (N,) of each sequence, over its landmarks and frames.
    """

    errors_mm: tuple[Array, ...]

    @property
    def mean_mm(self) -> float:
        """Mean over the sequences of their means."""
        return float(np.mean([np.mean(e) for e in self.errors_mm]))

    @property
    def p95_mm(self) -> float:
        """95th percentile, each sequence with the same weight."""
        return float(self._p95_mm(np.ones((1, len(self.errors_mm))))[0])

    @property
    def mean_interval_mm(self) -> tuple[float, float]:
        """2.5th and 97.5th percentile of the mean, by bootstrap over the sequences."""
        means_mm = np.array([np.mean(e) for e in self.errors_mm])
        return _interval(self._resamples() @ means_mm / len(means_mm))

    @property
    def p95_interval_mm(self) -> tuple[float, float]:
        """2.5th and 97.5th percentile of the 95th percentile, by bootstrap over the sequences."""
        return _interval(self._p95_mm(self._resamples()))

    def distribution(self) -> tuple[Array, Array]:
        """Return (M,) errors in rising order, and the (M,) part of all that is no greater."""
        errors_mm, sequence = self._sorted()
        return errors_mm, self._cumulated(np.ones(len(self.errors_mm)), sequence)

    def _p95_mm(self, counts: Array) -> Array:
        """Return (K,) the percentile when the sequences are taken (K, sequences) times."""
        errors_mm, sequence = self._sorted()
        # sums of rounded weights may fall just short
        found = [np.searchsorted(self._cumulated(c, sequence), 0.95 - 1e-9) for c in counts]
        return errors_mm[np.minimum(found, len(errors_mm) - 1)]

    def _sorted(self) -> tuple[Array, Array]:
        sequence = np.repeat(np.arange(len(self.errors_mm)), [len(e) for e in self.errors_mm])
        pooled_mm = np.concatenate(self.errors_mm)
        order = np.argsort(pooled_mm, kind="stable")
        return pooled_mm[order], sequence[order]

    def _cumulated(self, counts: Array, sequence: Array) -> Array:
        weight = (counts / [len(e) for e in self.errors_mm])[sequence]
        cumulated: Array = np.cumsum(weight) / counts.sum()
        return cumulated

    def _resamples(self) -> Array:
        """Return how often each sequence is taken: (resamples, sequences)."""
        n = len(self.errors_mm)
        return np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), _RESAMPLES).astype(float)


@dataclass(frozen=True, eq=False)
class Difficulty:
    """One tracker on the phantoms of a modality and on the real recordings.

    Attributes:
        setting: what was compared.
        tracker: its name.
        real: one sequence for each recording, on pixels not much finer than the phantom's.
        real_own_pixels: the same as they were recorded.
        simulated: one for each seed.
    """

    setting: Setting
    tracker: str
    real: Spread
    real_own_pixels: Spread
    simulated: Spread

    @property
    def ratio(self) -> float:
        """Mean error on the phantoms by that on the recordings."""
        return self.simulated.mean_mm / self.real.mean_mm

    @property
    def is_hard_enough(self) -> bool:
        """Whether the phantoms are not easier than the recordings."""
        return self.ratio >= LEAST_RATIO


def measure(
    setting: Setting,
    data: Path,
    seeds: Sequence[int] = SEEDS,
    processes: int = 2,
    on_sequence: Callable[[], None] = lambda: None,
) -> tuple[Difficulty, ...]:
    """Follow every landmark with every tracker on real recordings and on phantoms.

    Args:
        setting: what is compared.
        data: folder with the recordings.
        seeds: of the phantoms.
        processes: how many work at once.
        on_sequence: called after each sequence, of which there are ``sequence_count``.

    Raises:
        UserError: a recording is not there, or a landmark cannot be followed.
    """
    for recording in setting.recordings:
        if not (data / recording).is_dir():
            raise UserError(f"no recording at '{data / recording}': give the folder with the real recordings")
    pitch_mm = max(open_phantom(setting.modality).geometry.plane_spacing_mm[:2])
    jobs = [_Job(data / recording) for recording in setting.recordings]
    jobs += [_Job(data / recording, pitch_mm=pitch_mm) for recording in setting.recordings]
    jobs += [_Job(setting.modality, seed, setting.seconds) for seed in seeds]
    found = []
    # a forked process may hang on a lock that a thread of this one held
    with ProcessPoolExecutor(
        processes, get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)
    ) as pool:
        for one in pool.map(_errors_mm, jobs):
            found.append(one)
            on_sequence()
    count = len(setting.recordings)
    own, real, simulated = found[:count], found[count : 2 * count], found[2 * count :]
    return tuple(
        Difficulty(
            setting,
            tracker,
            Spread(tuple(e[tracker] for e in real)),
            Spread(tuple(e[tracker] for e in own)),
            Spread(tuple(e[tracker] for e in simulated)),
        )
        for tracker in TRACKERS
    )


def sequence_count(setting: Setting, seeds: Sequence[int] = SEEDS) -> int:
    """Return how many sequences are followed."""
    return 2 * len(setting.recordings) + len(seeds)


@dataclass(frozen=True)
class _Job:
    """One sequence: a recording's folder and the pixel pitch to look at it on, or a phantom."""

    source: Path | str
    seed: int = 0
    seconds: float = 0.0
    pitch_mm: float = 0.0

    def open(self) -> tuple[Excerpt, Sequence[Annotation]]:
        """Return the frames and where the landmarks are in them."""
        if isinstance(self.source, Path):
            frames = Excerpt.of(open_source(self.source))
            annotations = read_annotations(self.source)
            return _on_pitch(frames, annotations, self.pitch_mm) if self.pitch_mm else (frames, annotations)
        phantom = open_phantom(self.source, PhantomParameters(seed=self.seed))
        excerpt = Excerpt(list(islice(phantom, frame_count(phantom, self.seconds))), phantom.info)
        truths = [phantom.truth(f.stamp_ns, i / phantom.info.rate_hz) for i, f in enumerate(excerpt)]
        marks: dict[str, dict[int, Mark]] = {}
        for number, truth in enumerate(truths):
            for estimate in truth.estimates:
                marks.setdefault(estimate.id, {})[number] = Mark(estimate.uv_px[:2], certain=True)
        return excerpt, [Annotation(landmark, marks[landmark.id]) for landmark in phantom.landmarks(0.0)]


def _on_pitch(
    excerpt: Excerpt, annotations: Sequence[Annotation], pitch_mm: float
) -> tuple[Excerpt, Sequence[Annotation]]:
    """Return a recording on coarser pixels; as it is where its own are not much finer."""
    geometry = excerpt.info.geometry
    assert geometry is not None
    scale = geometry.plane_spacing_mm[0] / pitch_mm
    if scale > _ALIKE:
        return excerpt, annotations
    column_mm, row_mm, slice_mm = geometry.spacing_mm
    coarse = replace(geometry, spacing_mm=(column_mm / scale, row_mm / scale, slice_mm))

    def moved(uv_px: tuple[float, ...]) -> tuple[float, float]:
        column, row = ((v + 0.5) * scale - 0.5 for v in uv_px)
        return column, row

    frames = [
        replace(
            frame,
            image=cv2.resize(frame.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA),
            geometry=coarse,
        )
        for frame in excerpt
    ]
    marked = [
        Annotation(
            replace(a.landmark, uv_px=moved(a.landmark.uv_px)),
            {number: replace(mark, uv_px=moved(mark.uv_px)) for number, mark in a.marks.items()},
        )
        for a in annotations
    ]
    return Excerpt(frames, excerpt.info), marked


def _errors_mm(job: _Job) -> Mapping[str, Array]:
    """Return the (N,) errors of each tracker on one sequence."""
    excerpt, annotations = job.open()
    geometry = excerpt.info.geometry
    parameters = tracker_parameters(OWN_TRACKER, geometry.modality if geometry else None)

    def new_tracker(name: str) -> Tracker:
        return create_tracker(name, parameters) if name == OWN_TRACKER else create_baseline(name)

    found = {}
    for name in TRACKERS:
        run = follow(excerpt, annotations, lambda name=name: new_tracker(name), name)  # type: ignore[misc]
        spacing_mm = run.geometry.plane_spacing_mm
        scored = [errors(t, a, spacing_mm) for t, a in zip(run.tracks, annotations, strict=True)]
        found[name] = np.concatenate([e.length_mm for e in scored])
    return found


def _interval(values: Array) -> tuple[float, float]:
    low, high = np.quantile(values, _INTERVAL)
    return float(low), float(high)

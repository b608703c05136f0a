"""Fits the calibration of a model's weights on sequences that they were not trained on."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import ImageGeometry
from lmtrack_ros.core.records import Frame, Landmark
from lmtrack_ros.models.calibration import RADIUS_IN_SIGMAS, Calibration, can_promise, fit_factor, plain
from lmtrack_ros.models.description import description_file, read_description
from lmtrack_ros.models.model import PhantomSequences
from lmtrack_ros.models.tracking import Measurement, Measuring, raw_sigma_mm
from lmtrack_ros.phantoms import PhantomParameters, open_phantom
from lmtrack_ros.sources import open_source
from lmtrack_ros.sources.annotations import read_annotations
from lmtrack_ros.trackers import create_tracker


@dataclass(frozen=True, eq=False)
class TrueSequence:
    """Frames in which some landmarks are known.

    Attributes:
        name: of the recording or the phantom.
        frames: in order of time; on the first one the landmarks are marked.
        landmarks: as marked.
        truth_px: for each landmark its (column, row[, slice]) by frame number, where it is known.
    """

    name: str
    frames: Sequence[Frame]
    landmarks: Sequence[Landmark]
    truth_px: Sequence[Mapping[int, tuple[float, ...]]]

    @property
    def geometry(self) -> ImageGeometry:
        """Of the first frame.

        Raises:
            UserError: it has none, so there are no millimetres.
        """
        if self.frames[0].geometry is None:
            raise UserError(f"{self.name}: the pixel spacing is unknown, so there are no millimetres")
        return self.frames[0].geometry


@dataclass(frozen=True, eq=False)
class Scores:
    """How one kind of measurement of landmarks with so many axes fared in one sequence.

    Attributes:
        error_mm: (N,) distances from the truth over the landmarks' axes.
        radius_mm: (N,) raw 95 % radii.
    """

    error_mm: NDArray[np.float64]
    radius_mm: NDArray[np.float64]


def calibrate(
    tracker: Measuring,
    sequences: Sequence[TrueSequence],
    on_sequence: Callable[[], None] = lambda: None,
) -> Calibration:
    """Return the calibration of a tracker, which has it from then on.

    A kind of measurement that never occurs has no factor: its uncertainty stays infinite. One that occurs in
    too few sequences for a promise is trusted no more than those named before it.

    Args:
        tracker: not calibrated yet, or to be calibrated anew.
        sequences: on none of which the model was trained.
        on_sequence: called after each one, in each turn.
    """
    factors: dict[str, dict[int, float]] = {}
    for kinds in tracker.calibrated_in_turn:
        tracker.calibration = Calibration(dict(factors))
        found = []
        for sequence in sequences:
            found.append(follow(tracker, sequence))
            on_sequence()
        greatest: dict[int, float] = {}
        for kind in kinds:
            factors[kind] = {}
            for axes, (scores, totals) in _by_axes(found, kind).items():
                factor = fit_factor(scores, totals)
                if not can_promise(len(scores)):
                    factor = max(factor, greatest.get(axes, 0.0))
                factors[kind][axes] = round(factor, 4)
                greatest[axes] = max(factor, greatest.get(axes, 0.0))
    tracker.calibration = Calibration(factors, len(sequences))
    return tracker.calibration


def calibrate_weights(
    weights: Path, sequences: Sequence[TrueSequence], on_sequence: Callable[[], None] = lambda: None
) -> Calibration:
    """Calibrate weights, and store what was found beside them.

    Args:
        weights: file.
        sequences: on none of which they were trained.
        on_sequence: called after each one, in each turn.

    Raises:
        UserError: they cannot be read or written.
    """
    path = description_file(weights)
    description = read_description(path)
    tracker = cast(Measuring, cast(Any, create_tracker(description.model, {"weights": str(weights)})))
    fitted = calibrate(tracker, sequences, on_sequence)
    replace(description, calibration=plain(fitted)).write(path)
    return fitted


def _by_axes(
    found: Sequence[Mapping[tuple[str, int], Scores]], kind: str
) -> dict[int, tuple[list[NDArray[np.float64]], list[int]]]:
    """Return the scores of a kind in each sequence, and how many measurements there are of whatever kind."""
    of_kind: dict[int, tuple[list[NDArray[np.float64]], list[int]]] = {}
    for axes in sorted({axes for one in found for _, axes in one}):
        some = [one for one in found if (kind, axes) in one]
        if some:
            of_kind[axes] = (
                [one[kind, axes].error_mm / one[kind, axes].radius_mm for one in some],
                [max(len(scores.error_mm) for (_, n), scores in one.items() if n == axes) for one in some],
            )
    return of_kind


def follow(tracker: Measuring, sequence: TrueSequence) -> dict[tuple[str, int], Scores]:
    """Return how each kind of measurement fares in a sequence, by the number of axes of the landmarks."""
    spacing_mm = np.array(sequence.geometry.plane_spacing_mm[: sequence.frames[0].image.ndim])
    found: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    for landmark, true_px, measurements in measured(tracker, sequence):
        axes = np.array(landmark.axes)
        count = int(axes.sum())
        for one in measurements:
            away_mm = (one.uv_px - true_px)[axes] * spacing_mm[axes]
            raw_mm = raw_sigma_mm(one, spacing_mm)[axes]
            radius_mm = RADIUS_IN_SIGMAS[count] * np.sqrt(np.mean(np.square(raw_mm)))
            found[one.kind, count].append((float(np.linalg.norm(away_mm)), float(radius_mm)))
    return {key: Scores(*np.array(pairs).T) for key, pairs in found.items()}


def measured(
    tracker: Measuring, sequence: TrueSequence
) -> Iterator[tuple[Landmark, NDArray[np.float64], Sequence[Measurement]]]:
    """Yield, for every frame but the first, each landmark whose place is known there.

    Yields:
        The landmark, (2,) its true column and row, or (3,) its slice too, and how the tracker found it.

    Raises:
        UserError: a landmark cannot be marked.
    """
    tracker.initialize(sequence.frames[0], sequence.landmarks)
    for number, frame in enumerate(sequence.frames[1:], 1):
        found = zip(sequence.landmarks, sequence.truth_px, tracker.measure(frame), strict=True)
        for landmark, truth_px, measurements in found:
            if number in truth_px:
                yield landmark, np.array(truth_px[number]), measurements


def phantom_sequences(phantoms: PhantomSequences) -> Iterator[TrueSequence]:
    """Yield phantoms as sequences."""
    frames = phantoms.frames
    for preset, seed in product(phantoms.presets, phantoms.seeds):
        phantom = open_phantom(phantoms.modality, PhantomParameters(preset, seed))
        shown = list(islice(phantom, frames))
        every = phantom.landmarks(0.0)
        landmarks = [one for one in every if one.id in phantoms.landmarks or not phantoms.landmarks]
        times_s = [i / phantom.info.rate_hz for i in range(frames)]
        truths = [{e.id: e.uv_px for e in phantom.truth(0, t).estimates} for t in times_s]
        marks = [{i: truth[m.id] for i, truth in enumerate(truths)} for m in landmarks]
        yield TrueSequence(f"{phantoms.modality} {preset} {seed}", shown, landmarks, marks)


def annotated_sequence(folder: Path) -> TrueSequence:
    """Return a recording with ``landmarks.csv``; only certain marks count.

    Raises:
        UserError: it cannot be read, or a landmark is not marked on the first frame.
    """
    annotations = read_annotations(folder)
    late = [a.landmark.id for a in annotations if a.first_frame != 0]
    if late:
        raise UserError(f"{folder}: '{late[0]}' is not marked on frame 0")
    source = open_source(folder)
    try:
        frames = list(source)
    finally:
        source.close()
    marks = [{n: m.uv_px for n, m in a.marks.items() if m.certain} for a in annotations]
    return TrueSequence(folder.name, frames, [a.landmark for a in annotations], marks)

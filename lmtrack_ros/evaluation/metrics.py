"""How well a track agrees with its annotation, and with itself.

Errors are in mm, over the axes on which the landmark is defined. Scored are the frames whose
annotation is certain, except the one the tracker was initialised on. TRACKED and UNCERTAIN
estimates give the errors; a LOST one counts as lost, and with its last known position in
``te_mean_with_lost_mm``.

A jump is a pair of successive frames, both certain, between which the error (a vector, at the
reported or last known position) changes by more than 3 mm: anatomy that is followed changes it
little, however fast it moves. The smooth path of a track is a local regression (Cleveland 1979): at
each frame a parabola in time, fitted to the estimates within 0.75 s that are not LOST, with bisquare
weights that take out single outliers. It keeps the turns of a breath, which a mean would cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.records import Status
from lmtrack_ros.evaluation.runs import Run, Track
from lmtrack_ros.sources.annotations import Annotation

FAR_MM = 3.0
"""What counts as far: more than this from the annotation, the smooth path, or the last error."""
_SMOOTH_HALF_WINDOW_S = 0.75
_LEAST_HALF_WINDOW = 3
_REWEIGHTINGS = 4


@dataclass(frozen=True, eq=False)
class Errors:
    """One landmark's errors on its certain frames.

    Attributes:
        frames: (N,) frame numbers.
        vector_mm: (N, 2) reported minus annotated position; 0 on an undefined axis.
        status: (N,) values of ``Status``.
        radius_mm: (N,) reported radius.
    """

    frames: NDArray[np.int64]
    vector_mm: NDArray[np.float64]
    status: NDArray[np.int64]
    radius_mm: NDArray[np.float64]

    @property
    def length_mm(self) -> NDArray[np.float64]:
        """(N,) distance from the annotation."""
        return np.asarray(np.hypot(*self.vector_mm.T))

    @property
    def found(self) -> NDArray[np.bool_]:
        """(N,) whether the landmark was not LOST."""
        return np.asarray(self.status != Status.LOST)

    @property
    def jumps(self) -> int:
        """How many pairs of successive frames the error changes by more than 3 mm between."""
        successive = np.diff(self.frames) == 1
        change_mm = np.hypot(*np.diff(self.vector_mm, axis=0).T)
        return int((successive & (change_mm > FAR_MM)).sum())


def errors(track: Track, annotation: Annotation, spacing_mm: Sequence[float]) -> Errors:
    """Compare a track with its annotation on the certain frames.

    Args:
        track: of the same landmark.
        annotation: where it is.
        spacing_mm: pixel pitch along columns and rows.
    """
    certain = [i for i, n in enumerate(track.frames) if n in annotation.marks and annotation.marks[n].certain]
    truth_px = np.array([annotation.marks[n].uv_px for n in track.frames[certain]]).reshape(-1, 2)
    scale_mm = np.array(spacing_mm[:2]) * np.array(track.landmark.axes)
    return Errors(
        track.frames[certain],
        (track.uv_px[certain] - truth_px) * scale_mm,
        track.status[certain],
        track.radius_mm[certain],
    )


def off_path(track: Track, spacing_mm: Sequence[float], rate_hz: float) -> NDArray[np.bool_]:
    """Return (N,) which estimates are TRACKED and more than 3 mm away from the smooth path."""
    scale_mm = np.array(spacing_mm[:2]) * np.array(track.landmark.axes)
    position_mm = track.uv_px * scale_mm
    usable = track.status != Status.LOST
    half = max(_LEAST_HALF_WINDOW, round(_SMOOTH_HALF_WINDOW_S * rate_hz))
    path_mm = np.array([_local_parabola(track.frames, position_mm, usable, n, half) for n in track.frames])
    away_mm = np.hypot(*(position_mm - path_mm.reshape(-1, 2)).T)
    return np.asarray((track.status == Status.TRACKED) & (away_mm > FAR_MM))


def _local_parabola(
    frames: NDArray[np.int64],
    position_mm: NDArray[np.float64],
    usable: NDArray[np.bool_],
    at: int,
    half: int,
) -> NDArray[np.float64]:
    """Return the (2,) smooth position at one frame, NaN where nothing usable is near."""
    near = usable & (np.abs(frames - at) <= half)
    if not near.any():
        return np.full(2, np.nan)
    time = (frames[near] - at) / half
    points_mm = position_mm[near]
    basis = np.stack([np.ones_like(time), time, time**2], axis=1)[:, : min(3, len(time))]
    weight = np.ones(len(time))
    for _ in range(_REWEIGHTINGS):
        root = np.sqrt(weight)[:, None]
        fit, *_ = np.linalg.lstsq(basis * root, points_mm * root, rcond=None)
        residual_mm = np.hypot(*(points_mm - basis @ fit).T)
        scale_mm = 6 * max(float(np.median(residual_mm)), 1e-6)
        weight = np.square(np.clip(1 - np.square(residual_mm / scale_mm), 0, None))
    return np.asarray(fit[0])


def summary(scored: Sequence[Errors], tracks: Sequence[Track], run: Run) -> dict[str, Any]:
    """Return the figures of one landmark, or of several pooled; None where there is nothing to score.

    Args:
        scored: the errors, one per track; none for a sequence without annotation.
        tracks: what was reported, on all frames.
        run: that they belong to.
    """
    length_mm = np.concatenate([[], *(e.length_mm for e in scored)])
    found = np.concatenate([np.zeros(0, dtype=bool), *(e.found for e in scored)])
    status_scored = np.concatenate([np.zeros(0, dtype=int), *(e.status for e in scored)])
    radius_mm = np.concatenate([[], *(e.radius_mm for e in scored)])
    status = np.concatenate([t.status for t in tracks])
    te_mm = length_mm[found]
    claimed = np.isfinite(radius_mm[found])
    stray = [off_path(t, run.geometry.plane_spacing_mm, run.rate_hz) for t in tracks]
    return {
        "scored_frames": len(length_mm),
        "te_mean_mm": _figure(np.mean, te_mm),
        "te_std_mm": _figure(np.std, te_mm),
        "te_p95_mm": _figure(lambda v: np.percentile(v, 95), te_mm),
        "te_max_mm": _figure(np.max, te_mm),
        "lost_fraction": _figure(np.mean, ~found),
        "coverage95": _figure(np.mean, te_mm[claimed] <= radius_mm[found][claimed]),
        "radius_median_mm": _figure(np.median, radius_mm[found][claimed]),
        "te_mean_with_lost_mm": _figure(np.mean, length_mm),
        "jumps": sum(e.jumps for e in scored) if scored else None,
        "tracked_beyond_3mm": int((length_mm[status_scored == Status.TRACKED] > FAR_MM).sum())
        if scored
        else None,
        "tracked_fraction": _figure(np.mean, status == Status.TRACKED),
        "uncertain_fraction": _figure(np.mean, status == Status.UNCERTAIN),
        "lost_fraction_all_frames": _figure(np.mean, status == Status.LOST),
        "tracked_off_path_fraction": _figure(np.mean, np.concatenate(stray)),
    }


def _figure(statistic: Any, values: NDArray[Any]) -> float | None:
    return round(float(statistic(values)), 4) if len(values) else None


def evaluation(
    run: Run, annotations: Sequence[Annotation], sequence: str, configuration: dict[str, Any]
) -> dict[str, Any]:
    """Return the JSON report of one run.

    Args:
        run: what the tracker reported.
        annotations: one per track; those of a single frame are not scored.
        sequence: what to call the recording.
        configuration: of the tracker, plain values.
    """
    spacing_mm = run.geometry.plane_spacing_mm
    scored = [
        [errors(t, a, spacing_mm)] if len(a.marks) > 1 else []
        for t, a in zip(run.tracks, annotations, strict=True)
    ]
    return {
        "sequence": sequence,
        "tracker": run.tracker,
        "frames": run.frames,
        "landmarks": [t.landmark.id for t in run.tracks],
        **summary([e for per_landmark in scored for e in per_landmark], run.tracks, run),
        "fps": round(run.fps, 1),
        "per_landmark": {
            t.landmark.id: summary(e, [t], run) for t, e in zip(run.tracks, scored, strict=True)
        },
        "configuration": configuration,
    }

"""Trackers on a set of sequences in the layout of the CLUST challenge: the tables that papers give of it.

Each landmark is followed from its first annotation on. Every later annotated frame of every landmark counts,
one that is LOST with its last known position.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.records import Status
from lmtrack_ros.evaluation.bootstrap import mean_interval
from lmtrack_ros.evaluation.metrics import errors
from lmtrack_ros.evaluation.runs import follow
from lmtrack_ros.sources import Source, clust, open_source
from lmtrack_ros.sources.annotations import Annotation, read_annotations
from lmtrack_ros.trackers import Tracker

ALL = "ALL"
HEADINGS = ("source", "N", "mean mm", "SD mm", "95 % mm", "mean of maxima mm", "lost", "TRACKED", "in radius")


@dataclass(frozen=True, eq=False)
class LandmarkScore:
    """One landmark followed by one tracker.

    Attributes:
        sequence: that it is seen in.
        landmark: its name.
        error_mm: (N,) on the annotated frames but the first.
        radius_mm: (N,) reported; infinite where the tracker gives none.
        status: (N,) values of ``Status``.
        lost: share of all its frames.
        tracked: likewise.
    """

    sequence: str
    landmark: str
    error_mm: NDArray[np.float64]
    radius_mm: NDArray[np.float64]
    status: NDArray[np.int64]
    lost: float
    tracked: float

    @property
    def silent(self) -> NDArray[np.bool_]:
        """(N,) whether an estimate is TRACKED and yet farther off than any radius that it gives."""
        covered = np.isfinite(self.radius_mm) & (self.error_mm <= self.radius_mm)
        return np.asarray((self.status == Status.TRACKED) & ~covered)

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> "LandmarkScore":
        """Return a score from its plain values."""
        lists = {name: np.array(said[name]) for name in ("error_mm", "radius_mm", "status")}
        return cls(**{**said, **lists})


def score(
    folders: Sequence[Path],
    new_tracker: Callable[[], Tracker],
    name: str,
    on_sequence: Callable[[], None] = lambda: None,
) -> list[LandmarkScore]:
    """Follow every landmark of some sequences.

    Args:
        folders: of the sequences.
        new_tracker: makes a tracker.
        name: what to call it.
        on_sequence: called after each.

    Raises:
        UserError: a sequence cannot be read or followed.
    """
    scores: list[LandmarkScore] = []
    for folder in folders:
        source = open_source(folder)
        try:
            scores += followed(folder.name, source, read_annotations(folder), new_tracker, name)
        finally:
            source.close()
        on_sequence()
    return scores


def followed(
    sequence: str,
    source: Source,
    annotations: Sequence[Annotation],
    new_tracker: Callable[[], Tracker],
    name: str,
) -> list[LandmarkScore]:
    """Follow every landmark of one sequence.

    Args:
        sequence: what to call it.
        source: of its frames.
        annotations: of its landmarks.
        new_tracker: makes a tracker.
        name: what to call the tracker.

    Raises:
        UserError: it cannot be read or followed.
    """
    run = follow(source, annotations, new_tracker, name)
    scores = []
    for track, annotation in zip(run.tracks, annotations, strict=True):
        found = errors(track, annotation, run.geometry.plane_spacing_mm)
        lost, tracked = (float(np.mean(track.status == s)) for s in (Status.LOST, Status.TRACKED))
        scores.append(
            LandmarkScore(
                sequence,
                track.landmark.id,
                found.length_mm,
                found.radius_mm,
                found.status,
                lost,
                tracked,
            )
        )
    return scores


def by_source(scores: Sequence[LandmarkScore]) -> dict[str, list[LandmarkScore]]:
    """Return the scores of each scanner, in order of their names, and of all."""
    scanners = sorted({clust.source_of(one.sequence) for one in scores})
    grouped = {name: [s for s in scores if clust.source_of(s.sequence) == name] for name in scanners}
    return {**grouped, ALL: list(scores)}


def figures(scores: Sequence[LandmarkScore]) -> dict[str, Any]:
    """Return N, mean, SD, 95 % and mean of maxima as the challenge's papers do, and what is lost."""
    error_mm = np.concatenate([one.error_mm for one in scores])
    radius_mm = np.concatenate([one.radius_mm for one in scores])
    claimed = np.isfinite(radius_mm)
    covered = error_mm[claimed] <= radius_mm[claimed]
    return {
        "landmarks": len(scores),
        "mean_mm": float(error_mm.mean()),
        "sd_mm": float(error_mm.std()),
        "p95_mm": float(np.percentile(error_mm, 95)),
        "mean_of_maxima_mm": float(np.mean([one.error_mm.max() for one in scores])),
        "lost": float(np.mean([one.lost for one in scores])),
        "tracked": float(np.mean([one.tracked for one in scores])),
        "coverage95": float(covered.mean()) if len(covered) else None,
    }


def mean_interval_mm(scores: Sequence[LandmarkScore]) -> tuple[float, float]:
    """Return the 95 % interval of the mean error, by bootstrap over the sequences."""
    by_sequence: dict[str, list[NDArray[np.float64]]] = {}
    for one in scores:
        by_sequence.setdefault(one.sequence, []).append(one.error_mm)
    return mean_interval([np.concatenate(some) for some in by_sequence.values()])


def rows(scores: Sequence[LandmarkScore]) -> list[list[str]]:
    """Return the cells of one tracker's table, under :data:`HEADINGS`."""
    return [[name, *_cells(figures(some))] for name, some in by_source(scores).items()]


def table(scores: Sequence[LandmarkScore]) -> list[str]:
    """Return the lines of one tracker's table in Markdown."""
    heading = [f"| {' | '.join(HEADINGS)} |", f"|---{'|--:' * (len(HEADINGS) - 1)}|"]
    return heading + [f"| {' | '.join(row)} |" for row in rows(scores)]


def page(folder: Path, scores: Mapping[str, Sequence[LandmarkScore]], command: str) -> str:
    """Return a Markdown page with a table for each tracker."""
    lines = [
        f"# CLUST tables: {folder.name}",
        "",
        f"Made by `{command}`; do not edit.",
        "",
        "Errors on every annotated frame but the first of every landmark; one that is LOST counts with its",
        "last known position. *N* landmarks; *lost* and *TRACKED* are shares of a landmark's frames, of",
        "which the mean over the landmarks is given; *in radius* is the share of the errors for which the",
        "tracker gives a 95 % radius.",
    ]
    for tracker, found in scores.items():
        lines += ["", f"## {tracker}", "", *table(found)]
    return "\n".join(lines) + "\n"


def _cells(of: Mapping[str, Any]) -> list[str]:
    covered = of["coverage95"]
    lengths = (f"{of[key]:.2f}" for key in ("mean_mm", "sd_mm", "p95_mm", "mean_of_maxima_mm"))
    return [
        str(of["landmarks"]),
        *lengths,
        f"{of['lost']:.1%}",
        f"{of['tracked']:.1%}",
        "–" if covered is None else f"{covered:.1%}",
    ]

"""Tumours put into real recordings that the network has never seen, and the same recordings as they are."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import ImageGeometry
from lmtrack_ros.core.records import NS_PER_S, Frame, Status
from lmtrack_ros.evaluation import coverage
from lmtrack_ros.evaluation.excerpt import Excerpt
from lmtrack_ros.evaluation.lung_study.group import WEIGHTS
from lmtrack_ros.evaluation.lung_study.live import FAR_MM
from lmtrack_ros.evaluation.overlay import atomic_file
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.models.coarse_to_fine_unet.parameters import CoarseToFineUnetParameters
from lmtrack_ros.models.coarse_to_fine_unet.tracker import CoarseToFineUnetTracker
from lmtrack_ros.phantoms.insertion import insert
from lmtrack_ros.phantoms.motion import Trace
from lmtrack_ros.phantoms.target_appearance import TargetParameters
from lmtrack_ros.sources import open_source
from lmtrack_ros.sources.annotations import Annotation, read_annotations

Array = NDArray[np.float64]

_DIAMETERS_MM = (15.0, 25.0, 35.0)
_ABOVE_MM = {"by the diaphragm": (25.0, 1.0), "mid-lung": (100.0, 0.5)}
"""How far above a dome a tumour is on the first frame, and how far it moves, of the dome's way."""
_DOME = "dome"
"""Landmarks whose names begin like this are domes."""

_INTRODUCTION = """\
Weights: `{weights}`, trained on phantoms alone. Into {recordings} were put ellipsoids whose motion is exact:
above each dome of the diaphragm, in two heights and three sizes, one at a time; their way is that of the
annotated dome (*by the diaphragm*) or half of it (*mid-lung*). Every frame counts, from the first on.
*Lost* is where nothing is found; *far* are errors beyond 3 mm, *believed* those of them that are TRACKED and
not within the reported radius."""


@dataclass(frozen=True, eq=False)
class _Run:
    """What the tracker says of N frames.

    Attributes:
        name: of the recording.
        place: of the tumour; empty where there is none.
        diameter_mm: likewise, 0.
        status: (N,) values of ``Status``.
        error_mm: (N,), infinite where nothing is found; NaN without a tumour.
        radius_mm: (N,).
    """

    name: str
    place: str
    diameter_mm: float
    status: NDArray[np.int64]
    error_mm: Array
    radius_mm: Array


def conduct(order: Order) -> Path:
    """Conduct the study; returns its page.

    Raises:
        UserError: no recordings are given, or one has no annotated dome of a diaphragm.
    """
    if not order.recordings:
        raise UserError("this study is of real recordings: give their folders with --recordings")
    weights = order.weights or WEIGHTS
    tracker = CoarseToFineUnetTracker(CoarseToFineUnetParameters(weights=weights))
    runs: list[_Run] = []
    for folder in order.recordings:
        name = folder.resolve().name
        excerpt = Excerpt.of(open_source(folder))
        domes = [a for a in read_annotations(folder) if a.landmark.id.startswith(_DOME)]
        if not domes or excerpt.info.geometry is None:
            raise UserError(f"{folder} needs a pixel spacing and an annotated dome to put tumours above")
        runs.append(_untouched(tracker, name, excerpt))
        settings = list(product(_ABOVE_MM, _DIAMETERS_MM, domes))
        for done, (place, diameter_mm, dome) in enumerate(settings):
            order.progress(name, done, len(settings))
            runs.append(_with_tumor(tracker, name, excerpt, excerpt.info.geometry, dome, place, diameter_mm))
        order.progress(name, len(settings), len(settings))
    path = order.out / "inserted.md"
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(_lines(order, weights, runs)), encoding="utf-8")
    return path


def _untouched(tracker: CoarseToFineUnetTracker, name: str, excerpt: Excerpt) -> _Run:
    status, _, radius_mm = _said(tracker, ((frame, None) for frame in excerpt))
    return _Run(name, "", 0.0, status, np.full(len(status), np.nan), radius_mm)


def _with_tumor(
    tracker: CoarseToFineUnetTracker,
    name: str,
    excerpt: Excerpt,
    geometry: ImageGeometry,
    dome: Annotation,
    place: str,
    diameter_mm: float,
) -> _Run:
    above_mm, share = _ABOVE_MM[place]
    frames = list(excerpt)
    numbers = np.array(sorted(dome.marks))
    time_s = np.array([(frames[n].stamp_ns - frames[0].stamp_ns) / NS_PER_S for n in numbers])
    places_mm = np.array([geometry.position_mm(dome.marks[n].uv_px) for n in numbers])
    column, row = dome.landmark.uv_px
    start_px = (column, row - above_mm / geometry.plane_spacing_mm[1])
    target = TargetParameters(diameters_mm=(diameter_mm, 0.9 * diameter_mm, 0.95 * diameter_mm))
    samples = insert(excerpt, start_px, target, Trace(time_s, share * places_mm))
    shown = ((s.frame, np.array(s.truth.estimates[0].uv_px[:2])) for s in samples)
    status, error_mm, radius_mm = _said(tracker, shown)
    return _Run(name, place, diameter_mm, status, error_mm, radius_mm)


def _said(
    tracker: CoarseToFineUnetTracker, shown: Iterable[tuple[Frame, Array | None]]
) -> tuple[NDArray[np.int64], Array, Array]:
    """Return status, error and radius, (N,) each, in frames with the true (2,) pixel of the tumour."""
    status, error_mm, radius_mm = [], [], []
    for number, (frame, true_px) in enumerate(shown):
        if number == 0:
            tracker.initialize(frame, ())
        (estimate,) = tracker.update(frame).estimates
        status.append(int(estimate.status))
        radius_mm.append(estimate.radius_mm)
        if true_px is None or frame.geometry is None:
            error_mm.append(np.nan)
        elif np.isfinite(estimate.uv_px).all():
            away_px = np.array(estimate.uv_px) - true_px
            error_mm.append(float(np.linalg.norm(away_px * frame.geometry.plane_spacing_mm[:2])))
        else:
            error_mm.append(np.inf)
    return np.array(status), np.array(error_mm), np.array(radius_mm)


def _lines(order: Order, weights: str, runs: Sequence[_Run]) -> list[str]:
    inserted = [run for run in runs if run.place]
    strata: dict[str, Callable[[_Run], bool]] = {"all": lambda run: True}
    strata |= {place: lambda run, place=place: run.place == place for place in _ABOVE_MM}
    strata |= {f"{mm:g} mm": lambda run, mm=mm: run.diameter_mm == mm for mm in _DIAMETERS_MM}
    recordings = ", ".join(dict.fromkeys(run.name for run in runs))
    return [
        "# Coarse-to-fine U-Net: tumours in real recordings",
        "",
        f"Made by `{order.command}`; do not edit.",
        "",
        _INTRODUCTION.format(weights=weights, recordings=recordings),
        "",
        "| tumours | runs | median mm | mean mm | 95 % mm | lost | TRACKED | far | believed |",
        f"|---|{'--:|' * 8}",
        *(_row(name, [run for run in inserted if is_in(run)]) for name, is_in in strata.items()),
        "",
        "## Without a tumour",
        "",
        "The recordings as they are: whatever is TRACKED there is none.",
        "",
        "| recording | frames | TRACKED | UNCERTAIN | LOST |",
        "|---|--:|--:|--:|--:|",
        *_bare_rows(run for run in runs if not run.place),
        "",
        "## The radius",
        "",
        coverage.EXPLANATION,
        "",
        f"| {' | '.join(coverage.HEADINGS)} |",
        f"|{'--:|' * len(coverage.HEADINGS)}",
        f"| {' | '.join(coverage.cells([_claimed(run) for run in inserted]) or ['–'])} |",
        "",
    ]


def _row(name: str, of: Sequence[_Run]) -> str:
    status, error_mm, radius_mm = (
        np.concatenate([getattr(run, what) for run in of]) for what in ("status", "error_mm", "radius_mm")
    )
    found_mm = error_mm[np.isfinite(error_mm)]
    median, high = np.quantile(found_mm, (0.5, 0.95)) if len(found_mm) else (np.nan, np.nan)
    mean = found_mm.mean() if len(found_mm) else np.nan
    far = error_mm > FAR_MM
    believed = far & (status == Status.TRACKED) & (error_mm > radius_mm)
    return (
        f"| {name} | {len(of)} | {median:.2f} | {mean:.2f} | {high:.2f} | {np.isinf(error_mm).mean():.1%} | "
        f"{(status == Status.TRACKED).mean():.1%} | {far.mean():.1%} | {believed.mean():.1%} |"
    )


def _bare_rows(runs: Iterable[_Run]) -> Iterator[str]:
    for run in runs:
        shares = [f"{(run.status == s).mean():.1%}" for s in (Status.TRACKED, Status.UNCERTAIN, Status.LOST)]
        yield f"| {run.name} | {len(run.status)} | {' | '.join(shares)} |"


def _claimed(run: _Run) -> tuple[Array, Array]:
    return run.error_mm, np.where(np.isfinite(run.error_mm), run.radius_mm, np.inf)

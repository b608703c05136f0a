"""Tumours put into real recordings that the network has never seen, and the same recordings as they are."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import ImageGeometry
from lmtrack_ros.core.records import NS_PER_S, Status
from lmtrack_ros.evaluation import coverage
from lmtrack_ros.evaluation.excerpt import Excerpt
from lmtrack_ros.evaluation.lung_study import live
from lmtrack_ros.evaluation.lung_study.live import Said, told
from lmtrack_ros.evaluation.lung_study.networks import WEIGHTS
from lmtrack_ros.evaluation.overlay import atomic_file
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.models.coarse_to_fine_unet.parameters import CoarseToFineUnetParameters
from lmtrack_ros.models.coarse_to_fine_unet.tracker import CoarseToFineUnetTracker
from lmtrack_ros.phantoms.insertion import insert
from lmtrack_ros.phantoms.motion import Trace
from lmtrack_ros.phantoms.target_appearance import TargetParameters
from lmtrack_ros.sources import open_source
from lmtrack_ros.sources.annotations import Annotation, read_annotations

_DIAMETERS_MM = (15.0, 25.0, 35.0)
_ABOVE_MM = {"by the diaphragm": (25.0, 1.0), "mid-lung": (100.0, 0.5)}
"""How far above a dome a tumour is on the first frame, and how far it moves, of the dome's way."""
_DOME = "dome"
"""Landmarks whose names begin like this are domes."""

_INTRODUCTION = """\
Weights: `{weights}`, trained on phantoms alone. Into {recordings} were put ellipsoids whose motion is exact:
above each dome of the diaphragm, in two heights and three sizes, one at a time; their way is that of the
annotated dome (*by the diaphragm*) or half of it (*mid-lung*). Every frame counts, from the first on. """


class _Run(NamedTuple):
    """What the tracker says of a recording.

    Attributes:
        name: of the recording.
        place: of the tumour; empty where there is none.
        diameter_mm: likewise, 0.
        said: of every frame.
    """

    name: str
    place: str
    diameter_mm: float
    said: Said


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
        runs.append(_Run(name, "", 0.0, told(tracker, ((frame, None) for frame in excerpt))))
        settings = list(product(_ABOVE_MM, _DIAMETERS_MM, domes))
        for done, (place, diameter_mm, dome) in enumerate(settings):
            order.progress(name, done, len(settings))
            runs.append(_with_tumor(tracker, name, excerpt, excerpt.info.geometry, dome, place, diameter_mm))
        order.progress(name, len(settings), len(settings))
    path = order.out / "inserted.md"
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(_lines(order, weights, runs)), encoding="utf-8")
    return path


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
    return _Run(name, place, diameter_mm, told(tracker, shown))


def _lines(order: Order, weights: str, runs: Sequence[_Run]) -> list[str]:
    inserted = [run for run in runs if run.place]
    strata = {"all": inserted}
    strata |= {place: [run for run in inserted if run.place == place] for place in _ABOVE_MM}
    strata |= {f"{mm:g} mm": [run for run in inserted if run.diameter_mm == mm] for mm in _DIAMETERS_MM}
    recordings = ", ".join(dict.fromkeys(run.name for run in runs))
    return [
        "# Coarse-to-fine U-Net: tumours in real recordings",
        "",
        f"Made by `{order.command}`; do not edit.",
        "",
        _INTRODUCTION.format(weights=weights, recordings=recordings) + live.EXPLANATION,
        "",
        f"| tumours | runs | {' | '.join(live.HEADINGS)} |",
        f"|---|{'--:|' * (1 + len(live.HEADINGS))}",
        *(_row(name, some) for name, some in strata.items()),
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
        f"| {' | '.join(coverage.cells([run.said.claimed for run in inserted]) or ['–'])} |",
        "",
    ]


def _row(name: str, of: Sequence[_Run]) -> str:
    return f"| {name} | {len(of)} | {' | '.join(live.cells([run.said for run in of]))} |"


def _bare_rows(runs: Iterable[_Run]) -> Iterator[str]:
    for run in runs:
        status = run.said.status
        shares = [f"{(status == s).mean():.1%}" for s in (Status.TRACKED, Status.UNCERTAIN, Status.LOST)]
        yield f"| {run.name} | {len(status)} | {' | '.join(shares)} |"

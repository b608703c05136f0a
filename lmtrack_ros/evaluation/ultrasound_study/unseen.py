"""Structures that are absent from training: whether what is wrong is said to be."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.records import Landmark, Status
from lmtrack_ros.evaluation import coverage
from lmtrack_ros.evaluation.clust import LandmarkScore, followed
from lmtrack_ros.evaluation.excerpt import Excerpt
from lmtrack_ros.evaluation.overlay import atomic_file
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.evaluation.ultrasound_study.networks import WEIGHTS, tracker
from lmtrack_ros.phantoms import PhantomParameters, open_phantom
from lmtrack_ros.phantoms.ultrasound.phantom import UltrasoundPhantom
from lmtrack_ros.sources import open_source
from lmtrack_ros.sources.annotations import Annotation, Mark, read_annotations
from lmtrack_ros.trackers import Tracker

_SEEDS = range(8200, 8206)
"""Those that the tracker's limits were found with are others, 8100 to 8105."""
_SECONDS = 8.0
_ORGANS = ("liver", "liver_deep", "liver_fine", "liver_fast", "liver_slow", "kidney")
_POINTS = 3
"""Of tissue, in each patient."""
_CLEAR_MM = 12.0
"""So far from any landmark that was trained on such a point is at least."""
_FIELD = (0.25, 0.75)
"""Where in the image they lie, in parts of its sides."""
_FAR_MM = 3.0

_INTRODUCTION = """\
The network was trained on vessels of livers and calyces of kidneys. Here it follows what it has never seen:

- **muscle**: landmarks of simulated calf muscle under a linear probe, 0.087 mm per pixel;
- **tissue**: points in the simulated organs that it knows, drawn by chance and at least 12 mm from any
  landmark, of which nothing may show but speckle;
- recordings: the landmarks of real ones.

*TRACKED* is a share of the errors, which in recordings are those of certain frames. *Far* are errors beyond
3 mm; *flagged* those of them that are UNCERTAIN or LOST, *covered* those within the reported radius,
*neither* the rest: what a gate would believe. Weights: `{weights}`."""


def conduct(order: Order) -> Path:
    """Follow what is unseen; returns the page.

    Raises:
        UserError: there are no such weights, or a recording has no landmarks.
    """
    weights = order.weights or WEIGHTS
    one = tracker(weights)
    scores = {
        "muscle, simulated": _scored(order, one, "muscle", _muscles()),
        "tissue, simulated": _scored(order, one, "tissue", _tissues()),
    }
    for folder in order.recordings:
        excerpt = Excerpt.of(open_source(folder))
        name = folder.resolve().name
        scores[f"{name}, real"] = followed(name, excerpt, read_annotations(folder), lambda: one, name)
    path = order.out / "unseen.md"
    lines = [
        "# Attention Mask R-CNN with LSTM: structures absent from training",
        "",
        f"Made by `{order.command}`; do not edit.",
        "",
        _INTRODUCTION.format(weights=weights),
        "",
        "| structures | landmarks | mean mm | 95 % mm | TRACKED | errors | far | flagged or covered "
        "| neither |",
        f"|---|{'--:|' * 8}",
        *(_row(name, some) for name, some in scores.items()),
        "",
        coverage.EXPLANATION,
        "",
        f"| structures | {' | '.join(coverage.HEADINGS)} |",
        f"|---|{'--:|' * len(coverage.HEADINGS)}",
        *(f"| {name} | {' | '.join(_radius_cells(some))} |" for name, some in scores.items()),
        "",
    ]
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
    return path


def _scored(
    order: Order, one: Tracker, name: str, phantoms: Sequence[tuple[UltrasoundPhantom, dict[str, Array]]]
) -> list[LandmarkScore]:
    scores: list[LandmarkScore] = []
    for done, (phantom, points_mm) in enumerate(phantoms):
        order.progress(name, done, len(phantoms))
        scores += followed(f"{name} {done}", *_sequence(phantom, points_mm), lambda: one, name)
    order.progress(name, len(phantoms), len(phantoms))
    return scores


def _sequence(phantom: UltrasoundPhantom, points_mm: dict[str, Array]) -> tuple[Excerpt, list[Annotation]]:
    """Return frames, and where in them tissue is that is at some points while the diaphragm is at zero."""
    times_s = np.arange(round(_SECONDS * phantom.info.rate_hz)) / phantom.info.rate_hz
    frames = [phantom.render(number + 1, float(time_s)) for number, time_s in enumerate(times_s)]
    annotations = []
    for name, point_mm in points_mm.items():
        places = [phantom.pixel(phantom.carried_mm(point_mm, float(time_s))) for time_s in times_s]
        marks = {number: Mark(place, certain=True) for number, place in enumerate(places)}
        annotations.append(Annotation(Landmark(name, places[0]), marks))
    return Excerpt(frames, phantom.info), annotations


def _muscles() -> list[tuple[UltrasoundPhantom, dict[str, Array]]]:
    phantoms = [_open("muscle", seed) for seed in _SEEDS]
    return [(phantom, dict(phantom.landmarks_mm)) for phantom in phantoms]


def _tissues() -> list[tuple[UltrasoundPhantom, dict[str, Array]]]:
    phantoms = [_open(preset, seed) for preset in _ORGANS for seed in _SEEDS]
    return [(phantom, dict(_points(phantom, seed))) for seed, phantom in enumerate(phantoms)]


def _open(preset: str, seed: int) -> UltrasoundPhantom:
    return cast(UltrasoundPhantom, open_phantom("ultrasound", PhantomParameters(preset, seed)))


def _points(phantom: UltrasoundPhantom, seed: int) -> Iterator[tuple[str, Array]]:
    """Yield points of tissue, in isocenter, mm."""
    rng = np.random.default_rng((seed, 30))
    height, width = phantom.render(1, 0.0).image.shape
    landmarks_mm = np.array(list(phantom.landmarks_mm.values()))
    found = 0
    while found < _POINTS:
        pixel = rng.uniform(*_FIELD, 2) * (width, height)
        point_mm = phantom.geometry.position_mm(pixel)
        if np.linalg.norm(landmarks_mm - point_mm, axis=1).min() > _CLEAR_MM:
            found += 1
            yield f"point {found}", point_mm


def _row(name: str, scores: Sequence[LandmarkScore]) -> str:
    error_mm = np.concatenate([one.error_mm for one in scores])
    status = np.concatenate([one.status for one in scores])
    far = error_mm > _FAR_MM
    said = ~np.concatenate([one.silent for one in scores])
    share = f"{said[far].mean():.1%}" if far.any() else "–"
    return (
        f"| {name} | {len(scores)} | {error_mm.mean():.2f} | {np.percentile(error_mm, 95):.2f} | "
        f"{(status == Status.TRACKED).mean():.1%} | {len(error_mm)} | {far.sum()} | {share} | "
        f"{(far & ~said).sum()} |"
    )


def _radius_cells(scores: Sequence[LandmarkScore]) -> list[str]:
    return coverage.cells([(one.error_mm, one.radius_mm) for one in scores])

"""The page of cross-validation and test: tables and a figure."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lmtrack_ros.evaluation import coverage
from lmtrack_ros.evaluation.clust import LandmarkScore, figures, mean_interval_mm, table
from lmtrack_ros.evaluation.overlay import atomic_file
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.evaluation.tracking_picture import Cumulated, draw_errors
from lmtrack_ros.evaluation.ultrasound_study.networks import NETWORK

_CROSSED, _TESTED = "cross-validation, 24 sequences", "test, 39 sequences"
_FLAG_MM = 3.0

_INTRODUCTION = """\
**All of this is simulated**: the study population of `lmtrack phantom clust`, 24 sequences with 53
landmarks to train on and 39 with 85 to test, in number and kind like those of the CLUST challenge 2015:
five scanners, 6 to 30 frames a second, 0.27 to 0.77 mm per pixel, 10 s to 2 min long, out-of-plane motion,
shadows, look-alike structures; four in ten patients cough, sneeze or take a deep breath once. No patient is
in two parts. Every eighth frame is annotated, with the exact place of a material point.

Errors on every annotated frame but the first of every landmark, none left out; one that is LOST counts with
its last known position. *N* landmarks; *lost* and *TRACKED* are shares of a landmark's frames, of which the
mean over the landmarks is given; *in radius* is the share of the errors within the reported 95 % radius. The
interval of the mean is by bootstrap over sequences."""

_PAPER = """\
## What the papers print, of clinical images

Zhang et al. 2023, tables I and III, and what they cite there; on the clinical images of the challenge, so
that these figures cannot be compared with those above. Of the 85 test landmarks they chose the 69 that look
like those they had trained on.

| | N | mean mm | SD mm | 95 % mm | mean of maxima mm |
|---|--:|--:|--:|--:|--:|
| CIL, cross-validation | 3 | 0.73 | 0.51 | 1.66 | 1.82 |
| ETH, cross-validation | 16 | 0.59 | 0.60 | 1.52 | 1.64 |
| ICR, cross-validation | 12 | 0.59 | 0.36 | 1.39 | 1.52 |
| MED, cross-validation | 22 | 0.73 | 0.62 | 1.71 | 1.88 |
| ALL, cross-validation | 53 | 0.65 | 0.56 | 1.57 | 1.69 |
| test | 69 | 0.94 | 0.83 | 2.43 | |
| test, Nouri and Rothberg 2015 | | 3.35 | 5.21 | 14.19 | |
| test, Gomariz et al. 2019 | | 1.34 | 2.57 | 2.95 | |
"""


class Tables(NamedTuple):
    """Scores of one tracker in cross-validation and on the test set."""

    crossed: Sequence[LandmarkScore]
    tested: Sequence[LandmarkScore]


def write(order: Order, network: Tables, beside: Mapping[str, Tables]) -> Path:
    """Write the page and its picture; returns the page."""
    picture, path = order.out / "clust.png", order.out / "clust.md"
    everyone = {NETWORK: network, **beside}
    draw_errors(
        picture,
        [
            Cumulated(stage, name, np.concatenate([one.error_mm for one in scores]))
            for name, tables in everyone.items()
            for stage, scores in zip((_CROSSED, _TESTED), tables, strict=True)
        ],
    )
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(_lines(order, network, everyone)), encoding="utf-8")
    return path


def _lines(order: Order, network: Tables, everyone: Mapping[str, Tables]) -> list[str]:
    return [
        "# Attention Mask R-CNN with LSTM: landmarks in simulated ultrasound",
        "",
        f"Made by `{order.command}`; do not edit.",
        "",
        _INTRODUCTION,
        "",
        "![Share of errors that are greater](clust.png)",
        "",
        "## Five-fold cross-validation (as table I)",
        "",
        "Folds are of whole sequences. Each network is trained and calibrated anew, without the fold that it",
        "is scored on.",
        "",
        *table(network.crossed),
        "",
        "## Test (as table I, and III below)",
        "",
        *table(network.tested),
        "",
        "## Beside the usual trackers, on the same sequences (as table III)",
        "",
        "| sequences | tracker | mean mm (95 % interval) | SD mm | 95 % mm | mean of maxima mm | > 3 mm "
        "| > 3 mm, neither flagged nor in radius | lost | TRACKED |",
        f"|---|---|{'--:|' * 8}",
        *(_row(_CROSSED, name, tables.crossed) for name, tables in everyone.items()),
        *(_row(_TESTED, name, tables.tested) for name, tables in everyone.items()),
        "",
        "## The radius",
        "",
        coverage.EXPLANATION,
        "",
        f"| sequences | tracker | {' | '.join(coverage.HEADINGS)} |",
        f"|---|---|{'--:|' * len(coverage.HEADINGS)}",
        *_coverage_rows(_CROSSED, {name: tables.crossed for name, tables in everyone.items()}),
        *_coverage_rows(_TESTED, {name: tables.tested for name, tables in everyone.items()}),
        "",
        _PAPER,
    ]


def _coverage_rows(stage: str, scores: Mapping[str, Sequence[LandmarkScore]]) -> Iterator[str]:
    for name, some in scores.items():
        found = coverage.cells([(one.error_mm, one.radius_mm) for one in some])
        if found:
            yield f"| {stage} | {name} | {' | '.join(found)} |"


def _row(stage: str, name: str, scores: Sequence[LandmarkScore]) -> str:
    of = figures(scores)
    low, high = mean_interval_mm(scores)
    far = np.concatenate([one.error_mm > _FLAG_MM for one in scores])
    silent = np.concatenate([one.silent for one in scores])
    return (
        f"| {stage} | {name} | {of['mean_mm']:.2f} ({low:.2f}–{high:.2f}) | {of['sd_mm']:.2f} | "
        f"{of['p95_mm']:.2f} | {of['mean_of_maxima_mm']:.2f} | {far.mean():.2%} | "
        f"{(far & silent).mean():.2%} | {of['lost']:.1%} | {of['tracked']:.1%} |"
    )

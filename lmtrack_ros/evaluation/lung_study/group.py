"""Other patients than those trained on (section 4.2): masks, what the tracker says live, and no tumour."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import Status
from lmtrack_ros.evaluation import coverage
from lmtrack_ros.evaluation.bootstrap import mean_interval
from lmtrack_ros.evaluation.lung_study import live
from lmtrack_ros.evaluation.lung_study.live import Followed, followed
from lmtrack_ros.evaluation.lung_study.networks import WEIGHTS, load_generator
from lmtrack_ros.evaluation.lung_study.picture import draw_scores
from lmtrack_ros.evaluation.lung_study.scoring import Score, score
from lmtrack_ros.evaluation.overlay import atomic_file
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.models.coarse_to_fine_unet.agreement import Figures, figures
from lmtrack_ros.models.coarse_to_fine_unet.parameters import CoarseToFineUnetParameters
from lmtrack_ros.models.coarse_to_fine_unet.populations import group
from lmtrack_ros.models.coarse_to_fine_unet.tracker import CoarseToFineUnetTracker
from lmtrack_ros.models.parts import Part
from lmtrack_ros.phantoms.lung_cases import LARGE_MM, SMALL_MM, USUAL_MM

_BY_SIZE = MappingProxyType(
    {
        "12–20 mm, smaller than any trained on": SMALL_MM,
        "20–40 mm, as trained on": USUAL_MM,
        "40–50 mm, larger than any trained on": LARGE_MM,
    }
)

_OVER: Mapping[str, Callable[[Mapping[str, float]], bool]] = MappingProxyType(
    {
        "over heart, vessels or spine": lambda hidden: hidden["mediastinum"] >= 0.5,
        "else over ribs": lambda hidden: hidden["mediastinum"] < 0.5 <= hidden["bone"],
        "over neither, or partly": lambda hidden: max(hidden.values()) < 0.5,
    }
)
"""What a tumour is counted to lie over, by the share of its pixels there."""

_BY_TRAVEL = MappingProxyType(
    {"less than 6 mm": (0.0, 6.0), "6–12 mm": (6.0, 12.0), "more than 12 mm": (12.0, np.inf)}
)

_INTRODUCTION = """\
**Simulated fluoroscopy** of the whole chest, 256 × 256 pixels. The network was trained on 110 other patients
with tumours of 20 to 40 mm; here are {patients} patients, each with a small, a usual and a large tumour, in
ten phases of one regular breath, 0.5 s apart. *Window* is the paper's protocol: the mean over the ten frames,
seen at once. *Newest* is what a stream knows of the same frames, each while no later one was seen. Distances
are of the centroids, where something is found, of its largest part; *missed* is the share of frames in which
nothing is, and their overlap counts as 0. Weights: `{weights}`."""

_LIVE = """\
The tracker on the same patients and sizes, and on the same patients breathing freely with a usual tumour, in
frames 0.5 s apart; from the sixth second of each stream on. """

_PAPER = """\
The paper prints, of another phantom (X-CAT, 110 patients to train on and 30 to test with): IoU 0.92, Dice
0.96, centroids 1.6 mm vertically and 0.7 mm horizontally, over the ten frames."""


def conduct(order: Order) -> Path:
    """Score weights on the test patients; returns the page.

    Raises:
        UserError: recordings were ordered, or there are no such weights.
    """
    if order.recordings:
        raise UserError("this study is of simulated patients: leave out --recordings")
    weights = order.weights or WEIGHTS
    generator = load_generator(weights)
    cases = group(Part.TEST)
    cycles = [case for case in cases if case.is_cycle]
    scores = score(generator, cycles, partial(order.progress, "masks"))
    tracker = CoarseToFineUnetTracker(CoarseToFineUnetParameters(weights=weights))
    said = followed(tracker, cases, partial(order.progress, "live"))
    draw_scores(order.out / "group.png", {name: _of_size(scores, mm) for name, mm in _BY_SIZE.items()})
    path = order.out / "group.md"
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(_lines(order, weights, scores, said)), encoding="utf-8")
    return path


def _of_size(scores: Sequence[Score], diameters_mm: tuple[float, float]) -> list[Score]:
    return [one for one in scores if one.case.diameters_mm == diameters_mm]


def _strata(of: Sequence[Score]) -> dict[str, list[Score]]:
    strata: dict[str, list[Score]] = {"all": list(of)}
    strata |= {f"diameter {name}": _of_size(of, mm) for name, mm in _BY_SIZE.items()}
    strata |= {name: [one for one in of if is_over(one.pictures.hidden)] for name, is_over in _OVER.items()}
    for name, (low, high) in _BY_TRAVEL.items():
        strata[f"moves {name}"] = [one for one in of if low <= one.pictures.travel_mm < high]
    return strata


def _lines(order: Order, weights: str, scores: Sequence[Score], said: Sequence[Followed]) -> list[str]:
    patients = len({one.case.patient for one in scores})
    cycles = [one for one in said if one.case.is_cycle]
    free = [one for one in said if not one.case.is_cycle and one.case.tumor is not None]
    none = [one for one in said if one.case.tumor is None]
    seen = np.concatenate([one.said.status for one in none])
    return [
        "# Coarse-to-fine U-Net: tumours of other patients",
        "",
        f"Made by `{order.command}`; do not edit.",
        "",
        _INTRODUCTION.format(patients=patients, weights=weights),
        "",
        "![Outlines and overlap](group.png)",
        "",
        "## Masks",
        "",
        "| tumours | cases | window: IoU (95 % interval) | Dice | vertical mm | horizontal mm | missed "
        "| newest: IoU | Dice | vertical mm | horizontal mm | missed |",
        f"|---|{'--:|' * 11}",
        *(_row(name, of) for name, of in _strata(scores).items() if of),
        "",
        _PAPER,
        "",
        "## Live",
        "",
        _LIVE + live.EXPLANATION,
        "",
        f"| tumours | {' | '.join(live.HEADINGS)} |",
        f"|---|{'--:|' * len(live.HEADINGS)}",
        *(_live_row(f"diameter {name}", _said_of(cycles, mm)) for name, mm in _BY_SIZE.items()),
        *(_live_row(name, _said_over(cycles, is_over)) for name, is_over in _OVER.items()),
        _live_row("free breathing", free),
        _live_row("all", [*cycles, *free]),
        "",
        f"Without a tumour, breathing freely: {len(seen)} frames of {len(none)} patients, "
        f"{(seen == Status.TRACKED).mean():.1%} TRACKED, {(seen == Status.UNCERTAIN).mean():.1%} UNCERTAIN.",
        "",
        "## The radius",
        "",
        coverage.EXPLANATION,
        "",
        f"| tumours | {' | '.join(coverage.HEADINGS)} |",
        f"|---|{'--:|' * len(coverage.HEADINGS)}",
        _radius_row("one regular breath", cycles),
        _radius_row("free breathing", free),
        "",
    ]


def _row(name: str, of: Sequence[Score]) -> str:
    low, high = mean_interval([one.window.iou for one in of])
    window, newest = figures([one.window for one in of]), figures([one.newest for one in of])
    interval = f" ({low:.2f}–{high:.2f})"
    return f"| {name} | {len(of)} | {_cells(window, interval)} | {_cells(newest)} |"


def _cells(of: Figures, interval: str = "") -> str:
    return (
        f"{of.iou:.2f}{interval} | {of.dice:.2f} | {of.vertical_mm:.2f} | {of.horizontal_mm:.2f} | "
        f"{of.missed:.1%}"
    )


def _said_of(said: Sequence[Followed], diameters_mm: tuple[float, float]) -> list[Followed]:
    return [one for one in said if one.case.diameters_mm == diameters_mm]


def _said_over(said: Sequence[Followed], is_over: Callable[[Mapping[str, float]], bool]) -> list[Followed]:
    return [one for one in said if is_over(one.pictures.hidden)]


def _live_row(name: str, of: Sequence[Followed]) -> str:
    return f"| {name} | {' | '.join(live.cells([one.said for one in of]))} |"


def _radius_row(name: str, of: Sequence[Followed]) -> str:
    found = coverage.cells([one.said.claimed for one in of])
    return f"| {name} | {' | '.join(found or ['–'] * len(coverage.HEADINGS))} |"

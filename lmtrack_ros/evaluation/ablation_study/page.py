"""The page of the ablations: tables and a figure."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmtrack_ros.evaluation.ablation_study.arms import ARMS, SCHEDULE, VARIED, Arm
from lmtrack_ros.evaluation.ablation_study.landmarks import LandmarkErrors, mean_interval_mm, pooled
from lmtrack_ros.models.figures import number
from lmtrack_ros.models.template_matching.configuration import REALTIME

_TITLES = {
    "patch_px": "Patch size",
    "depth": "Fully connected layers",
    "loss": "Distribution of the errors",
    "matching": "Matching of features (not of the paper)",
}
_PAPER = {
    "patch_px": "The paper, on its clinical images: larger patches lower the error of template matching, "
    "smaller ones that of landmarks (figure 5).",
    "depth": "The paper, on its clinical images: one layer is not enough, and three are best (table 3).",
    "loss": "The paper, on its clinical images: no relevant difference (table 3).",
    "matching": "The paper's network has none.",
}
_COLOUR = "#1d6fa3"


@dataclass(frozen=True, eq=False)
class Result:
    """Of one arm.

    Attributes:
        template_matching: scores on the test set, px of the network's image.
        landmarks: errors of each sequence, by what the sequences are; the phantoms come first.
        trained_s: how long training took.
    """

    template_matching: Mapping[str, float | None]
    landmarks: Mapping[str, Sequence[LandmarkErrors]]
    trained_s: float


def write_page(path: Path, results: Mapping[str, Result], command: str) -> None:
    """Write the page, and the figure beside it.

    Args:
        path: .md file; the figure is a PNG of the same name.
        results: by the name of the arm; those that are not done yet are left out.
        command: that makes it.
    """
    picture = path.with_suffix(".png")
    _figure(results).savefig(picture, dpi=110, format="png")
    path.write_text("\n\n".join(_sections(results, command, picture.name)) + "\n", encoding="utf-8")


def _sections(results: Mapping[str, Result], command: str, picture: str) -> list[str]:
    s = SCHEDULE
    count = len({arm.name for arm in ARMS})
    missing = "" if len(results) == count else f"\n\n**So far {len(results)} of {count} networks are done.**"
    mean_s = np.mean([r.trained_s for r in results.values()])
    phantoms, *real = next(iter(results.values())).landmarks.items()
    patients = len(phantoms[1])
    recordings = [name for name, _ in real]
    moved = [f"{pooled(errors).moved_mm.mean():.1f} mm in {name}" for name, errors in (phantoms, *real)]
    also = f" Real recordings, on their certain frames: {', '.join(recordings)}." if recordings else ""
    return [
        "# Ablations of the template matching network",
        f"```sh\n{command}\n```{missing}",
        "Each network is trained anew on simulated cine-MR, the phantoms of `mr`, with the same short "
        f"schedule: {s.epochs} epochs of {s.steps_per_epoch} steps, {s.images_per_step} views with "
        f"{s.patches_per_image} patches each, {s.learning_rate:g} × {s.decay:g} per epoch, seed 0. One thing "
        "at a time differs from the preset `realtime`; the unchanged network is one and the same in all "
        "tables (**bold**). The figures compare these networks with each other and not with the shipped "
        f"weights, which are trained {REALTIME.epochs} epochs. There is one seed of each, so that small "
        "differences say nothing.",
        f"Budget: {s.epochs * s.steps_per_epoch} steps each, {mean_s / 60:.0f} min on average on "
        f"{os.cpu_count()} cores ({platform.machine()}), which other work may have shared.",
        f"Template matching: patches of images of the {patients} simulated test patients, drawn uniformly "
        f"and found in the same image; px of the network's image, {s.view_mm / s.image_px:.2f} mm each. "
        "*Surer half*: mean of the half with the smaller σ̂.",
        f"Landmarks: of the same {patients} patients, none of whom was trained on; marked on the first image "
        "and found on later ones by the network alone, without refinement; px of the images. The interval is "
        f"by bootstrap over patients.{also} On average they are {', '.join(moved)} away from where they were "
        "marked.",
        f"![Errors of template matching and of landmarks for all networks]({picture})",
        *(f"## {_TITLES[p]}\n\n{_table(p, results, recordings)}\n\n{_PAPER[p]}" for p in VARIED),
    ]


def _table(parameter: str, results: Mapping[str, Result], real: Sequence[str]) -> str:
    head = [
        f"`{parameter}`",
        "template matching [px]: mean",
        "median",
        "surer half",
        "landmarks, phantoms: mean ± std [px]",
        "mean [mm] (95 % interval)",
        "95 % [mm]",
        *(f"{name}: {what}" for name in real for what in ("mean ± std [px]", "mean [mm]")),
        "training [min]",
    ]
    lines = [f"| {' | '.join(head)} |", f"|---|{'--:|' * (len(head) - 1)}"]
    for arm in _done(parameter, results):
        result = results[arm.name]
        phantoms, *others = result.landmarks.values()
        error_mm = pooled(phantoms).error_mm
        low, high = mean_interval_mm(phantoms)
        row = [
            f"**{arm.value}**" if arm.is_base else f"{arm.value}",
            *(
                number(result.template_matching[f"{name}_error_px"])
                for name in ("mean", "median", "surer_half")
            ),
            _mean_and_deviation(phantoms),
            f"{error_mm.mean():.2f} ({low:.2f}–{high:.2f})",
            f"{np.percentile(error_mm, 95):.2f}",
            *(
                cell
                for errors in others
                for cell in (_mean_and_deviation(errors), f"{pooled(errors).error_mm.mean():.2f}")
            ),
            f"{result.trained_s / 60:.0f}",
        ]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _mean_and_deviation(errors: Sequence[LandmarkErrors]) -> str:
    error_px = pooled(errors).error_px
    return f"{error_px.mean():.2f} ± {error_px.std():.2f}"


def _done(parameter: str, results: Mapping[str, Result]) -> list[Arm]:
    return [arm for arm in ARMS if arm.parameter == parameter and arm.name in results]


def _figure(results: Mapping[str, Result]) -> Figure:
    """Draw template matching above and landmarks below, a column for each parameter."""
    figure = Figure(figsize=(2.9 * len(VARIED), 4.8), layout="constrained")
    widths = [1 + len(values) for values in VARIED.values()]
    grid = figure.subplots(2, len(VARIED), sharey="row", sharex="col", width_ratios=widths, squeeze=False)
    for (above, below), parameter in zip(grid.T, VARIED, strict=True):
        arms = _done(parameter, results)
        at = np.arange(len(arms))
        above.plot(at, [_median_px(results[arm.name]) for arm in arms], "o", color=_COLOUR)
        errors = [next(iter(results[arm.name].landmarks.values())) for arm in arms]
        means = np.array([pooled(e).error_mm.mean() for e in errors])
        interval = np.array([mean_interval_mm(e) for e in errors]).reshape(-1, 2).T
        below.errorbar(at, means, abs(interval - means), fmt="o", color=_COLOUR, capsize=3)
        below.set_xticks(at, [f"{arm.value}{' *' if arm.is_base else ''}" for arm in arms], fontsize=8)
        below.set_xlabel(f"{parameter} (* unchanged)", fontsize=8)
        for axes in (above, below):
            _tidy(axes)
    for first in grid[:, 0]:
        first.set_ylim(bottom=0.0)
    grid[0, 0].set_ylabel("template matching,\nmedian error [px]")
    grid[1, 0].set_ylabel("landmarks of phantoms,\nmean error [mm]")
    return figure


def _median_px(result: Result) -> float:
    median_px = result.template_matching["median_error_px"]
    return np.nan if median_px is None else median_px


def _tidy(axes: Axes) -> None:
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, axis="y", color="0.92", lw=0.8)
    axes.set_axisbelow(True)

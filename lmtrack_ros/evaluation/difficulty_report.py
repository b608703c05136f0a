"""The difficulty of phantoms beside that of real recordings: a table and a figure."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmtrack_ros.evaluation.difficulty import LEAST_RATIO, Difficulty, Spread

_REAL_COLOUR, _SIMULATED_COLOUR = "#222222", "#d55e00"
_LEAST_MM, _MOST_MM = 0.02, 60.0


def table(measured: Sequence[Difficulty]) -> str:
    """Return one Markdown table."""
    lines = [
        "| modality | tracker | real mean, own pixels | real mean | real 95 % "
        "| simulated mean (95 % interval) | simulated 95 % (95 % interval) | ratio of means "
        f"| at least {LEAST_RATIO:g} |",
        "|---|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for one in measured:
        mean, p95 = one.simulated.mean_interval_mm, one.simulated.p95_interval_mm
        lines.append(
            f"| {one.setting.modality} | {one.tracker} | {one.real_own_pixels.mean_mm:.2f} "
            f"| {one.real.mean_mm:.2f} | {one.real.p95_mm:.2f} "
            f"| {one.simulated.mean_mm:.2f} ({mean[0]:.2f}–{mean[1]:.2f}) "
            f"| {one.simulated.p95_mm:.2f} ({p95[0]:.2f}–{p95[1]:.2f}) "
            f"| {one.ratio:.2f} | {'yes' if one.is_hard_enough else '**no**'} |"
        )
    return "\n".join(lines)


def write_table(path: Path, measured: Sequence[Difficulty], seeds: Sequence[int]) -> None:
    """Write a Markdown page with the table and what stands behind it.

    Args:
        path: .md file.
        measured: of all modalities.
        seeds: of the phantoms.
    """
    settings = dict.fromkeys(one.setting for one in measured)
    lines = ["# Difficulty of the phantoms", ""]
    lines += [
        f"- {setting.modality}: the default preset, seeds {seeds[0]} to {seeds[-1]}, {setting.seconds:g} s "
        f"each, beside {' and '.join(setting.recordings)}"
        for setting in settings
    ]
    lines += [
        "",
        "Errors in mm over every landmark and frame after the first, of real recordings over the certain",
        "frames, at the last known position where a landmark is lost. Each sequence counts alike. The",
        "intervals are by bootstrap over the simulated sequences. Trackers take a patch of so many pixels:",
        "a recording whose pixels are finer than the phantom's was therefore also followed on the phantom's,",
        "and the ratio is to that.",
        "",
        table(measured),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def draw(path: Path, measured: Sequence[Difficulty]) -> None:
    """Write one figure (PNG): a row for each modality, a column for each tracker.

    Each sequence is a thin line, all together a thick one: the part of the errors that is no greater. A
    dotted line is a mean.
    """
    rows = list(dict.fromkeys(one.setting.modality for one in measured))
    columns = list(dict.fromkeys(one.tracker for one in measured))
    figure = Figure(figsize=(4.0 * len(columns), 2.8 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey=True)
    for one in measured:
        axes = grid[rows.index(one.setting.modality), columns.index(one.tracker)]
        _steps(axes, one.simulated, _SIMULATED_COLOUR, "simulated")
        _steps(axes, one.real, _REAL_COLOUR, "real")
        verdict = "" if one.is_hard_enough else f", below {LEAST_RATIO:g}"
        axes.set_title(f"{one.setting.modality}, {one.tracker}: ratio {one.ratio:.2f}{verdict}", fontsize=9)
    for axes in grid[-1]:
        axes.set(xscale="log", xlim=(_LEAST_MM, _MOST_MM), xlabel="error [mm]")
    for axes in grid[:, 0]:
        axes.set(ylim=(0, 1), ylabel="part of the errors")
    grid[0, 0].legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=110, format="png")


def _steps(axes: Axes, spread: Spread, colour: str, label: str) -> None:
    for errors_mm in spread.errors_mm:
        part = np.arange(1, len(errors_mm) + 1) / len(errors_mm)
        axes.step(np.sort(errors_mm), part, where="post", color=colour, lw=0.5, alpha=0.35)
    errors_mm, part = spread.distribution()
    axes.step(errors_mm, part, where="post", color=colour, lw=2.0, label=label)
    axes.axvline(spread.mean_mm, color=colour, lw=1.0, ls=":")

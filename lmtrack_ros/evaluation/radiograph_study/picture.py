"""How far found landmarks are from true ones (fig. 4), and what is found in a real image."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lmtrack_ros.evaluation.overlay import atomic_file
from lmtrack_ros.models.landmark_net import KINDS
from lmtrack_ros.models.landmark_net.correctness import THRESHOLDS_PX, Matches, correctness
from lmtrack_ros.models.landmark_net.heat_maps import Peak


def draw_deviations(path: Path, strata: Mapping[str, Sequence[Matches]]) -> None:
    """Draw the share that is found within each distance, and a box plot of the distances of what is found."""
    shown = {name: of for name, of in strata.items() if any(len(one.away_px) for one in of)}
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    lines, boxes = figure.subplots(1, 2)
    for name, of in shown.items():
        lines.plot(THRESHOLDS_PX, 100 * np.array(correctness(of).of_landmarks), marker="o", label=name)
    lines.set(xlabel="distance, px of 384", ylabel="landmarks within it, %", xticks=THRESHOLDS_PX)
    lines.legend(frameon=False)
    lines.grid(alpha=0.3)
    away = [np.concatenate([one.away_px for one in of]) for of in shown.values()]
    boxes.boxplot(
        [values[np.isfinite(values)] for values in away],
        tick_labels=list(shown),
        vert=False,
        showfliers=False,
    )
    boxes.set(xlabel="distance of what is found, px; whiskers: 1.5 times the box")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=100)


def draw_found(path: Path, images: Sequence[NDArray[Any]], found: Sequence[Sequence[Sequence[Peak]]]) -> None:
    """Draw images beside each other with the peaks of each kind that are found in them.

    Args:
        path: of the picture.
        images: (H, W) each.
        found: for each image and kind, in its pixels.
    """
    height, width = images[0].shape
    figure = Figure(figsize=(4.5 * len(images), 4.5 * height / width + 0.5), layout="constrained")
    for axes, image, peaks in zip(np.atleast_1d(figure.subplots(1, len(images))), images, found, strict=True):
        axes.imshow(image, cmap="gray")
        axes.set_axis_off()
        for kind, colour, of_kind in zip(KINDS, ("tab:green", "tab:red", "tab:blue"), peaks, strict=True):
            label = f"{kind.replace('_', ' ')}: {len(of_kind)}"
            columns, rows = np.array([peak.uv_px for peak in of_kind]).reshape(-1, 2).T
            axes.scatter(columns, rows, s=60, facecolors="none", edgecolors=colour, label=label)
            for peak in of_kind:
                axes.annotate(f"{peak.height:.2f}", peak.uv_px + 12, color=colour, fontsize=8)
        axes.legend(fontsize=8, loc="lower right")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=80)

"""How far found landmarks are from true ones (fig. 4)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lmtrack_ros.evaluation.overlay import atomic_file
from lmtrack_ros.models.landmark_net.correctness import THRESHOLDS_PX, Matches, correctness


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

"""How the errors of several trackers are distributed, as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lmtrack_ros.evaluation.overlay import atomic_file

_COLOURS = ("#888888", "#e08a1e", "#1f6fb4", "#009e73", "#cc79a7")
"""Of the trackers, which are no more."""


class Cumulated(NamedTuple):
    """Errors of one tracker in one kind of runs.

    Attributes:
        stage: the kind.
        tracker: its name.
        error_mm: (N,).
    """

    stage: str
    tracker: str
    error_mm: NDArray[np.float64]


def draw_errors(path: Path, parts: Sequence[Cumulated]) -> None:
    """Draw which share of the errors is greater than so many millimetres; one panel for each stage."""
    stages = list(dict.fromkeys(part.stage for part in parts))
    trackers = list(dict.fromkeys(part.tracker for part in parts))
    figure = Figure(figsize=(4.2 * len(stages), 3.4), layout="constrained")
    panels = figure.subplots(1, len(stages), sharey=True, squeeze=False)[0]
    for panel, stage in zip(panels, stages, strict=True):
        for part in (p for p in parts if p.stage == stage):
            error_mm = np.sort(part.error_mm)
            share = 1 - np.arange(1, len(error_mm) + 1) / len(error_mm)
            colour = _COLOURS[trackers.index(part.tracker)]
            panel.step(error_mm, np.maximum(share, 1e-4), where="post", color=colour, label=part.tracker)
        panel.set(
            title=stage, xlabel="error, mm", xscale="log", yscale="log", xlim=(0.05, 100), ylim=(2e-4, 1)
        )
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("share of errors that are greater")
    panels[0].legend(loc="lower left", frameon=False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110)

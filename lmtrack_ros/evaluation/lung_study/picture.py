"""Found and true outlines, from the best to the worst, and how overlap is distributed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmtrack_ros.evaluation.lung_study.scoring import Score
from lmtrack_ros.evaluation.overlay import atomic_file

_SHOWN = (0.9, 0.5, 0.25, 0.1)
"""Of the cases of one kind, by their overlap: these quantiles."""
_TRUE, _FOUND = "#00c853", "#ff5252"
_HALF_PX = 26


def draw_scores(path: Path, kinds: Mapping[str, Sequence[Score]]) -> None:
    """Draw a row for each kind of cases: some of them with their outlines, and the histogram of all."""
    columns = len(_SHOWN) + 1
    figure = Figure(figsize=(2.6 * columns + 1.2, 2.7 * len(kinds)), layout="constrained")
    widths = [1.0] * len(_SHOWN) + [1.4]
    rows = figure.subplots(len(kinds), columns, squeeze=False, width_ratios=widths)
    for panels, (name, scores) in zip(rows, kinds.items(), strict=True):
        ordered = sorted(scores, key=lambda one: float(one.window.iou.mean()))
        for panel, quantile in zip(panels[:-1], _SHOWN, strict=True):
            _draw_case(panel, ordered[round(quantile * (len(ordered) - 1))])
        panels[0].set_ylabel(name.replace(", ", "\n"))
        histogram = panels[-1]
        bins = np.linspace(0, 1, 26)
        for label, which in (("window", "window"), ("newest", "newest")):
            iou = np.concatenate([getattr(one, which).iou for one in scores])
            histogram.hist(iou, bins, histtype="step", label=label)
        histogram.set(xlabel="IoU of a frame", ylabel="frames", xlim=(0, 1))
    rows[0][-1].legend(loc="upper left", frameon=False)
    figure.suptitle("true (green) and found (red) outlines at the 90, 50, 25 and 10 % quantile of overlap")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _draw_case(panel: Axes, one: Score) -> None:
    frame, true, found = (part.numpy() for part in one.shown)
    panel.imshow(frame, cmap="gray")
    panel.contour(true, [0.5], colors=_TRUE, linewidths=1.2)
    if found.any():
        panel.contour(found, [0.5], colors=_FOUND, linewidths=1.2)
    row, column = np.argwhere(true).mean(axis=0)
    panel.set(xlim=(column - _HALF_PX, column + _HALF_PX), ylim=(row + _HALF_PX, row - _HALF_PX))
    panel.set(xticks=[], yticks=[], title=f"IoU {one.window.iou.mean():.2f}")

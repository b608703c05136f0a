"""The page of the study: tables, the curve of errors over examples, and pictures of what was found."""

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.evaluation.detection_study.patch_matching import PATCH_PX
from lmtrack_ros.evaluation.detection_study.results import (
    BASELINES,
    MEAN,
    ON_PATCHES,
    ON_WHOLE,
    OURS,
    Results,
)
from lmtrack_ros.evaluation.detection_study.scores import advantage_px, distances_px, score
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.models.files import write_whole

PAGE, CURVE, OVERLAY = "detection.md", "detection.png", "detection_overlay.png"

_COLOURS = dict(
    zip((OURS, *BASELINES), ("#0072b2", "#888888", "#d55e00", "#009e73", "#e69f00", "#cc79a7"), strict=True)
)
_TRUE_RGB, _FOUND_RGB = (90, 220, 110), (255, 90, 70)
_ENLARGED = 3
_PICTURED = 3

_PAPER = """\
The paper reports, on clinical chest radiographs (CheXpert, nine landmarks that a radiologist marked, 50
targets, 224 × 224 px): 5.8 ± 3.9 px with one example and patches of 50 px; with the best number of
examples of each, 8.5 px for the supervised network, 6.3 px for the same pre-trained with SimCLR, 6.6 px
for SimCLR patches. Its networks are larger and trained for 1000 epochs, and its supervised network starts
from ImageNet. Neither its images nor its training are those of this page: what may be compared is the
order of the methods, not the pixels."""

_HEAD = """\
# Landmarks of chest radiographs from a few examples

Repeats sections III.C.2, III.D and III.E.1 of Frueh et al. 2022 on **simulated** radiographs: the phantom
`fluoroscopy`, preset `radiograph`, {targets} patients as targets and {examples} others as examples, one
radiograph of each, {width} × {height} px of {spacing_mm:.3f} mm in the isocentre plane, {landmarks}
landmarks with exact truth. No network was trained on any of these patients. Written by

```
{command}
```
"""

_READING = """\
Distances between found and true place; of the domes, which are edges, along the row only. ± is the
standard deviation over landmarks, patients and draws of examples; the interval is that of the mean, 95 %,
bootstrap over patients. *Behind* is by how much the method's mean error exceeds that of template matching
with the same examples on the same patients. Time is the median for one image and all landmarks, eager
PyTorch on the CPU for all, in one run: what to compare is its ratio."""

_METHODS = """\
- **Template matching**: the weights' card says how long they were trained, once, without labels; nothing
  is trained on the examples.
- **Mean of the examples**: where the landmarks of the examples are on average. It does not look at the
  image, and says how alike these simulated patients are placed: who does not beat it has found nothing.
- **Supervised**: ResNet-18 (not ResNet-50) without ImageNet weights on the radiograph at half its
  resolution, two outputs for each landmark that start at the examples' mean; {p.supervised_steps} steps
  (not 20,000) of {p.supervised_batch} radiographs, varied by rotation, scale, shift, contrast and noise;
  Adam, {p.learning_rate:g} at first, falling along a cosine. Of the draws only the first
  {p.trained_draws}, as each is a training of its own.
- **Supervised, SimCLR first**: the same from an encoder that was trained for {whole:.0f} CPU min
  ({p.pretraining_steps} steps of 2 × {p.pretraining_batch} radiographs) on the unlabelled radiographs
  that template matching is trained on, without flips.
- **SimCLR patches**: ResNet-18 trained for {patches:.0f} CPU min ({p.patch_steps} steps of {in_step} patches
  of {patch_px} px) on the same radiographs. The place is that of the greatest affinity, equation (5), on
  a grid of {p.grid_px} px and, between, of the quadratic through it. Several examples: the mean of their
  places, as the paper discusses, or the place of the greatest affinity.

All is trained for so long that the study takes about an hour on two cores. That is less than template
matching is trained for: the baselines might gain by more."""


def write(order: Order, results: Results) -> Path:
    """Write page and pictures, and return the page.

    Raises:
        UserError: the folder cannot be written.
    """
    path = order.out / PAGE
    try:
        write_whole(order.out / CURVE, _png(_curve(results)))
        write_whole(order.out / OVERLAY, _png(_overlay(results)))
        write_whole(path, text(order.command, results).encode())
    except OSError as error:
        raise UserError(f"cannot write to {order.out}: {error.strerror}") from error
    return path


def text(command: str, results: Results) -> str:
    """Return the page.

    Args:
        command: that repeats it.
        results: of the study.
    """
    plan, targets = results.plan, results.targets
    most = max(plan.counts)
    head = _HEAD.format(
        targets=len(targets),
        examples=most,
        width=targets.images.shape[2],
        height=targets.images.shape[1],
        spacing_mm=targets.spacing_mm,
        landmarks=len(targets.landmarks),
        command=command,
    )
    methods = _METHODS.format(
        p=plan,
        whole=results.shared_cpu_s[ON_WHOLE] / 60,
        patches=results.shared_cpu_s[ON_PATCHES] / 60,
        in_step=2 * plan.patch_images * plan.patches_per_image,
        patch_px=PATCH_PX,
    )
    parts = [
        head,
        "## Comparison\n",
        *_comparison(results),
        f"\n{_READING}\n",
        f"![Error over examples]({CURVE})\n",
        "## Examples\n",
        *_examples(results),
        "\n## Landmarks\n",
        *_landmarks(results),
        f"\n![Found and true landmarks]({OVERLAY})\n",
        f"Template matching with {most} examples on the patient of median error and those at the 10th",
        "and 90th percentile: true (green cross), found (red circle).\n",
        "## What the methods are\n",
        f"{methods}\n",
        "## Beside the paper\n",
        _PAPER,
    ]
    return "\n".join(parts) + "\n"


def _comparison(results: Results) -> list[str]:
    lines = [
        "| examples | method | draws | error, px | interval, px | maximum, px | error, mm | behind, px "
        "| trained, CPU min | ms per image | ratio |",
        "|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    targets = results.targets
    for count in results.plan.counts:
        ours = results.arms[OURS, count]
        for method in (OURS, *BASELINES):
            arm = results.arms[method, count]
            s = score(arm.found_px, targets)
            behind = "–"
            if method != OURS:
                mean, low, high = advantage_px(ours.found_px, arm.found_px, targets)
                behind = f"{mean:.1f} ({low:.1f} to {high:.1f})"
            mm = targets.spacing_mm
            trained = f"{arm.cpu_s / 60:.1f}" if arm.cpu_s else "–"
            took = "– | –" if method == MEAN else f"{arm.image_ms:.0f} | {arm.image_ms / ours.image_ms:.1f}"
            lines.append(
                f"| {count} | {method} | {len(arm.found_px)} | {s.mean_px:.1f} ± {s.std_px:.1f} "
                f"| {s.interval_px[0]:.1f}–{s.interval_px[1]:.1f} | {s.max_px:.1f} "
                f"| {s.mean_px * mm:.1f} ± {s.std_px * mm:.1f} | {behind} | {trained} "
                f"| {took} |"
            )
    return lines


def _examples(results: Results) -> list[str]:
    counts = sorted(count for method, count in results.arms if method == OURS)
    scores = [score(results.arms[OURS, count].found_px, results.targets) for count in counts]
    return [
        f"Template matching alone, paper section III.E.1; {results.plan.draws} draws, of all examples one:",
        "",
        f"| examples | {' | '.join(map(str, counts))} |",
        f"|---|{'--:|' * len(counts)}",
        f"| error, px | {' | '.join(f'{s.mean_px:.2f} ± {s.std_px:.2f}' for s in scores)} |",
        f"| interval, px | {' | '.join(f'{s.interval_px[0]:.2f}–{s.interval_px[1]:.2f}' for s in scores)} |",
    ]


def _landmarks(results: Results) -> list[str]:
    columns = [(method, count) for count in results.plan.counts for method in (OURS, *BASELINES)]
    scores = [score(results.arms[column].found_px, results.targets) for column in columns]
    lines = [
        "Mean error, px:",
        "",
        f"| landmark | {' | '.join(f'{method}, {count}' for method, count in columns)} |",
        f"|---|{'--:|' * len(columns)}",
    ]
    for index, name in enumerate(results.targets.landmarks):
        lines.append(f"| {name} | {' | '.join(f'{s.by_landmark_px[index]:.1f}' for s in scores)} |")
    return lines


def _curve(results: Results) -> Figure:
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes: Axes = figure.subplots()
    for method, colour in _COLOURS.items():
        counts = sorted(count for m, count in results.arms if m == method)
        scores = [score(results.arms[method, count].found_px, results.targets) for count in counts]
        means = np.array([s.mean_px for s in scores])
        bars = np.abs(np.array([s.interval_px for s in scores]).T - means)
        axes.errorbar(counts, means, bars, color=colour, marker="o", capsize=3, label=method)
    axes.set_xscale("log")
    axes.set_xticks(counts := [1, 2, 3, 5, 10, 20], [str(c) for c in counts])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("examples")
    axes.set_ylabel("mean error, px")
    axes.set_title("simulated radiographs; bars: 95 % over patients", fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def _overlay(results: Results) -> Figure:
    targets = results.targets
    found = results.arms[OURS, max(results.plan.counts)].found_px[:1]
    by_patient = distances_px(found, targets)[0].mean(axis=1)
    ranked = np.argsort(by_patient)
    places = np.rint(np.array([0.1, 0.5, 0.9]) * (len(ranked) - 1)).astype(int)
    figure = Figure(figsize=(4.2 * _PICTURED, 4.5), layout="constrained")
    tiles: Sequence[Axes] = figure.subplots(1, _PICTURED)
    for axes, patient in zip(tiles, ranked[places], strict=True):
        axes.imshow(_marked(targets.images[patient], targets.uv_px[patient], found[0, patient]))
        axes.set_title(f"mean error {by_patient[patient]:.1f} px", fontsize=9)
        axes.set_axis_off()
    return figure


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=90)
    return stream.getvalue()


def _marked(
    image: NDArray[np.uint8], true_px: NDArray[np.float64], found_px: NDArray[np.float64]
) -> NDArray[np.uint8]:
    large = cv2.resize(image, None, fx=_ENLARGED, fy=_ENLARGED, interpolation=cv2.INTER_CUBIC)
    picture = cv2.cvtColor(np.asarray(large), cv2.COLOR_GRAY2RGB)
    for true, found in zip(true_px, found_px, strict=True):
        at = [round(v) for v in ((true + 0.5) * _ENLARGED - 0.5).tolist()]
        cv2.drawMarker(picture, at, _TRUE_RGB, cv2.MARKER_CROSS, 16, 2, cv2.LINE_AA)
        if np.isfinite(found).all():
            at = [round(v) for v in ((found + 0.5) * _ENLARGED - 0.5).tolist()]
            cv2.circle(picture, at, 8, _FOUND_RGB, 2, cv2.LINE_AA)
    return np.asarray(picture, dtype=np.uint8)

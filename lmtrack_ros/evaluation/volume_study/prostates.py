"""Real prostates in transrectal ultrasound, five-fold by case."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from SimpleITK import GetArrayFromImage, ReadImage

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.evaluation.bootstrap import mean_interval
from lmtrack_ros.evaluation.overlay import atomic_file
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.evaluation.volume_study.networks import cell, judged, outcome, trained
from lmtrack_ros.evaluation.volume_study.picture import draw_slices
from lmtrack_ros.models.patch_iterative.configuration import REALTIME
from lmtrack_ros.models.patch_iterative.data import Annotated, mirrored_order
from lmtrack_ros.models.patch_iterative.populations import Shown, as_seen

LANDMARKS = ("center", "anterior", "posterior", "left", "right", "low", "high")
_CONFIGURATION = replace(
    REALTIME,
    landmarks=LANDMARKS,
    components=10,
    pixel_mm=0.8,
    fine_pixel_mm=0.4,
    refined_mm=1.5,
    unit_mm=2.0,
    fine_unit_mm=0.5,
    turned_deg=8.0,
    scaled=0.1,
    shifted_mm=1.0,
)
"""The volumes are small: downsampled, a gland is 10 to 14 mm wide by their headers."""
_FOLDS = 5
STEPS = 800
_SIDES = 1
_PICTURED = 6

_PAGE = """\
# Patch-based iterative network: real prostates

Made by `{command}`; do not edit.

{count} transrectal volumes with the outline of the gland. Landmarks are the gland's centre of gravity and its
outermost points along the axes of the volume: the middle of the first and of the last layer of voxels that
the label reaches. *Anterior* and *posterior* are by the picture (the rectum is behind), *left* and *right*,
*low* and *high* the two ends of the other axes, for the headers do not tell which is which. Five-fold by
case: each case is found by networks that have not seen it, trained for {steps} steps each on the other
{others}. Millimetres are those of the headers ({spacing:g} mm a voxel); the volumes are downsampled, and the
glands that they show are really three to four times as large. {cut} of the {count} labels reach the border of
their volume: the outermost point there is the border's, not the gland's.

Mean error ± standard deviation over cases, mm:

| landmark | mean position | first network | refined | refined, voxels |
|---|--:|--:|--:|--:|
{rows}

The mean error over all landmarks is {mean:.2f} mm (95 % interval by case {low:.2f} to {high:.2f}), that of
predicting the mean position of the training cases {by_mean:.2f} mm: {gained:.2f} mm more, case by case
({least:.2f} to {most:.2f}).

![Prostates](prostates.png)

Slices through the centres of the first cases, across the second and the third axis of the volume: crosses as
labelled, rings as found.
"""


def conduct(order: Order) -> Path:
    """Find the gland's landmarks in each case by networks that have not seen it; returns the page.

    Raises:
        UserError: there is no folder with volumes and labels.
    """
    if len(order.recordings) != 1:
        raise UserError("this study is of real prostates: give their folder with --recordings")
    shown = _cases(order.recordings[0])
    c = _CONFIGURATION
    every = [as_seen(one, list(range(len(LANDMARKS))), c) for one in shown]
    order_of_mirror = mirrored_order(LANDMARKS)
    assert order_of_mirror is not None
    found: list[list[NDArray[np.float64]]] = [[] for _ in every]
    by_mean, coarse, refined = ([np.zeros(0)] * len(every) for _ in range(3))
    for fold in range(_FOLDS):
        test = [i for i in range(len(every)) if i % _FOLDS == fold]
        rest = [one for i, one in enumerate(every) if i % _FOLDS != fold]
        network = trained(order, f"fold {fold + 1}", c, rest, (_SIDES, order_of_mirror), STEPS)
        held = [every[i] for i in test]
        mean_mm = np.mean([one.landmarks_mm.double().numpy() for one in rest], axis=0)
        outcomes = judged(mean_mm, held), outcome(network, held, stage=0), outcome(network, held)
        for column, one in zip((by_mean, coarse, refined), outcomes, strict=True):
            for i, away_mm in zip(test, one.away_mm, strict=True):
                column[i] = away_mm
        for i, positions in zip(test, outcomes[-1].positions_mm, strict=True):
            found[i].append(positions)
    draw_slices(
        order.out / "prostates.png",
        [
            (one.fine, one.landmarks_mm.double().numpy(), where[0])
            for one, where in list(zip(every, found, strict=True))[:_PICTURED]
        ],
    )
    return _write(order, shown, every, [np.stack(column) for column in (by_mean, coarse, refined)])


def _write(
    order: Order, shown: Sequence[Shown], every: Sequence[Annotated], away: Sequence[NDArray[np.float64]]
) -> Path:
    by_mean, coarse, refined = away
    spacing = shown[0].spacing_mm[0]
    rows = [
        f"| {name} | {cell(by_mean[:, i])} | {cell(coarse[:, i])} | {cell(refined[:, i])} "
        f"| {refined[:, i].mean() / spacing:.1f} |"
        for i, name in enumerate(LANDMARKS)
    ]
    every_one = " | ".join(map(cell, away))
    rows.append(f"| **all** | {every_one} | {refined.mean() / spacing:.1f} |")
    low, high = mean_interval(list(refined))
    gained = by_mean - refined
    least, most = mean_interval(list(gained))
    text = _PAGE.format(
        command=order.command,
        count=len(every),
        steps=STEPS,
        others=len(every) - len(every) // _FOLDS,
        spacing=spacing,
        cut=sum(_is_cut(one) for one in shown),
        rows="\n".join(rows),
        mean=refined.mean(),
        low=low,
        high=high,
        by_mean=by_mean.mean(),
        gained=gained.mean(),
        least=least,
        most=most,
    )
    path = order.out / "prostates.md"
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _cases(folder: Path) -> list[Shown]:
    labels = sorted((folder / "labels").glob("*.nii.gz"))
    if not labels:
        raise UserError(f"{folder} must hold 'volumes' and 'labels' of the same names (*.nii.gz)")
    try:
        return [_case(folder / "volumes" / path.name, path) for path in labels]
    except RuntimeError as error:
        raise UserError(f"cannot read the cases in {folder}: {error}") from error


def _case(volume: Path, label: Path) -> Shown:
    image = ReadImage(str(volume))
    inside = GetArrayFromImage(ReadImage(str(label)))
    # further channels are landmarks that differ from case to case
    inside = (inside[0] if inside.ndim == 4 else inside) > 0.5
    shown = GetArrayFromImage(image)
    if inside.shape != shown.shape or not inside.any():
        raise UserError(f"{label} does not outline what {volume.name} shows")
    spacing_mm = image.GetSpacing()  # type: ignore[no-untyped-call]
    return Shown(shown, outermost(inside), spacing_mm)


def outermost(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the (7, 3) column, row and slice of a (D, H, W) label's centre and outermost points."""
    at = np.argwhere(inside)[:, ::-1].astype(float)
    points = [at.mean(axis=0)]
    for axis in range(3):
        for end in (at[:, axis].min(), at[:, axis].max()):
            points.append(at[at[:, axis] == end].mean(axis=0))
    return np.stack(points)


def _is_cut(one: Shown) -> bool:
    size = np.array(one.volume.shape[::-1]) - 1
    return bool((one.uvw_px[1:] < 0.5).any() or (one.uvw_px[1:] > size - 0.5).any())

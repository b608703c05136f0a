"""A landmark followed through the phases of a breath in 4-D CT, from its mark in the first phase alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from SimpleITK import GetArrayFromImage, ReadImage
from torch import Tensor

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.evaluation.overlay import atomic_file
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.evaluation.volume_study.networks import trained
from lmtrack_ros.evaluation.volume_study.picture import draw_path
from lmtrack_ros.models.patch_iterative.configuration import REALTIME
from lmtrack_ros.models.patch_iterative.data import Annotated
from lmtrack_ros.models.patch_iterative.network import PatchIterative
from lmtrack_ros.models.patch_iterative.populations import Shown, as_seen
from lmtrack_ros.models.patch_iterative.rules import RULES
from lmtrack_ros.models.patch_iterative.search import STEPS as SEARCH_STEPS
from lmtrack_ros.models.patch_iterative.search import search, single_starts
from lmtrack_ros.models.patch_iterative.shape_model import ShapeModel

MARKED_PX = (38.0, 36.0, 20.0)
"""Column, row and slice in the first phase: a vessel in the lower part of the region."""
_CONFIGURATION = replace(
    REALTIME,
    landmarks=("vessel",),
    refined=False,
    pixel_mm=1.0,
    near_share=1.0,
    turned_deg=5.0,
    scaled=0.06,
    shifted_mm=0.0,
    volumes_per_step=8,
)
STEPS = 1500
_REACH_MM = 4.0
"""How far from the last place the search begins along each axis."""
_TEMPLATE_PX, _SOUGHT_PX = 8, 10

_PAGE = """\
# Patch-based iterative network: a path in 4-D CT

Made by `{command}`; do not edit.

A vessel, marked in the first of {phases} phases of one breath; there is no truth for the others. A network
for this one landmark is trained for {steps} steps on the first phase alone, turned and scaled at random, and
then finds it in one phase after the other, each search from 19 points about the last solution. What can be
checked: the starts of a phase end {spread:.2f} mm from their mean, on average; and normalised
cross-correlation of a block of {block}³ voxels of the first phase, sought exhaustively in {sought} voxels
each way, finds places, whole voxels, that are {apart:.2f} mm away on average, {most:.2f} mm at most (a voxel
is {voxel:g} mm, by a header that was never verified).

![Path](path.png)

Left: the path through the phases, by axis, mm (full: network, dashed: cross-correlation). Right: the planes
through the landmark in each phase.

| phase | x, mm | y, mm | z, mm | spread of starts, mm | from cross-correlation, mm |
|--:|--:|--:|--:|--:|--:|
{rows}
"""


def conduct(order: Order) -> Path:
    """Follow the landmark through the phases; returns the page.

    Raises:
        UserError: there is no folder with the phases.
    """
    if len(order.recordings) != 1:
        raise UserError("this study is of a 4-D CT: give the folder of its phases with --recordings")
    c = _CONFIGURATION
    shown = _phases(order.recordings[0])
    every = [as_seen(one, [0], c) for one in shown]
    first = every[0]
    network = trained(order, "vessel", c, [first], None, STEPS)
    ends = []
    last = first.landmarks_mm[0]
    for number, phase in enumerate(every[1:], 1):
        each = _followed(network, phase, last)
        last = each.mean(0)
        ends.append(each.double().numpy())
        order.progress("phases", number, len(every) - 1)
    return _write(order, shown, every, ends)


@torch.no_grad()
def _followed(network: PatchIterative, phase: Annotated, last: Tensor) -> Tensor:
    """Return the (19, 3) ends of the search about the (3,) last place."""
    network.eval()
    model: ShapeModel = network.shape_model
    starts = last + single_starts(torch.full((3,), 4 * _REACH_MM))
    c = network.configuration
    ends = search(phase.coarse, network.coarse, model, starts, RULES[c.rule], SEARCH_STEPS, c)
    return ends.each_mm[:, 0]


def _write(order: Order, shown: list[Shown], every: list[Annotated], ends: list[NDArray[np.float64]]) -> Path:
    mark = every[0].landmarks_mm[0].double().numpy()
    voxel_mm = np.array(shown[0].spacing_mm)
    path_mm = np.stack([mark, *(each.mean(axis=0) for each in ends)])
    spread_mm = [0.0, *(float(np.linalg.norm(each - each.mean(axis=0), axis=1).mean()) for each in ends)]
    matched_mm = mark + voxel_mm * np.stack([_matched(shown[0].volume, one.volume) for one in shown])
    apart_mm = np.linalg.norm(path_mm - matched_mm, axis=1)
    draw_path(order.out / "path.png", [one.coarse for one in every], path_mm, matched_mm)
    rows = [
        f"| {i} | {' | '.join(f'{v:.2f}' for v in at - mark)} | {spread:.2f} | {apart:.2f} |"
        for i, (at, spread, apart) in enumerate(zip(path_mm, spread_mm, apart_mm, strict=True))
    ]
    text = _PAGE.format(
        command=order.command,
        phases=len(every),
        steps=STEPS,
        spread=np.mean(spread_mm[1:]),
        block=2 * _TEMPLATE_PX + 1,
        sought=_SOUGHT_PX,
        apart=apart_mm[1:].mean(),
        most=apart_mm[1:].max(),
        voxel=voxel_mm[0],
        rows="\n".join(rows),
    )
    page = order.out / "path.md"
    with atomic_file(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return page


def _phases(folder: Path) -> list[Shown]:
    files = sorted(folder.glob("phase*.mha"))
    if len(files) < 2:
        raise UserError(f"{folder} must hold the phases of a breath (phase*.mha)")
    shown = []
    for path in files:
        try:
            image = ReadImage(str(path))
        except RuntimeError as error:
            raise UserError(f"{path} holds no volume that can be read") from error
        spacing_mm = image.GetSpacing()  # type: ignore[no-untyped-call]
        shown.append(Shown(GetArrayFromImage(image), np.array([MARKED_PX]), spacing_mm))
    least = np.array(MARKED_PX) + _TEMPLATE_PX + _SOUGHT_PX + 1
    if any((np.array(one.volume.shape[::-1]) < least).any() for one in shown):
        raise UserError(f"{folder}: the volumes are too small for the mark at {MARKED_PX}")
    return shown


def _matched(first: NDArray[np.generic], other: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return (3,) how many voxels the block about the mark moved, by normalised cross-correlation."""
    at = np.rint(MARKED_PX).astype(int)[::-1]
    half = _TEMPLATE_PX
    block = first[tuple(slice(i - half, i + half + 1) for i in at)].astype(float)
    reach = [(max(i - half - _SOUGHT_PX, 0), i + half + _SOUGHT_PX + 1) for i in at]
    region = other[tuple(slice(*one) for one in reach)].astype(float)
    windows = np.lib.stride_tricks.sliding_window_view(region, block.shape)
    about = windows - windows.mean(axis=(3, 4, 5), keepdims=True)
    wanted = block - block.mean()
    scores = np.einsum("abcijk,ijk->abc", about, wanted) / np.sqrt(np.square(about).sum(axis=(3, 4, 5)))
    best = np.unravel_index(int(scores.argmax()), scores.shape)
    moved = [b + low + half - i for b, (low, _), i in zip(best, reach, at, strict=True)]
    return np.array(moved[::-1], dtype=float)

"""Planes, paths and landmarks in volumes, drawn."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from lmtrack_ros.evaluation.overlay import atomic_file
from lmtrack_ros.models.patch_iterative.patches import Level
from lmtrack_ros.models.patch_iterative.planes import STANDARD_PLANES, Plane, standard_plane

Array = NDArray[np.float64]
Landmarks = Mapping[str, Array]

_HALF_MM = 52.0
_STEP_MM = 0.5


def draw_planes(path: Path, subjects: Sequence[tuple[Level, Landmarks, Landmarks]]) -> None:
    """Draw both standard planes of subjects, through their true landmarks and through those found.

    Args:
        path: of the picture.
        subjects: of each the volume, its landmarks and those found.
    """
    columns = len(subjects) * len(STANDARD_PLANES)
    figure = Figure(figsize=(2.6 * columns, 5.6), layout="constrained")
    every = figure.subplots(2, columns, squeeze=False)
    for number, (level, true_mm, found_mm) in enumerate(subjects):
        for offset, (name, on_plane) in enumerate(STANDARD_PLANES.items()):
            for row, landmarks in enumerate((true_mm, found_mm)):
                axes = every[row, number * len(STANDARD_PLANES) + offset]
                plane = standard_plane(name, landmarks)
                _show(axes, level, plane)
                for marks, mark, colour in ((true_mm, "x", "tab:green"), (found_mm, "o", "tab:red")):
                    flat = plane.flat_mm(np.stack([marks[one] for one in on_plane]))
                    faces = {} if mark == "x" else {"facecolors": "none"}
                    edge = {"c": colour} if mark == "x" else {"edgecolors": colour}
                    axes.scatter(flat[:, 1], flat[:, 0], s=28, marker=mark, linewidths=1, **edge, **faces)
                axes.set_title(f"{name}, {'found' if row else 'annotated'}", fontsize=9)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=80)


def _show(axes: Axes, level: Level, plane: Plane) -> None:
    along: Array = np.arange(-_HALF_MM, _HALF_MM, _STEP_MM, dtype=np.float64)
    points = plane.point_mm(along[:, None], along[None, :])
    axes.imshow(
        sampled(level, points),
        cmap="gray",
        vmin=0,
        vmax=1.3,
        origin="lower",
        extent=(-_HALF_MM, _HALF_MM, -_HALF_MM, _HALF_MM),
    )
    axes.set_axis_off()


def sampled(level: Level, points_mm: Array) -> Array:
    """Return the grey values at (..., 3) points of a volume."""
    index = (points_mm - level.first_mm.numpy()) / level.voxel_mm.numpy()
    return np.asarray(map_coordinates(level.values.numpy(), np.moveaxis(index[..., ::-1], -1, 0), order=1))


def draw_slices(path: Path, cases: Sequence[tuple[Level, Array, Array]]) -> None:
    """Draw slices through the first landmark of volumes, with the landmarks projected onto them.

    Args:
        path: of the picture.
        cases: of each the volume, its (L, 3) landmarks and those found.
    """
    figure = Figure(figsize=(2.4 * len(cases), 4.8), layout="constrained")
    every = figure.subplots(2, len(cases), squeeze=False)
    for number, (level, true_mm, found_mm) in enumerate(cases):
        for row, (across, down) in enumerate(((0, 2), (0, 1))):
            axes = every[row, number]
            _slice(axes, level, true_mm[0], across, down)
            axes.scatter(true_mm[:, across], true_mm[:, down], s=22, marker="x", c="tab:green")
            axes.scatter(
                found_mm[:, across], found_mm[:, down], s=26, facecolors="none", edgecolors="tab:red"
            )
            axes.set_title(f"case {number + 1}", fontsize=8)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=90)


def draw_path(path: Path, phases: Sequence[Level], found_mm: Array, matched_mm: Array) -> None:
    """Draw the (P, 3) path of a landmark and the planes through it in each of P phases.

    Args:
        path: of the picture.
        phases: the volumes.
        found_mm: (P, 3).
        matched_mm: (P, 3) by another method.
    """
    figure = Figure(figsize=(15, 4.0), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 2.6))
    axes = left.subplots()
    for axis, colour in enumerate(("tab:blue", "tab:orange", "tab:green")):
        axes.plot(found_mm[:, axis] - found_mm[0, axis], c=colour, label="xyz"[axis])
        axes.plot(matched_mm[:, axis] - found_mm[0, axis], c=colour, linestyle="--")
    axes.set(xlabel="phase", ylabel="mm from the mark")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    every = right.subplots(2, len(phases), squeeze=False)
    for number, (level, at) in enumerate(zip(phases, found_mm, strict=True)):
        for row, (across, down) in enumerate(((0, 1), (0, 2))):
            shown = every[row, number]
            _slice(shown, level, at, across, down, half_mm=20.0)
            shown.scatter(at[across], at[down], s=40, facecolors="none", edgecolors="tab:red")
            shown.set_title(str(number), fontsize=8)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=80)


def _slice(axes: Axes, level: Level, through_mm: Array, across: int, down: int, half_mm: float = 0.0) -> None:
    """Show the plane through a point along two axes of a volume, all of it or so far about the point."""
    voxel, first = level.voxel_mm.double().numpy(), level.first_mm.double().numpy()
    last = first + voxel * (np.array(level.values.shape[::-1]) - 1)
    low, high = (first, last) if half_mm == 0 else (through_mm - half_mm, through_mm + half_mm)
    points = np.tile(through_mm, (200, 200, 1))
    points[..., across] = np.linspace(low[across], high[across], 200)
    points[..., down] = np.linspace(low[down], high[down], 200)[:, None]
    axes.imshow(
        sampled(level, points),
        cmap="gray",
        vmin=0,
        vmax=1.2,
        extent=(low[across], high[across], high[down], low[down]),
    )
    axes.set_axis_off()

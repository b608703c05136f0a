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

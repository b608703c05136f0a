"""Pictures of all phantoms: of each preset a frame with its truth drawn on it, and its motion."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lmtrack_ros.core.frames import Array
from lmtrack_ros.evaluation.overlay import atomic_file
from lmtrack_ros.phantoms import MODALITIES, Phantom, PhantomParameters, open_phantom, presets

_COLUMNS = 3
_TIME_S = 1.3
_STRIP_S = 12.0
_STRIP_LINES = 120
_STRIP_VOLUMES = 12
_LANDMARK_COLOUR, _MASK_COLOUR = "#ffb000", "#56b4e9"


def draw_gallery(path: Path, modality: str) -> None:
    """Write one picture of all presets of a modality.

    Above, a frame with the landmarks and the outlines of the masks; below, the line of pixels along which the
    first landmark moves most, through time, with the landmark's true path.

    Args:
        path: PNG to write.
        modality: name of the phantom.

    Raises:
        UserError: the file cannot be written, or a preset needs anatomy that is not installed.
    """
    names = list(presets(modality))
    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4.0 * columns, 5.2 * rows), layout="constrained")
    grid = figure.subfigures(rows, columns, squeeze=False).ravel()
    for part, name in zip(grid, names, strict=False):
        phantom = open_phantom(modality, PhantomParameters(preset=name))
        picture, strip = part.subplots(2, 1, height_ratios=[3, 1])
        _draw_picture(picture, phantom, f"{name}: {presets(modality)[name].description}")
        _draw_strip(strip, phantom)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=70, format="png")


def draw_overview(path: Path) -> None:
    """Write one picture with the default preset of every modality.

    Args:
        path: PNG to write.

    Raises:
        UserError: the file cannot be written.
    """
    figure = Figure(figsize=(3.2 * len(MODALITIES), 3.0), layout="constrained")
    for axes, modality in zip(figure.subplots(1, len(MODALITIES)), MODALITIES, strict=True):
        _draw_picture(axes, open_phantom(modality), modality.replace("_", " "))
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=75, format="png")


def _draw_picture(axes: Axes, phantom: Phantom, title: str) -> None:
    image, uv_px = _plane(phantom, _TIME_S, phantom.render(1, _TIME_S).image), _positions_px(phantom, _TIME_S)
    masks = {name: _plane(phantom, _TIME_S, mask) for name, mask in phantom.masks(_TIME_S).items()}
    axes.imshow(image, cmap="gray", vmin=0, vmax=np.percentile(image, 99.7))
    for mask in masks.values():
        if mask.any() and not mask.all():
            axes.contour(mask, levels=[0.5], colors=_MASK_COLOUR, linewidths=0.7)
    for name, (column, row) in uv_px.items():
        axes.plot(column, row, "+", color=_LANDMARK_COLOUR, markersize=8, markeredgewidth=1.2)
        axes.annotate(
            name, (column, row), (4, 4), textcoords="offset points", color=_LANDMARK_COLOUR, fontsize=6
        )
    axes.set_title("\n".join(wrap(title, 60)), fontsize=8)
    axes.axis("off")


def _draw_strip(axes: Axes, phantom: Phantom) -> None:
    """Draw one line of pixels through time, with the true path of the first landmark."""
    is_volume = _is_volume(phantom)
    count = _STRIP_VOLUMES if is_volume else min(_STRIP_LINES, round(_STRIP_S * phantom.info.rate_hz))
    times_s = np.arange(count) / phantom.info.rate_hz
    path_px = np.array([next(iter(_positions_px(phantom, t).values())) for t in times_s])
    along = int(np.argmax(np.ptp(path_px, axis=0)))
    across_px = round(float(path_px[:, 1 - along].mean()))
    lines = []
    for time_s in times_s:
        image = _plane(phantom, time_s, phantom.render(1, time_s).image)
        lines.append(image[across_px, :] if along == 0 else image[:, across_px])
    strip = np.stack(lines, axis=1)
    spacing_mm = phantom.geometry.plane_spacing_mm[along]
    end_s = count / phantom.info.rate_hz
    axes.imshow(
        strip,
        cmap="gray",
        aspect="auto",
        extent=(0, end_s, len(strip) * spacing_mm, 0),
        vmin=0,
        vmax=np.percentile(strip, 99.7),
    )
    axes.plot(times_s, (path_px[:, along] + 0.5) * spacing_mm, color=_LANDMARK_COLOUR, linewidth=0.9)
    axes.tick_params(labelsize=6)
    axes.set_xlabel("s", fontsize=7)
    axes.set_ylabel("mm", fontsize=7)


def _plane(phantom: Phantom, time_s: float, image: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return an image; of a volume, the slice through its first landmark."""
    if image.ndim == 2:
        return image
    at = round(phantom.truth(1, time_s).estimates[0].uv_px[2])
    return np.asarray(image[int(np.clip(at, 0, len(image) - 1))])


def _positions_px(phantom: Phantom, time_s: float) -> Mapping[str, Array]:
    """Return (column, row) of the landmarks; of a volume, of those within two slices of the one shown."""
    estimates = phantom.truth(1, time_s).estimates
    if not _is_volume(phantom):
        return {e.id: np.array(e.uv_px) for e in estimates}
    shown = estimates[0].uv_px[2]
    return {e.id: np.array(e.uv_px[:2]) for e in estimates if abs(e.uv_px[2] - shown) <= 2}


def _is_volume(phantom: Phantom) -> bool:
    return len(phantom.truth(1, 0.0).estimates[0].uv_px) == 3

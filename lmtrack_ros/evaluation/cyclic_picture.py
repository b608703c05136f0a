"""The cyclic error as a map over the frame it was measured on."""

from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lmtrack_ros.evaluation.cyclic import CyclicErrors
from lmtrack_ros.models.grey import scaled

_HEIGHT, _PANELS = 4.4, 4
_GREATEST_SHOWN_PERCENTILE = 98


def cyclic_picture(image: NDArray[np.generic], errors: CyclicErrors, title: str) -> bytes:
    """Return a PNG: the frame, and over it mean and deviation of the cyclic error, and σ̂.

    Args:
        image: (H, W) the source.
        errors: of its places.
        title: above all.
    """
    unit, error = ("px", errors.error_px) if errors.error_mm is None else ("mm", errors.error_mm)
    height, width = image.shape
    panel = min(max(_HEIGHT * width / height, 0.6 * _HEIGHT), 1.6 * _HEIGHT) + 0.8
    figure = Figure(figsize=(_PANELS * panel, _HEIGHT + 0.4), layout="constrained")
    axes = figure.subplots(1, _PANELS)
    maps = {
        f"cyclic error, mean [{unit}]": error.mean(axis=0),
        f"cyclic error, standard deviation [{unit}]": error.std(axis=0),
        "length of σ̂, mean [px]": errors.sigma_map_px,
    }
    _frame(axes[0], image)
    axes[0].set_title("frame", fontsize=10, loc="left")
    for one, (name, values) in zip(axes[1:], maps.items(), strict=True):
        _frame(one, image)
        _map(figure, one, errors, values)
        one.set_title(name, fontsize=10, loc="left")
    figure.suptitle(title, fontsize=11)
    buffer = BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    return buffer.getvalue()


def _frame(axes: Axes, image: NDArray[np.generic]) -> None:
    axes.imshow(scaled(image), cmap="gray", vmin=0.0, vmax=1.0)
    axes.set_axis_off()


def _map(figure: Figure, axes: Axes, errors: CyclicErrors, values: NDArray[np.float64]) -> None:
    half = errors.stride_px / 2
    (left, top), (right, bottom) = errors.places_px[0, 0] - half, errors.places_px[-1, -1] + half
    shown = values[np.isfinite(values)]
    greatest = float(np.percentile(shown, _GREATEST_SHOWN_PERCENTILE)) if shown.size else 1.0
    drawn = axes.imshow(
        values, cmap="inferno", alpha=0.7, vmin=0.0, vmax=greatest, extent=(left, right, bottom, top)
    )
    figure.colorbar(drawn, ax=axes, shrink=0.85, extend="max")

"""Patches of an image, and how well they match another image: normalised cross-correlation."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.trackers.subpixel import refine_peak

Image = NDArray[np.float32]

_FLAT = 1e-3
"""A patch whose contrast is below this share of the image's own has nothing to match."""


def as_float_image(image: NDArray[np.generic]) -> Image | None:
    """Return an image to correlate: float32, finite, zero mean and unit contrast.

    A pixel that is not finite becomes the mean of the others.

    Args:
        image: (H, W) of any real type.

    Returns:
        (H, W), or None where the image is empty of information: constant, or mostly not finite.
    """
    if np.issubdtype(image.dtype, np.floating):
        finite = np.isfinite(image)
        if finite.mean() < 0.5:
            return None
        # in double precision and scaled to 1, so that no float32 overflows when it is squared
        values = np.where(finite, image, image.mean(where=finite, dtype=np.float64))
        image = values / max(float(np.abs(values).max()), np.finfo(float).tiny)
    mean, deviation = float(image.mean()), float(image.std())
    if not deviation > _FLAT * abs(mean) * np.finfo(np.float32).eps:
        return None
    return (image.astype(np.float32) - np.float32(mean)) * np.float32(1 / deviation)


def pyramid(image: Image, levels: int) -> tuple[Image, ...]:
    """Return the image and ``levels`` halvings; pixel (x, y) of one is (x / 2, y / 2) of the next."""
    images = [image]
    for _ in range(levels):
        images.append(np.asarray(cv2.pyrDown(images[-1]), dtype=np.float32))
    return tuple(images)


@dataclass(frozen=True)
class Extent:
    """How far a patch reaches from its anchor pixel, px."""

    left: int
    right: int
    up: int
    down: int

    @classmethod
    def within(cls, shape: tuple[int, ...], xy: NDArray[np.float64], half_px: int) -> "Extent":
        """Return the part of a square of that half-width round ``xy`` that lies inside the image."""
        x, y = xy
        return cls(
            left=int(min(half_px, x)),
            right=int(min(half_px, shape[1] - 1 - x)),
            up=int(min(half_px, y)),
            down=int(min(half_px, shape[0] - 1 - y)),
        )

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), px."""
        return self.left + self.right + 1, self.up + self.down + 1

    def cut(self, image: Image, xy: NDArray[np.float64]) -> Image:
        """Return the patch whose anchor lies at ``xy``, between pixels if need be."""
        width, height = self.size
        x, y = xy
        centre = (float(x) + (width - 1) / 2 - self.left, float(y) + (height - 1) / 2 - self.up)
        return np.asarray(cv2.getRectSubPix(image, (width, height), centre))


@dataclass(frozen=True)
class Window:
    """A rectangle of whole-pixel positions, inclusive."""

    x0: int
    x1: int
    y0: int
    y1: int

    @classmethod
    def around(cls, shape: tuple[int, ...], xy: NDArray[np.float64], radius_px: int) -> "Window":
        """Return the positions within ``radius_px`` of ``xy`` that lie inside the image."""
        last_y, last_x = shape[0] - 1, shape[1] - 1
        x = int(np.clip(np.rint(xy[0]), 0, last_x))
        y = int(np.clip(np.rint(xy[1]), 0, last_y))
        return cls(
            max(0, x - radius_px),
            min(last_x, x + radius_px),
            max(0, y - radius_px),
            min(last_y, y + radius_px),
        )

    @property
    def origin(self) -> NDArray[np.float64]:
        """(x, y) of the first position."""
        return np.array([self.x0, self.y0], dtype=float)

    def overlap(self, other: "Window") -> "Window":
        """Return the positions that are in both."""
        return Window(
            max(self.x0, other.x0), min(self.x1, other.x1), max(self.y0, other.y0), min(self.y1, other.y1)
        )

    def holds_inside(self, xy: NDArray[np.float64]) -> bool:
        """Return whether ``xy`` lies inside, not on the first or last row or column."""
        x, y = np.rint(xy)
        return bool(self.x0 < x < self.x1 and self.y0 < y < self.y1)

    def index(self, xy: NDArray[np.float64]) -> tuple[int, int]:
        """Return the (row, column) of the position nearest to ``xy`` in a map of this window."""
        x, y = np.rint(xy)
        return (
            int(np.clip(y, self.y0, self.y1)) - self.y0,
            int(np.clip(x, self.x0, self.x1)) - self.x0,
        )

    def axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the x of each column, (1, W), and the y of each row, (H, 1)."""
        return (
            np.arange(self.x0, self.x1 + 1, dtype=float)[None, :],
            np.arange(self.y0, self.y1 + 1, dtype=float)[:, None],
        )


def similarity(image: Image, patch: Image, extent: Extent, window: Window) -> Image:
    """Return the normalised cross-correlation of a patch at every position of a window.

    Beyond its border the image continues with its border pixels.

    Args:
        image: (H, W).
        patch: as cut by ``extent``.
        extent: of the patch round its anchor.
        window: where to put the anchor.

    Returns:
        float32 in [-1, 1], one value per position; 0 where either side is flat.
    """
    shape = (window.y1 - window.y0 + 1, window.x1 - window.x0 + 1)
    if patch.std() < _FLAT:
        return np.zeros(shape, np.float32)
    x0, x1 = window.x0 - extent.left, window.x1 + extent.right
    y0, y1 = window.y0 - extent.up, window.y1 + extent.down
    height, width = image.shape
    region = image[max(0, y0) : min(height, y1 + 1), max(0, x0) : min(width, x1 + 1)]
    margins = (max(0, -y0), max(0, y1 + 1 - height), max(0, -x0), max(0, x1 + 1 - width))
    if any(margins):
        region = np.asarray(cv2.copyMakeBorder(region, *margins, borderType=cv2.BORDER_REPLICATE))
    if region.std() < _FLAT:
        return np.zeros(shape, np.float32)
    # the mean is taken out first: the method subtracts squared sums, which would lose digits
    mean = region.mean()
    scores = np.asarray(cv2.matchTemplate(region - mean, patch - patch.mean(), cv2.TM_CCOEFF_NORMED))
    scores[~np.isfinite(scores)] = 0.0
    return np.asarray(np.clip(scores, -1.0, 1.0), dtype=np.float32)


def standardised(patch: Image) -> Image:
    """Return the patch with zero mean and unit contrast."""
    return np.asarray((patch - patch.mean()) / max(float(patch.std()), _FLAT), dtype=np.float32)


def peak_in(scores: NDArray[np.floating], window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the (x, y) of the greatest score of a window and its curvature along x and y, per px²."""
    row, column = (int(i) for i in np.unravel_index(int(np.argmax(scores)), scores.shape))
    peak = refine_peak(scores, row, column)
    return (
        window.origin + np.array([peak.column, peak.row]),
        np.array([peak.column_curvature, peak.row_curvature]),
    )

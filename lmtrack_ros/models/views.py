"""What the network sees of an image: a square of it, resampled."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class View:
    """A square of an image, resampled to the network's input.

    Attributes:
        centre_px: (2,) column and row of its middle in the image.
        scale: pixels of the image to one of the input.
        input_px: side of the input.
    """

    centre_px: NDArray[np.float64]
    scale: float
    input_px: int

    @classmethod
    def around(cls, centre_px: NDArray[Any], side_px: float, input_px: int) -> "View":
        """Return the square of ``side_px`` pixels of the image round (2,) centre."""
        return cls(np.asarray(centre_px, dtype=float), side_px / input_px, input_px)

    @classmethod
    def whole(cls, shape: tuple[int, ...], input_px: int) -> "View":
        """Return the least square that shows a whole (H, W) image."""
        height, width = shape
        return cls.around(np.array([width - 1, height - 1]) / 2, float(max(height, width)), input_px)

    def of(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the (S, S) view of an (H, W) image; zero beyond its border."""
        centre, scale = self.centre_px, self.scale
        if scale > 1:
            # coarser pixels are means, not samples
            factor = 1 / scale
            image = np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA))
            centre, scale = (centre + 0.5) * factor - 0.5, 1.0
        origin = centre - scale * (self.input_px - 1) / 2
        to_image = np.array([[scale, 0.0, origin[0]], [0.0, scale, origin[1]]])
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (self.input_px, self.input_px)
        return np.asarray(cv2.warpAffine(image, to_image, size, flags=how), dtype=np.float32)

    def back(self, view: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return an (H, W) image of what an (S, S) view shows, interpolated; zero where it shows nothing."""
        origin = self.to_view(np.zeros(2))
        to_view = np.array([[1 / self.scale, 0.0, origin[0]], [0.0, 1 / self.scale, origin[1]]])
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(view, to_view, shape[::-1], flags=how), dtype=np.float32)

    def to_image(self, uv_px: NDArray[Any]) -> NDArray[np.float64]:
        """Return (..., 2) pixels of the view in the image."""
        return np.asarray(self.centre_px + (uv_px - (self.input_px - 1) / 2) * self.scale, dtype=float)

    def to_view(self, uv_px: NDArray[Any]) -> NDArray[np.float64]:
        """Return (..., 2) pixels of the image in the view."""
        return np.asarray((uv_px - self.centre_px) / self.scale + (self.input_px - 1) / 2, dtype=float)

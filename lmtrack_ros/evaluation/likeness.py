"""How much a phantom looks like a real recording: grey levels, texture, noise, spectrum and change.

Both are looked at on the coarser of the two pixel grids and inside their fields of view. Every figure is one
number per sequence, so that real and simulated can be set side by side as a ratio.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.records import Frame

FACTOR = 2.0
"""Two figures are alike when they differ by no more than this."""

# texture is what is finer than this; anatomy is what is coarser
_TEXTURE_MM = 4.0
_WINDOW_MM = 6.0
_MAX_LAG_MM = 6.0
_HISTOGRAM_BINS = 64
# windows with the least structure: there the picture is as homogeneous as it gets
_HOMOGENEOUS = 0.2
_MIN_WINDOWS = 8

FloatImage = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Appearance:
    """What a sequence looks like.

    Attributes:
        mean: grey level inside the field of view, as part of its 99.5th percentile.
        spread: standard deviation of the grey level, likewise.
        correlation_mm: (columns, rows) lag at which the texture's autocorrelation falls to one half, mm.
        snr: mean over standard deviation in the most homogeneous fifth of the windows.
        slope: exponent of the radially averaged power spectrum, power ∝ frequency^-slope.
        decorrelation: 1 - correlation of consecutive frames, the mean of all.
        histogram: (64,) share of the pixels by grey level, from 0 to the 99.5th percentile.
        autocorrelation: (L, 2) of the texture by lag, along columns and rows.
        lag_mm: (L,) the lags.
        spectrum: (F,) radially averaged power, as part of the whole.
        frequency_per_mm: (F,) the frequencies.
        spacing_mm: of the pixels that were looked at.
    """

    mean: float
    spread: float
    correlation_mm: tuple[float, float]
    snr: float
    slope: float
    decorrelation: float
    histogram: Array
    autocorrelation: Array
    lag_mm: Array
    spectrum: Array
    frequency_per_mm: Array
    spacing_mm: float

    @property
    def figures(self) -> Mapping[str, float]:
        """The numbers that are compared."""
        return {
            "grey level mean": self.mean,
            "grey level spread": self.spread,
            "texture correlation, columns (mm)": self.correlation_mm[0],
            "texture correlation, rows (mm)": self.correlation_mm[1],
            "SNR": self.snr,
            "spectral slope": self.slope,
            "frame-to-frame decorrelation": self.decorrelation,
        }


def appearance(frames: Iterable[Frame], spacing_mm: float) -> Appearance:
    """Measure a sequence.

    Args:
        frames: (H, W) each, with their geometry.
        spacing_mm: pixel pitch to look at it on; not finer than its own.

    Raises:
        UserError: fewer than two frames, or no part of the picture ever changes.
    """
    images = [_resampled(frame, spacing_mm) for frame in frames]
    if len(images) < 2:
        raise UserError("a sequence of at least two frames is needed")
    stack = np.stack(images)
    seen = field_of_view(stack)
    stack /= np.percentile(stack[:, seen], 99.5)
    middle = stack[:: max(1, len(stack) // 12)]
    lag_mm, autocorrelation = _autocorrelation(middle, seen, spacing_mm)
    frequency, spectrum = _spectrum(middle, seen, spacing_mm)
    grey = stack[:, seen]
    return Appearance(
        mean=float(grey.mean()),
        spread=float(grey.std()),
        correlation_mm=(_half(lag_mm, autocorrelation[:, 0]), _half(lag_mm, autocorrelation[:, 1])),
        snr=_snr(middle, seen, spacing_mm),
        slope=_slope(frequency, spectrum),
        decorrelation=float(np.mean([1 - _correlation(a, b) for a, b in pairwise(grey)])),
        histogram=np.histogram(grey, _HISTOGRAM_BINS, (0.0, 1.0))[0] / grey.size,
        autocorrelation=autocorrelation,
        lag_mm=lag_mm,
        spectrum=spectrum,
        frequency_per_mm=frequency,
        spacing_mm=spacing_mm,
    )


def ratio(real: float, simulated: float) -> float:
    """Return by which factor two figures differ, at least 1."""
    if real <= 0 or simulated <= 0:
        return np.inf
    return max(real / simulated, simulated / real)


def field_of_view(stack: FloatImage) -> NDArray[np.bool_]:
    """Return the (H, W) pixels of an (N, H, W) sequence that ever change, without their rim.

    A scanner's frame, its writing and what lies outside the sector stand still.

    Raises:
        UserError: nothing changes.
    """
    changing = (np.ptp(stack, axis=0) > 0).astype(np.uint8)
    whole = cv2.morphologyEx(changing, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(whole)
    if count < 2:
        raise UserError("no part of the picture changes")
    largest = 1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax())
    rim_px = max(1, min(stack.shape[1:]) // 50)
    kernel = np.ones((2 * rim_px + 1, 2 * rim_px + 1), np.uint8)
    inner = cv2.erode(
        (labels == largest).astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    return inner > 0


def _resampled(frame: Frame, spacing_mm: float) -> FloatImage:
    assert frame.geometry is not None
    column_mm, row_mm, _ = frame.geometry.plane_spacing_mm
    image = frame.image.astype(np.float32)
    height, width = image.shape
    size = (max(1, round(width * column_mm / spacing_mm)), max(1, round(height * row_mm / spacing_mm)))
    if size == (width, height):
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def _texture(image: FloatImage, seen: NDArray[np.bool_], spacing_mm: float) -> FloatImage:
    """Return the picture without what is coarser than texture; zero outside the field of view."""
    weight = seen.astype(np.float32)
    sigma_px = _TEXTURE_MM / spacing_mm / 2
    smooth = cv2.GaussianBlur(image * weight, (0, 0), sigma_px)
    smooth /= np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma_px), 1e-3)
    return np.asarray((image - smooth) * weight, dtype=np.float32)


def _autocorrelation(stack: FloatImage, seen: NDArray[np.bool_], spacing_mm: float) -> tuple[Array, Array]:
    lags = np.arange(int(_MAX_LAG_MM / spacing_mm) + 2)
    texture = [_texture(image, seen, spacing_mm) for image in stack]
    products = np.zeros((len(lags), 2))
    for lag in lags:
        for axis in (1, 0):
            both = _product(seen.astype(np.float32), lag, axis).sum()
            total = sum(float(_product(part, lag, axis).sum(dtype=np.float64)) for part in texture)
            products[lag, 1 - axis] = total / max(both, 1.0)
    return lags * spacing_mm, products / products[0]


def _product(image: FloatImage, lag: int, axis: int) -> FloatImage:
    if axis == 1:
        return image[:, : image.shape[1] - lag] * image[:, lag:]
    return image[: image.shape[0] - lag] * image[lag:]


def _half(lag_mm: Array, correlation: Array) -> float:
    """Return the lag at which a correlation first falls to one half."""
    below = int(np.argmax(correlation < 0.5))
    if not below:
        return float(lag_mm[-1])
    before, after = correlation[below - 1], correlation[below]
    return float(np.interp(0.5, (after, before), (lag_mm[below], lag_mm[below - 1])))


def _snr(stack: FloatImage, seen: NDArray[np.bool_], spacing_mm: float) -> float:
    side_px = max(5, round(_WINDOW_MM / spacing_mm))
    found: list[float] = []
    for image in stack:
        texture = _texture(image, seen, spacing_mm)
        for top in range(0, image.shape[0] - side_px, side_px):
            for left in range(0, image.shape[1] - side_px, side_px):
                window = np.s_[top : top + side_px, left : left + side_px]
                if not seen[window].all():
                    continue
                spread = float(texture[window].std())
                if spread > 0 and image[window].mean() > 0.05:
                    found.append(float(image[window].mean()) / spread)
    if len(found) < _MIN_WINDOWS:
        raise UserError("the field of view is too small to find homogeneous tissue in")
    return float(np.median(np.sort(found)[-max(1, int(len(found) * _HOMOGENEOUS)) :]))


def _spectrum(stack: FloatImage, seen: NDArray[np.bool_], spacing_mm: float) -> tuple[Array, Array]:
    """Return frequencies, 1/mm, and the power averaged over directions, the field of view faded out."""
    faded = cv2.GaussianBlur(seen.astype(np.float32), (0, 0), max(2.0, min(seen.shape) / 40)) * seen
    height, width = seen.shape
    power = np.zeros((height, width))
    for image in stack:
        mean = float((image * faded).sum() / faded.sum())
        power += np.abs(np.fft.fft2((image - mean) * faded)) ** 2
    rows = np.fft.fftfreq(height, spacing_mm)[:, None]
    columns = np.fft.fftfreq(width, spacing_mm)[None, :]
    radius = np.hypot(rows, columns)
    edges = np.geomspace(1 / (min(height, width) * spacing_mm), 0.5 / spacing_mm, 25)
    index = np.digitize(radius, edges)
    mean_power = np.array([power[index == i].mean() if (index == i).any() else np.nan for i in range(1, 25)])
    centre = np.sqrt(edges[:-1] * edges[1:])
    known = np.isfinite(mean_power)
    return centre[known], mean_power[known] / power.sum()


def _slope(frequency: Array, spectrum: Array) -> float:
    slope, _ = np.polyfit(np.log(frequency), np.log(spectrum), 1)
    return float(-slope)


def _correlation(a: Array, b: Array) -> float:
    return float(np.corrcoef(a, b)[0, 1])

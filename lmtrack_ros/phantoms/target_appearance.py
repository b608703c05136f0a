"""What a target does to a real picture: how it looks in X-ray, ultrasound and MR."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.special import erfc

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.geometry import Modality
from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.core.records import Frame

_EDGE_SIGMAS = 4.0  # a Gaussian edge ends here
_TEXTURE_CELLS = 97  # across the target
_TEXTURE_SCALE = 0.15  # of its half axes
_NOISE_WITHIN_PX = 4.0  # structures in MR are wider
_BLUR_PX = (0.5, 3.0)  # what an imager may plausibly have
_DISPLAY_DB = 60.0  # from black to white in a usual ultrasound display
_FLOOR_GREY = 8.0  # below it, the receiver's noise fills an ultrasound display
_WALL_MM = 0.6


@dataclass(frozen=True)
class TargetParameters:
    """How the inserted target looks; of what names a modality, that one alone reads it."""

    diameters_mm: tuple[float, ...] = parameter(
        (20.0, 16.0, 18.0), "along columns, along rows and into the image, mm at the isocentre"
    )
    edge_mm: float = parameter(
        0.6, "standard deviation of its border, beside the blur of the imager, mm", minimum=0.0, maximum=5.0
    )
    attenuation_per_mm: float = parameter(
        0.0175, "X-ray: how much more than the lung it absorbs, 1/mm", minimum=0.001, maximum=0.1
    )
    polarity: str = parameter(
        "auto",
        "X-ray: whether what absorbs is white or black; auto: as the picture's middle, where the spine is",
        choices=("auto", "bones_white", "bones_black"),
    )
    texture: float = parameter(
        0.08, "X-ray: standard deviation of its density within it, of the mean", minimum=0.0, maximum=0.3
    )
    lumen_db: float = parameter(
        -12.0, "ultrasound: echoes inside it, relative to the tissue", minimum=-40.0, maximum=20.0
    )
    wall_db: float = parameter(
        8.0, "ultrasound: echoes of its wall where the beam meets it squarely", minimum=0.0, maximum=30.0
    )
    signal: float = parameter(
        3.0, "MR: its signal relative to the tissue round it; below 1 dark", minimum=0.0, maximum=20.0
    )

    def __post_init__(self) -> None:
        if len(self.diameters_mm) != 3 or not all(1.0 <= d <= 200.0 for d in self.diameters_mm):
            raise ValueError(f"diameters_mm needs three values from 1 to 200 mm, got {self.diameters_mm}")


class Ellipse(NamedTuple):
    """The target in one image: centre and half axes, (column, row) each, px."""

    center_px: Array
    half_px: Array

    @property
    def radius_px(self) -> float:
        """Radius of the circle of the same area."""
        return float(np.sqrt(np.prod(self.half_px)))

    def offsets(self, rows: slice, columns: slice) -> tuple[Array, Array]:
        """Return the offsets of a window's pixels from the centre, in half axes: (1, w) and (h, 1)."""
        u = (np.arange(columns.start, columns.stop) - self.center_px[0]) / self.half_px[0]
        v = (np.arange(rows.start, rows.stop) - self.center_px[1]) / self.half_px[1]
        return u[None, :], v[:, None]

    def window(self, reach: float, shape: tuple[int, ...]) -> tuple[slice, slice]:
        """Return the rows and columns of an image that lie within some half axes of the centre."""
        low = np.maximum(np.floor(self.center_px - reach * self.half_px), 0).astype(int)
        high = np.minimum(np.ceil(self.center_px + reach * self.half_px) + 1, shape[::-1]).astype(int)
        return slice(low[1], high[1]), slice(low[0], high[0])


class Appearance(Protocol):
    """What the target does to a picture."""

    reach: float
    """How many half axes from the centre the picture changes."""

    def __call__(self, grey: Array, u: Array, v: Array, rng: np.random.Generator) -> Array:
        """Return a window's (h, w) grey values with the target, its pixels u, v half axes from the centre."""


class _Body:
    """The target's share of what a pixel shows: 1 inside, softly 0 outside.

    Args:
        target: its parameters.
        first: frame to match the blur of.
        ellipse: the target in it.
        projected: whether rays pass through it, rather than a plane cutting it: then the share is the path
            through it, of that through its centre.
    """

    def __init__(
        self, target: TargetParameters, first: Frame, ellipse: Ellipse, *, projected: bool = False
    ) -> None:
        blur_px = np.hypot(target.edge_mm / _pitch_mm(first), _blur_px(first.image))
        self.sigma = float(blur_px) / ellipse.radius_px
        self.reach = 1.0 + _EDGE_SIGMAS * self.sigma
        self._radius = np.linspace(0.0, self.reach, 512)
        depth = np.linspace(-self.reach, self.reach, 801) if projected else np.zeros(1)
        # a Gaussian blur of all three dimensions, projected, is the detector's blur of the projection
        density = erfc((np.hypot(self._radius[:, None], depth) - 1.0) / (np.sqrt(2.0) * self.sigma)) / 2
        self._profile = density.sum(axis=1) * (depth[1] - depth[0]) / 2 if projected else density[:, 0]
        # what is left at the reach would show as a rim
        self._profile -= self._profile[-1]

    def share(self, u: Array, v: Array) -> Array:
        """Return the (h, w) shares of pixels u, v half axes from the centre."""
        return np.interp(np.hypot(u, v), self._radius, self._profile, right=0.0)


class _Attenuation:
    """X-ray: thickness times difference in attenuation is added to the negative logarithm of transmission.

    With the grey value d of no transmission (white where bones are white, else black), transmission is
    proportional to grey - d: a target that lets exp(-a) through scales that difference by exp(-a),
    whatever the grey value of free radiation. Noise is scaled with it, so in the logarithm it is what it
    was. The density varies a little within the target, with its mass and centroid kept. Not modelled:
    scatter, and displays that are not linear in transmission.
    """

    def __init__(self, target: TargetParameters, first: Frame, ellipse: Ellipse, seed: int) -> None:
        self._body = _Body(target, first, ellipse, projected=True)
        self.reach = self._body.reach
        self._attenuation = target.attenuation_per_mm * target.diameters_mm[2]
        self._texture = target.texture * self._pattern(np.random.default_rng((seed, 0)))
        polarity = _polarity(first.image) if target.polarity == "auto" else target.polarity
        self._opaque = _white(first.image) if polarity == "bones_white" else 0.0
        passing = np.abs(first.image[ellipse.window(1.0, first.image.shape)].astype(float) - self._opaque)
        if np.median(passing) == 0.0:
            raise UserError("no X-rays arrive where the target starts: choose a place inside the field")

    def __call__(self, grey: Array, u: Array, v: Array, rng: np.random.Generator) -> Array:
        cells = np.stack(np.broadcast_arrays(v, u)) / self.reach
        index = (cells + 1.0) / 2.0 * (_TEXTURE_CELLS - 1)
        texture = map_coordinates(self._texture, index, order=1, mode="nearest")
        thickness = self._body.share(u, v) * np.maximum(1.0 + texture, 0.0)
        passed: Array = np.exp(-self._attenuation * thickness)
        return self._opaque + (grey - self._opaque) * passed

    def _pattern(self, rng: np.random.Generator) -> Array:
        """Return a texture of standard deviation 1, about as fine as the target's edge is sharp."""
        scale = max(_TEXTURE_SCALE, self._body.sigma) / self.reach * _TEXTURE_CELLS / 2
        noise = cv2.GaussianBlur(rng.standard_normal((_TEXTURE_CELLS, _TEXTURE_CELLS)), (0, 0), scale)
        axis = np.linspace(-self.reach, self.reach, _TEXTURE_CELLS)
        weight = self._body.share(axis[None, :], axis[:, None])
        u, v = np.meshgrid(axis, axis)
        moments = np.stack([np.ones_like(u), u, v])
        overlap = np.einsum("iyx,jyx,yx->ij", moments, moments, weight)
        excess = np.linalg.solve(overlap, np.einsum("iyx,yx,yx->i", moments, noise, weight))
        noise -= np.tensordot(excess, moments, axes=1)
        pattern: Array = noise / np.sqrt(np.average(noise**2, weights=weight))
        return pattern


class _Lumen:
    """Ultrasound: the log-compressed picture is darker by some dB inside a vessel, brighter on its wall.

    The recorded speckle is modulated: it shows through the vessel as receiver noise and clutter would, and
    stays with the tissue while the vessel moves, so it slides under a vessel whose motion is not the
    tissue's. Not modelled: speckle of the wall's own, flow, and enhancement or shadow below the vessel.
    """

    def __init__(self, target: TargetParameters, first: Frame, ellipse: Ellipse, seed: int) -> None:
        assert first.geometry is not None
        self._body = _Body(target, first, ellipse)
        self._lumen_db, self._wall_db = target.lumen_db, target.wall_db
        self._wall = _WALL_MM / _pitch_mm(first) / ellipse.radius_px
        self.reach = max(self._body.reach, 1.0 + (1.0 + _EDGE_SIGMAS) * self._wall)
        _, counts = np.unique(first.image[ellipse.window(1.0, first.image.shape)], return_counts=True)
        if counts.max() > counts.sum() / 2:
            raise UserError("there is no speckle where the target starts: choose a place inside the sector")
        self._grey_per_db = _white(first.image) / _DISPLAY_DB
        self._floor = _FLOOR_GREY / 255.0 * _white(first.image)

    def __call__(self, grey: Array, u: Array, v: Array, rng: np.random.Generator) -> Array:
        radius = np.maximum(np.hypot(u, v), 1e-6)
        square_on = 0.2 + 0.8 * (v / radius) ** 2
        wall = np.exp(-0.5 * ((radius - 1.0 - self._wall) / self._wall) ** 2) * square_on
        gain_db = self._lumen_db * self._body.share(u, v) + self._wall_db * wall
        return grey + self._above_floor(grey + self._grey_per_db * gain_db) - self._above_floor(grey)

    def _above_floor(self, grey: Array) -> Array:
        above: Array = self._floor * np.logaddexp(grey / self._floor, 0.0)
        return above


class _Signal:
    """MR: the vessel's signal takes the place of the tissue's, and the noise stays as strong as it was.

    The share of the recorded noise that goes with the tissue is replaced by noise of both quadrature
    channels, as strong and as smooth as that of the surroundings: the magnitude of what is near the noise
    follows Rice (Gudbjartsson and Patz 1995, Magn. Reson. Med. 34, 910). Not modelled: artefacts of flow.
    """

    def __init__(self, target: TargetParameters, first: Frame, ellipse: Ellipse, seed: int) -> None:
        self._body = _Body(target, first, ellipse)
        self.reach = self._body.reach
        window = ellipse.window(2.0, first.image.shape)
        surroundings = first.image[window].astype(float)
        outside = np.hypot(*ellipse.offsets(*window)) > self.reach
        self._level = target.signal * float(np.median(surroundings[outside]))
        if self._level == 0.0 < target.signal:
            raise UserError("there is no signal where the target starts: choose a place inside the body")
        self._sigma, self._noise_blur_px = _noise(surroundings)

    def __call__(self, grey: Array, u: Array, v: Array, rng: np.random.Generator) -> Array:
        share = self._body.share(u, v)
        noise = cv2.GaussianBlur(rng.standard_normal((*grey.shape, 2)), (0, 0), self._noise_blur_px)
        replaced = np.sqrt(1.0 - (1.0 - share) ** 2)
        noise *= self._sigma / _gain(self._noise_blur_px) * replaced[..., None]
        signal = (1.0 - share) * grey + share * self._level
        return np.hypot(signal + noise[..., 0], noise[..., 1])


_APPEARANCES: Mapping[Modality, Callable[[TargetParameters, Frame, Ellipse, int], Appearance]] = {
    Modality.FLUOROSCOPY: _Attenuation,
    Modality.PORTAL: _Attenuation,
    Modality.ULTRASOUND: _Lumen,
    Modality.MR: _Signal,
}


def open_appearance(target: TargetParameters, first: Frame, ellipse: Ellipse, seed: int) -> Appearance:
    """Return what a target does to the pictures of a recording.

    Args:
        target: its parameters.
        first: the recording's first frame, with geometry.
        ellipse: the target in it.
        seed: of the texture.

    Raises:
        UserError: the modality takes no target, nothing is imaged where it starts, or the polarity is
            not clear.
    """
    assert first.geometry is not None
    modality = first.geometry.modality
    if modality not in _APPEARANCES:
        known = ", ".join(m.value for m in _APPEARANCES)
        raise UserError(f"no target is known for {modality.value} images, only for {known}")
    return _APPEARANCES[modality](target, first, ellipse, seed)


def _white(image: NDArray[Any]) -> float:
    """Return the grey value of white: of 8 bits the highest there is, else the highest in the picture."""
    return 255.0 if image.dtype == np.uint8 else float(np.max(image.astype(float)))


def _polarity(image: NDArray[Any]) -> str:
    """Return whether the middle third of the columns, where the spine is, is brighter or darker."""
    width = image.shape[1]
    middle = slice(width // 3, -(width // 3))
    grey = image.astype(float)
    center = float(np.median(grey[:, middle]))
    sides = float(np.median(np.delete(grey, np.arange(width)[middle], axis=1)))
    if abs(center - sides) < 0.02 * np.ptp(grey):
        raise UserError("cannot tell whether bones are white or black: set polarity")
    return "bones_white" if center > sides else "bones_black"


def _blur_px(image: NDArray[Any]) -> float:
    """Return the standard deviation of the imager's blur, from the picture's sharpest edges.

    The gradient at a step falls as 1 / sqrt(blur² + added blur²) (after Zhuo and Sim 2011, Pattern
    Recognition 44, 1852): here between 1 and 2 px added; the lower quartile over the strongest per cent.
    """
    grey = image.astype(np.float32)
    once, twice = (np.hypot(*np.gradient(cv2.GaussianBlur(grey, (0, 0), s))) for s in (1.0, 2.0))
    strong = (once > np.percentile(once, 99)) & (twice > 0)
    ratio2 = np.maximum((once[strong] / twice[strong]) ** 2, 1.0 + 1e-6)
    if not len(ratio2):
        return _BLUR_PX[0]
    blur2 = float(np.percentile((4.0 - ratio2) / (ratio2 - 1.0), 25))
    return float(np.clip(np.sqrt(max(blur2, 0.0)), *_BLUR_PX))


def _noise(grey: Array) -> tuple[float, float]:
    """Return the standard deviation of the noise, and that of the Gaussian that white noise was blurred by.

    The noise is what a blur takes away; its strength is told by the median deviation, which thin
    structures raise little, its blur s by the correlation of neighbours, exp(-1 / (4 s²)).
    """
    rest = grey - cv2.GaussianBlur(grey, (0, 0), _NOISE_WITHIN_PX)
    sigma = 1.4826 * float(np.median(np.abs(rest)))
    rest = np.clip(rest, -3 * sigma, 3 * sigma)
    neighbours = (np.mean(rest[1:] * rest[:-1]) + np.mean(rest[:, 1:] * rest[:, :-1])) / 2
    correlation = float(np.clip(neighbours / max(np.mean(rest**2), 1e-12), 0.02, 0.9))
    return sigma, float(np.sqrt(-0.25 / np.log(correlation)))


def _gain(blur_px: float) -> float:
    """Return what a Gaussian blur leaves of the standard deviation of white noise."""
    impulse = np.zeros((25, 25))
    impulse[12, 12] = 1.0
    return float(np.linalg.norm(cv2.GaussianBlur(impulse, (0, 0), blur_px)))


def _pitch_mm(frame: Frame) -> float:
    """Return the mean pixel pitch where sizes are measured."""
    assert frame.geometry is not None
    return float(np.sqrt(np.prod(frame.geometry.plane_spacing_mm[:2])))

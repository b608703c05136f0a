"""Label-free evaluation of a template matching network: there and back again.

Frueh et al. 2022, section III.B and equation (4). A patch of the source is found in a target; the patch that
is there is found in the source; how far that is from where the first was taken is the cyclic error. It needs
no annotation, and is small only where both ways are right or wrong alike.

The source is the first frame of a recording, on which landmarks would be marked. The paper pairs ends of
expiration and inspiration; here the recording is divided into as many spans as there are targets, and of each
the frame that is least like the source is taken, which is where motion is at its far end.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import Frame
from lmtrack_ros.inference.parameters import InferenceParameters
from lmtrack_ros.models.grey import scaled
from lmtrack_ros.models.template_matching.matcher import Matcher
from lmtrack_ros.models.views import View
from lmtrack_ros.sources import open_source

Array = NDArray[np.float64]

TARGETS = 10
_PATCHES = 64
"""Sought at once."""
_LEAST_STRIDE_PX = 2
_MOST_PLACES = 5000
_CELLS = 4
"""Places within one part in so many of a region's side share the region round their middle."""
_THUMBNAIL_PX = 32


@dataclass(frozen=True, eq=False)
class KeyFrames:
    """The frames of a recording that are compared.

    Attributes:
        numbers: of source and targets in the recording, from 0.
        source: (H, W) frame.
        targets: likewise.
    """

    numbers: tuple[int, ...]
    source: Frame
    targets: tuple[Frame, ...]


@dataclass(frozen=True, eq=False)
class Tile:
    """Places that are sought in the same view.

    Attributes:
        view: of source and target.
        index: (K,) numbers of the places.
    """

    view: View
    index: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CyclicErrors:
    """Of each place of a grid in the source, over N targets; NaN where the network gives no number.

    Attributes:
        places_px: (R, C, 2) column and row.
        away_px: (N, R, C, 2) from each place to where it comes back to.
        sigma_px: (N, R, C, 2) σ̂ of the way there.
        spacing_mm: pixel pitch along columns and rows; None where it is unknown.
    """

    places_px: Array
    away_px: Array
    sigma_px: Array
    spacing_mm: tuple[float, float] | None

    @property
    def stride_px(self) -> int:
        """Pixels from one place to the next."""
        return round(float(self.places_px[0, 1, 0] - self.places_px[0, 0, 0]))

    @property
    def error_px(self) -> Array:
        """(N, R, C) Euclidean cyclic error."""
        return np.asarray(np.linalg.norm(self.away_px, axis=-1))

    @property
    def error_mm(self) -> Array | None:
        """(N, R, C) likewise, in mm."""
        if self.spacing_mm is None:
            return None
        return np.asarray(np.linalg.norm(self.away_px * self.spacing_mm, axis=-1))

    @property
    def sigma_map_px(self) -> Array:
        """(R, C) length of σ̂, mean over the targets."""
        return np.asarray(np.linalg.norm(self.sigma_px, axis=-1).mean(axis=0))

    def figures(self) -> dict[str, float | None]:
        """Return mean and standard deviation over all places and targets; None where not finite.

        ``surer_half`` are the places with the smaller σ̂, which leaves out what shows nothing to match.
        """
        sigma = self.sigma_map_px
        surer = ~(sigma > np.median(sigma))
        said: dict[str, Array] = {"px": self.error_px}
        if (error_mm := self.error_mm) is not None:
            said["mm"] = error_mm
        found: dict[str, float | None] = {}
        for unit, error in said.items():
            found |= {
                f"cyclic_mean_{unit}": _figure(error.mean()),
                f"cyclic_std_{unit}": _figure(error.std()),
                f"cyclic_surer_half_mean_{unit}": _figure(error[:, surer].mean()),
            }
        return {**found, "sigma_mean_px": _figure(sigma.mean())}


def read_key_frames(path: Path, targets: int = TARGETS) -> KeyFrames:
    """Return source and targets of a recording; see the module's text.

    Args:
        path: whatever :func:`open_source` opens.
        targets: how many, fewer of a short recording.

    Raises:
        UserError: it cannot be read, is not 2-D, or has less than two frames.
    """
    thumbnails = [_thumbnail(frame, path) for frame in _frames(path)]
    if len(thumbnails) < 2:
        raise UserError(f"{path} has {len(thumbnails)} frames: a cyclic error needs two")
    numbers = key_frames(np.array(thumbnails), targets)
    chosen = {number: frame for number, frame in enumerate(_frames(path)) if number in numbers}
    source, *others = (chosen[number] for number in numbers)
    return KeyFrames(numbers, source, tuple(others))


def key_frames(thumbnails: NDArray[Any], targets: int) -> tuple[int, ...]:
    """Return the numbers of source and targets.

    Args:
        thumbnails: (F, D) values of each frame.
        targets: how many there are to be.
    """
    away = np.linalg.norm(thumbnails - thumbnails[0], axis=1)
    spans = np.array_split(np.arange(1, len(away)), min(targets, len(away) - 1))
    return (0, *(int(span[away[span].argmax()]) for span in spans))


def open_matcher(weights: str, inference: InferenceParameters) -> Matcher:
    """Return a matcher that seeks as many patches at once as a tile has places.

    Raises:
        UserError: there are no such weights, or they cannot be read.
    """
    return Matcher(weights, inference, batch=1, examples=_PATCHES)


def cyclic_errors(
    matcher: Matcher,
    source: Frame,
    targets: Sequence[Frame],
    on_tile: Callable[[int, int], None] = lambda done, all_: None,
) -> CyclicErrors:
    """Return the cyclic errors of equation (4).

    Every second pixel is a place, as in the paper, of large images fewer, so that there are 5000 at most.
    Where the network sees regions, a place has to lie within an eighth of the region's side from its middle,
    along columns and rows, as a landmark does that is tracked.

    Args:
        matcher: of :func:`open_matcher`.
        source: (H, W).
        targets: N of the same size.
        on_tile: gets how many tiles of how many are done.

    Raises:
        UserError: the network sees regions in mm and the pixel spacing is unknown.
    """
    spacing_mm = source.geometry.plane_spacing_mm[:2] if source.geometry else None
    c = matcher.configuration
    if c.view_mm and spacing_mm is None:
        raise UserError("the network sees regions in millimetres: the pixel spacing must be known")
    view_px = c.view_mm / spacing_mm[0] if c.view_mm and spacing_mm else None
    places = grid(source.image.shape)
    flat = places.reshape(-1, 2)
    away, sigma = (np.full((len(targets), *flat.shape), np.nan) for _ in range(2))
    grey = scaled(source.image)
    target_greys = [scaled(target.image) for target in targets]
    all_tiles = tiles(flat, source.image.shape, view_px, c.image_px)
    for done, tile in enumerate(all_tiles, 1):
        view, at_px = tile.view, tile.view.to_view(flat[tile.index])
        seen = view.of(grey)
        patches = _encode(matcher, seen, at_px)
        for number, target in enumerate(target_greys):
            target_seen = view.of(target)
            there = _find(matcher, target_seen, patches)
            back = _find(matcher, seen, _encode(matcher, target_seen, there[:, :2]))
            # what was found nowhere cannot come back from there
            back[~np.isfinite(there).all(axis=-1)] = np.nan
            away[number, tile.index] = (back[:, :2] - at_px) * view.scale
            sigma[number, tile.index] = there[:, 2:] * view.scale
        on_tile(done, len(all_tiles))
    shape = (len(targets), *places.shape)
    return CyclicErrors(places, away.reshape(shape), sigma.reshape(shape), spacing_mm)


def grid(shape: tuple[int, ...]) -> Array:
    """Return the (R, C, 2) places of an (H, W) image, evenly about its middle, px."""
    height, width = shape
    stride = max(_LEAST_STRIDE_PX, int(np.ceil(np.sqrt(height * width / _MOST_PLACES))))
    columns, rows = (np.arange((side - 1) % stride // 2, side, stride) for side in (width, height))
    return np.stack(np.meshgrid(columns, rows), axis=-1).astype(float)


def tiles(places_px: Array, shape: tuple[int, ...], view_px: float | None, input_px: int) -> list[Tile]:
    """Divide places by the view that they are sought in, and by how many are sought at once.

    Args:
        places_px: (K, 2) column and row.
        shape: (H, W) of the image.
        view_px: side of a region; None: the whole image is seen.
        input_px: side of the network's image.
    """
    if view_px is None:
        return _split(View.whole(shape, input_px), np.arange(len(places_px)))
    # at least a place each
    cell_px = max(view_px / _CELLS, 1.0)
    _, cell = np.unique(places_px // cell_px, axis=0, return_inverse=True)
    found = []
    for number in range(cell.max() + 1):
        index = np.flatnonzero(cell == number)
        middle = (places_px[index].min(axis=0) + places_px[index].max(axis=0)) / 2
        found += _split(View.around(middle, view_px, input_px), index)
    return found


def _split(view: View, index: NDArray[np.int64]) -> list[Tile]:
    return [Tile(view, index[start : start + _PATCHES]) for start in range(0, len(index), _PATCHES)]


def _encode(matcher: Matcher, seen: NDArray[np.float32], places_px: Array) -> NDArray[np.float32]:
    """Return the (K, E) patches round (K, 2) places of a view."""
    return matcher.encode([seen] * len(places_px), np.nan_to_num(places_px))


def _find(matcher: Matcher, seen: NDArray[np.float32], patches: NDArray[np.float32]) -> Array:
    """Return (K, 4) x̂, ŷ, σ̂x, σ̂y of (K, E) patches in a view."""
    filled = np.zeros((1, _PATCHES, patches.shape[-1]), np.float32)
    filled[0, : len(patches)] = patches
    return matcher.find([seen], filled)[0, : len(patches)]


def _frames(path: Path) -> Iterator[Frame]:
    source = open_source(path)
    try:
        yield from source
    finally:
        source.close()


def _thumbnail(frame: Frame, path: Path) -> NDArray[np.float32]:
    if frame.image.ndim != 2:
        raise UserError(f"{path} is not 2-D: a cyclic error is of an image")
    size = (_THUMBNAIL_PX, _THUMBNAIL_PX)
    small = cv2.resize(scaled(frame.image), size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.float32).ravel()


def _figure(value: Any) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None

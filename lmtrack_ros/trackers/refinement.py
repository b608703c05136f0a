"""Sub-pixel refinement: local correlation with the frame of marking, inside the radius a model predicts.

A model that has learnt what a landmark looks like finds it in every frame anew, to within some pixels. Near
what it found, this stage measures where the reference patch fits best, and says whether to believe it. No
template but that of the frame of marking is used, so nothing drifts.

1. **Search.** Normalised cross-correlation of the reference patch (Lewis 1995) at every position within the
   predicted radius; a penalty that grows with the squared distance in predicted radii prefers the nearer of
   like peaks.
2. **Measure.** Patches of several sizes are sought close to that peak, without the penalty, and their peaks
   taken together, each weighted by its sharpness: small patches follow the landmark where tissue round it
   stretches, large ones where noise hides it. How far they disagree adds to the uncertainty.
3. **Verify.** What was found is sought in the frame of marking, in a window that holds that place too, and
   must lead back to where the landmark was marked (forward-backward error, Kalal et al. 2010).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.core.records import Landmark
from lmtrack_ros.trackers.patches import Extent, Image, Window, peak_in, similarity

Point: TypeAlias = NDArray[np.float64]

_LEAST_RADIUS_PX = 3
"""A window has room for a peak and what surrounds it."""
_MARGIN_PX = 4
"""So far beyond a place is looked whether it is a peak."""
_SIZES = (0.5, 0.75, 1.0, 1.25, 1.5)
"""Half-widths of the patches that are measured with, relative to that of the search."""
_CLOSE_PX = 3
"""So far round the peak of the search they are sought."""
_LEAST_CURVATURE = 1e-4
"""Below it, per px², a peak is as wide as a plateau."""
_WIDTH_SHARE = 0.04
"""Part of the squared width of a peak, at which a perfect match would fall to its height, in the variance."""
_LEAST_VARIANCE_PX2 = 1e-4
"""Of a perfect match."""


@dataclass(frozen=True)
class RefinementParameters:
    """How a model's positions are refined."""

    enabled: bool = parameter(True, "measure positions by correlation with the frame of marking")
    half_width_px: int = parameter(
        12,
        "half-width of the reference patch, px; measured with from half to one and a half of it",
        minimum=4,
        maximum=128,
    )
    most_px: int = parameter(24, "greatest half-width of the window, px", minimum=4, maximum=256)
    nearness: float = parameter(
        0.1,
        "similarity that a peak at the predicted radius, or after a leap, must have more than a near one",
        minimum=0.0,
    )
    least_similarity: float = parameter(0.5, "a lower peak is not believed", minimum=0.0, maximum=1.0)
    round_trip_px: float = parameter(
        1.5, "nor one that leads back farther from the marked position than this, px", minimum=0.0
    )


@dataclass(frozen=True, eq=False)
class Refined:
    """What was measured near a model's position.

    Attributes:
        uv_px: (2,) column and row where patches of all sizes agree best.
        sigma_px: (2,) uncalibrated standard deviation along each image axis: of the width of the peaks, of
            how far they disagree and of where the way back ends.
        similarity: height of the peak that was found in the search.
        accepted: whether to believe it.
    """

    uv_px: Point
    sigma_px: Point
    similarity: float
    accepted: bool


class Refiner:
    """Measures landmarks near where a model finds them; see the module's text.

    Args:
        parameters: of the search.
        image: (H, W) on which the landmarks were marked, as ``patches.as_float_image`` returns it.
        landmarks: inside it.

    Attributes:
        parameters: as given.
        image: of marking.
    """

    def __init__(self, parameters: RefinementParameters, image: Image, landmarks: Sequence[Landmark]) -> None:
        self.parameters = parameters
        self.image = image
        self._targets = [_Target.cut(landmark, image, parameters.half_width_px) for landmark in landmarks]

    def refine(self, image: Image, index: int, uv_px: Point, radius_px: Point) -> Refined:
        """Return what is measured near a position.

        Args:
            image: (H, W) of the size of the first, as ``patches.as_float_image`` returns it.
            index: of the landmark.
            uv_px: (2,) where the model finds it.
            radius_px: (2,) within what, along each image axis, nearly always; no more than ``most_px`` count.
        """
        return self.seek(image, index, uv_px, np.minimum(radius_px, self.parameters.most_px))

    def seek(self, image: Image, index: int, uv_px: Point, radius_px: Point) -> Refined:
        """Return what is measured round a position, however large the radius; see :meth:`refine`."""
        p, target = self.parameters, self._targets[index]
        reach = np.maximum(radius_px, _LEAST_RADIUS_PX)
        window = _window(image, uv_px, reach)
        scores = target.reference.similarity(image, window)
        columns, rows = window.axes()
        away = np.square((columns - uv_px[0]) / reach[0]) + np.square((rows - uv_px[1]) / reach[1])
        row, column = np.unravel_index(int(np.argmax(scores - p.nearness * away)), scores.shape)
        peak = window.origin + np.array([column, row])
        close = _window(image, peak, np.full(2, _CLOSE_PX)).overlap(window)
        found, variance_px2 = _measured([sized.peak(image, close) for sized in target.sizes])
        height = float(scores[row, column])
        back_px = self._way_back(target, image, found, reach)
        leads_home = float(np.linalg.norm(back_px[target.axes])) <= p.round_trip_px
        return Refined(
            uv_px=found,
            sigma_px=np.sqrt(variance_px2 + np.square(back_px)),
            similarity=height,
            accepted=window.holds_inside(peak) and height >= p.least_similarity and leads_home,
        )

    def carried(self, before: Image, image: Image, uv_px: Point, reach_px: Point) -> Point | None:
        """Return (2,) where what was at a place in another frame is now; None where nothing is like it.

        Args:
            before: (H, W) the other frame.
            image: (H, W) this one.
            uv_px: (2,) the place, in the image.
            reach_px: (2,) no farther, along each image axis.
        """
        p = self.parameters
        patch = _Patch.cut(before, uv_px, p.half_width_px)
        window = _window(image, uv_px, np.clip(reach_px, _LEAST_RADIUS_PX, p.most_px))
        scores = patch.similarity(image, window)
        found, _ = peak_in(scores, window)
        is_like = window.holds_inside(found) and float(scores.max()) >= p.least_similarity
        return found if is_like else None

    def _way_back(self, target: "_Target", image: Image, found: Point, reach: Point) -> Point:
        """Return (2,) how far from the marked position the patch found is in the frame of marking, px."""
        # wide enough to see that what is at a wrong place now was there before
        there = np.where(target.axes, np.abs(found - target.uv_px) + _MARGIN_PX, 0.0)
        window = _window(self.image, target.uv_px, np.maximum(reach, there))
        extent = target.reference.extent
        scores = similarity(self.image, extent.cut(image, found), extent, window)
        back, _ = peak_in(scores, window)
        return np.abs(back - target.uv_px)


@dataclass(frozen=True, eq=False)
class _Peak:
    """Where a patch fits best in a window.

    Attributes:
        uv_px: (2,) column and row.
        variance_px2: (2,) of it, by how wide the peak is.
        is_inside: whether it is not on the edge of the window.
    """

    uv_px: Point
    variance_px2: Point
    is_inside: bool


@dataclass(frozen=True, eq=False)
class _Patch:
    extent: Extent
    image: Image

    @classmethod
    def cut(cls, image: Image, uv_px: Point, half_px: int) -> "_Patch":
        extent = Extent.within(image.shape, uv_px, half_px)
        return cls(extent, extent.cut(image, uv_px))

    def similarity(self, image: Image, window: Window) -> Image:
        return similarity(image, self.image, self.extent, window)

    def peak(self, image: Image, window: Window) -> _Peak:
        scores = self.similarity(image, window)
        uv_px, curvature = peak_in(scores, window)
        width_px2 = (1 - float(scores.max())) / np.maximum(curvature, _LEAST_CURVATURE)
        return _Peak(uv_px, _WIDTH_SHARE * width_px2 + _LEAST_VARIANCE_PX2, window.holds_inside(uv_px))


@dataclass(frozen=True, eq=False)
class _Target:
    """A landmark in the frame of marking: the patch it is sought with, and those it is measured with."""

    uv_px: Point
    axes: NDArray[np.bool_]
    reference: _Patch
    sizes: Sequence[_Patch]

    @classmethod
    def cut(cls, landmark: Landmark, image: Image, half_px: int) -> "_Target":
        uv_px = np.array(landmark.uv_px, dtype=float)
        sizes = [_Patch.cut(image, uv_px, round(size * half_px)) for size in _SIZES]
        return cls(uv_px, np.array(landmark.axes), _Patch.cut(image, uv_px, half_px), sizes)


def _measured(peaks: Sequence[_Peak]) -> tuple[Point, Point]:
    """Return the (2,) place that several peaks make and its variance, px and px²."""
    counted = [peak for peak in peaks if peak.is_inside] or peaks
    places = np.array([peak.uv_px for peak in counted])
    variances = np.array([peak.variance_px2 for peak in counted])
    shares = 1 / variances
    total = shares.sum(axis=0)
    place = (shares * places).sum(axis=0) / total
    spread = (shares * np.square(places - place)).sum(axis=0) / total
    # nested patches err together: their mean is no surer than one of them
    return place, len(counted) / total + spread


def _window(image: Image, uv_px: Point, reach_px: Point) -> Window:
    """Return the positions within reach along each axis."""
    wide = Window.around(image.shape, uv_px, math.ceil(float(reach_px[0])))
    high = Window.around(image.shape, uv_px, math.ceil(float(reach_px[1])))
    return Window(wide.x0, wide.x1, high.y0, high.y1)

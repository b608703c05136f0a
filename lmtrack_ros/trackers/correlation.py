"""The classical tracker: multi-resolution normalised cross-correlation with two templates.

For each landmark and frame:

1. **Search.** At reduced resolution, every position near the last one is compared with the
   reference patch (Lewis 1995, fast normalised cross-correlation), with the same patch as it looked
   lately, and with a patch of twice the width that tells neighbours of like look apart. A penalty
   that grows with the squared distance prefers the nearer of equal peaks. It only selects: the
   position is measured without it.
2. **Refine.** At full resolution, reference and recent patch together give the peak, to a
   fraction of a pixel.
3. **Verify.** The patch found is sought in the previous frame and must lead back to where the
   landmark was (forward-backward error, Kalal, Mikolajczyk and Matas 2010). With the height of the
   peak, its lead over the next one and the agreement of the two templates this makes the
   confidence and the radius.
4. **Adapt.** The recent patch is a running mean of what was found. It is renewed only while the
   reference patch, never changed, agrees on the position (the drift correction of Matthews,
   Ishikawa and Baker 2004, The template update problem): appearance may change, the place may not.

As long as every way back leads home and neither confidence nor likeness falls, continuity vouches for
the landmark. One that was lost, or jumped, is sought in a wider area round where it was last tracked.
Only its looks can vouch for it then: it stays UNCERTAIN, and its templates as they are, until it has been
about as like the reference patch as it used to be, and consistent, for some frames.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import ImageGeometry
from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.core.records import Estimate, Frame, Landmark, LandmarkSet, Status
from lmtrack_ros.trackers.marking import Scene, marked_on
from lmtrack_ros.trackers.measurement import to_estimate, to_set
from lmtrack_ros.trackers.patches import (
    Extent,
    Image,
    Window,
    peak_in,
    pyramid,
    similarity,
    standardised,
)

Point: TypeAlias = NDArray[np.float64]

_SEARCH_HALF_PX = 12
"""Greatest half-width of the patch at the resolution of the search."""
_LEAST_PATCH_PX = 5
"""Least width and height of a patch that the image border cuts off."""
_REFINEMENTS = 3
"""How often the window of the refinement may follow a peak on its edge."""
_SIMILARITY_RAMP = (0.3, 0.6)
_LEAD_RAMP = (0.0, 0.08)
"""From the values that say nothing for a peak to those that leave no doubt about it."""
_ROUND_TRIP_MARGIN_PX = 4
_WIDTH_SHARE = 0.02
_SPREAD_SHARE = 0.5
"""Parts of the squared width of the peak and of the squared disagreement and round trip that make the
variance of a position; fitted once to the errors on all reference recordings together."""
_SPREAD_MEMORY = 0.1
"""Weight of the newest frame in the running mean of that spread."""
_LIKENESS_MEMORY = 0.05
"""Weight of the newest frame in the running mean of the likeness to the reference patch."""
_FAMILIAR_SHARE = 0.8
_FAMILIAR_RESIDUAL = (4.0, 0.02)
"""What was lost is found where the likeness is at least this share of the usual one, and its distance
from 1 at most so many times the usual one plus a constant: like structures in speckle and noise fail the
first test, those in smooth radiographs, where everything correlates, the second."""
_COLLAPSED_SHARE = 0.6
"""Continuity ends where the likeness falls below this share of the usual one."""
_LEAST_CURVATURE = 1e-4
"""Below it, per px², a peak is as wide as a plateau."""


@dataclass(frozen=True)
class CorrelationParameters:
    """Parameters of the correlation tracker."""

    patch_half_width_px: int = parameter(
        24, "Half-width of the reference patch at full resolution, px.", minimum=4, maximum=128
    )
    search_radius_mm: float = parameter(
        10.0, "How far from its last position a landmark is sought, mm.", minimum=0.5, maximum=100.0
    )
    reacquire_radius_mm: float = parameter(
        40.0,
        "How far from where it was last tracked a lost landmark is sought, mm.",
        minimum=0.5,
        maximum=200.0,
    )
    nearness: float = parameter(
        0.2, "Similarity that a peak at the search radius must have more than one at rest.", minimum=0.0
    )
    hold_undefined_axis: float = parameter(
        1.0,
        "Similarity lost per (10 mm)² from the first position along an axis that is not defined.",
        minimum=0.0,
    )
    adaptation: float = parameter(
        0.1, "Share of the newest frame in the recent patch.", minimum=0.0, maximum=1.0
    )
    adaptation_limit_mm: float = parameter(
        1.0, "Adapt only while reference and recent patch agree this well, mm.", minimum=0.0
    )
    lost_similarity: float = parameter(
        0.35, "A landmark whose best peak is lower than this is lost.", minimum=0.0, maximum=1.0
    )
    confirm_frames: int = parameter(
        3, "Familiar and consistent frames before a landmark found again is TRACKED.", minimum=1, maximum=100
    )
    marking_error_mm: float = parameter(
        0.15, "Standard deviation that no evidence can reduce, mm: what marking is uncertain by.", minimum=0.0
    )
    tolerance_mm: float = parameter(
        3.0, "Error that the confidence allows for, mm.", minimum=0.1, maximum=100.0
    )
    tracked_confidence: float = parameter(
        0.5, "Least confidence of a TRACKED estimate.", minimum=0.1, maximum=1.0
    )


@dataclass(frozen=True, eq=False)
class _Match:
    """A position measured at full resolution.

    Attributes:
        uv: (2,) column and row, px.
        similarity: height of the peak, mean of both templates.
        likeness: similarity to the reference patch alone.
        width_px: (2,) how far along each image axis a perfect match would fall to that height.
        disagreement_px: (2,) between the peaks of the reference and of the recent patch.
    """

    uv: Point
    similarity: float
    likeness: float
    width_px: Point
    disagreement_px: Point


@dataclass
class _Target:
    """One landmark's templates, by pyramid level, and what is known of it.

    Attributes:
        uv: where it was last found.
        home_uv: where it was last TRACKED.
        spread_px2: running mean square of disagreement and round trip, along each image axis.
        usual_likeness: running mean while TRACKED; 0 before, when any look is as good as another.
        tracked_frames: how many went into that.
        consistent_frames: how many since it was last lost or jumped.
    """

    landmark: Landmark
    extents: dict[int, Extent]
    reference: dict[int, Image]
    recent: dict[int, Image]
    uv: Point
    home_uv: Point
    consistent_frames: int
    spread_px2: Point = field(default_factory=lambda: np.zeros(2))
    usual_likeness: float = 0.0
    tracked_frames: int = 0
    status: Status = Status.TRACKED

    def is_familiar(self, likeness: float) -> bool:
        """Return whether the landmark may look like this, after what it has looked like so far."""
        factor, constant = _FAMILIAR_RESIDUAL
        residual = factor * (1 - self.usual_likeness) + constant
        return likeness >= _FAMILIAR_SHARE * self.usual_likeness and 1 - likeness <= residual

    def learn(self, likeness: float, spread_px2: Point) -> None:
        """Take in how a TRACKED landmark looks and how far its positions spread."""
        self.tracked_frames += 1
        weight = max(_LIKENESS_MEMORY, 1 / self.tracked_frames)
        self.usual_likeness += weight * (likeness - self.usual_likeness)
        self.spread_px2 = self.spread_px2 + _SPREAD_MEMORY * (spread_px2 - self.spread_px2)


class CorrelationTracker:
    """Follows landmarks by normalised cross-correlation; see the module's text."""

    name: ClassVar[str] = "correlation"
    needs_initialization: ClassVar[bool] = True
    Parameters = CorrelationParameters

    def __init__(self, parameters: CorrelationParameters | None = None) -> None:
        self._parameters = p = parameters or CorrelationParameters()
        self._search_level = 0
        while p.patch_half_width_px >> self._search_level > _SEARCH_HALF_PX:
            self._search_level += 1
        self._targets: list[_Target] = []
        self._scene = Scene()
        self._previous: Image | None = None

    @property
    def landmark_ids(self) -> tuple[str, ...]:
        """Names of the landmarks followed now."""
        return tuple(target.landmark.id for target in self._targets)

    def initialize(self, frame: Frame, landmarks: Sequence[Landmark]) -> None:
        """Cut the reference patches.

        Args:
            frame: (H, W) image on which the landmarks were marked.
            landmarks: at least one.

        Raises:
            UserError: the image is not 2-D or is empty of structure, no landmark is given, or one
                is repeated, has not two coordinates, is defined on no axis or lies outside the
                image; the tracker then goes on as before.
        """
        scene, image = marked_on(frame, landmarks, self.name)
        levels = pyramid(image, self._search_level + 1)
        targets = [self._new_target(landmark, levels) for landmark in landmarks]
        # nothing is refused from here on
        self._scene = scene
        self._previous = image
        self._targets = targets

    def update(self, frame: Frame) -> LandmarkSet:
        """Find every landmark in the next frame.

        Args:
            frame: (H, W) image of the size of the first; on any other, and where the pixel spacing
                changed, every landmark is LOST.
        """
        image = self._scene.image(frame)
        if image is None:
            self._previous = None
            return to_set(frame, self.name, [_lose(t, frame.geometry) for t in self._targets])
        levels = pyramid(image, self._search_level + 1)
        estimates = [self._follow(target, levels, frame.geometry) for target in self._targets]
        self._previous = image
        return to_set(frame, self.name, estimates)

    def _new_target(self, landmark: Landmark, levels: Sequence[Image]) -> _Target:
        uv = np.array(landmark.uv_px, dtype=float)
        extents: dict[int, Extent] = {}
        patches: dict[int, Image] = {}
        half_px = self._parameters.patch_half_width_px
        for level in {0, self._search_level, self._search_level + 1}:
            # the coarsest patch has as many pixels as that of the search: twice the width
            half_here = half_px >> min(level, self._search_level)
            extents[level] = Extent.within(levels[level].shape, uv / 2**level, half_here)
            patches[level] = extents[level].cut(levels[level], uv / 2**level)
        if min(extents[0].size) < _LEAST_PATCH_PX:
            raise UserError(f"landmark '{landmark.id}' is too close to the corner of the image")
        return _Target(landmark, extents, patches, dict(patches), uv, uv, self._parameters.confirm_frames)

    def _follow(self, target: _Target, levels: Sequence[Image], geometry: ImageGeometry | None) -> Estimate:
        p = self._parameters
        settled = target.consistent_frames >= p.confirm_frames
        if settled:
            candidate, lead = self._search(target, levels, target.uv, p.search_radius_mm)
        else:
            candidate, lead = self._search(target, levels, target.home_uv, p.reacquire_radius_mm)
        match = self._refine(target, levels[0], candidate)
        if match.similarity < p.lost_similarity:
            return _lose(target, geometry)
        round_trip_px = self._round_trip_px(target, levels[0], match.uv)
        spread_px2 = np.square(match.disagreement_px) + np.square(round_trip_px)
        sigma_px = self._sigma_px(target, match, spread_px2)
        confidence = self._confidence(target, match, lead, sigma_px)
        continuous = (
            settled
            and confidence >= p.tracked_confidence
            and match.likeness >= _COLLAPSED_SHARE * target.usual_likeness
        )
        leads_home = self._length_mm(target, round_trip_px) <= p.tolerance_mm
        vouched = leads_home and (continuous or target.is_familiar(match.likeness))
        target.consistent_frames = target.consistent_frames + 1 if vouched else 0
        confirmed = target.consistent_frames >= p.confirm_frames
        if not confirmed:
            # it may be anything of like look in the area that is searched
            sigma_px = p.reacquire_radius_mm / 2 / self._scene.spacing_mm
            confidence = self._confidence(target, match, lead, sigma_px)
        target.uv = match.uv
        if confirmed and confidence >= p.tracked_confidence:
            target.status = Status.TRACKED
            target.home_uv = match.uv
            target.learn(match.likeness, spread_px2)
            if self._length_mm(target, match.disagreement_px) <= p.adaptation_limit_mm:
                self._adapt(target, levels)
        else:
            target.status = Status.UNCERTAIN
        return to_estimate(
            target.landmark, geometry, target.status, tuple(match.uv), tuple(sigma_px), confidence
        )

    def _search(
        self, target: _Target, levels: Sequence[Image], around: Point, radius_mm: float
    ) -> tuple[Point, float]:
        """Return the most likely position, px at full resolution, and its lead over the next one."""
        p, level = self._parameters, self._search_level
        image, scale, extent = levels[level], 2**level, target.extents[level]
        pitch_mm = self._scene.spacing_mm * scale
        centre = around / scale
        window = Window.around(image.shape, centre, max(3, round(radius_mm / float(pitch_mm.min()))))
        scores = (
            similarity(image, target.reference[level], extent, window)
            + similarity(image, target.recent[level], extent, window)
            + self._context(target, levels[level + 1], window)
        ) / 3
        x, y = window.axes()
        away_mm2 = np.square((x - centre[0]) * pitch_mm[0]) + np.square((y - centre[1]) * pitch_mm[1])
        likely = scores - p.nearness * away_mm2 / radius_mm**2 - self._hold(target, scale, window)
        row, column = (int(i) for i in np.unravel_index(int(np.argmax(likely)), likely.shape))
        rivals = likely.copy()
        apart = max(1, p.patch_half_width_px // scale // 2)
        rivals[max(0, row - apart) : row + apart + 1, max(0, column - apart) : column + apart + 1] = 0
        lead = float(likely[row, column] - max(0.0, rivals.max()))
        return (window.origin + np.array([column, row])) * scale, lead

    def _refine(self, target: _Target, image: Image, uv: Point) -> _Match:
        """Measure the position near ``uv`` at full resolution."""
        reach_px = 2**self._search_level + 2
        for _ in range(_REFINEMENTS):
            window = Window.around(image.shape, uv, reach_px)
            hold = self._hold(target, 1, window)
            reference = similarity(image, target.reference[0], target.extents[0], window)
            recent = similarity(image, target.recent[0], target.extents[0], window)
            uv, curvature = peak_in((reference + recent) / 2 - hold, window)
            if window.holds_inside(uv):
                break
        at = window.index(uv)
        height = float(reference[at] + recent[at]) / 2
        return _Match(
            uv=uv,
            similarity=height,
            likeness=float(reference[at]),
            width_px=np.sqrt((1 - height) / np.maximum(curvature, _LEAST_CURVATURE)),
            disagreement_px=np.abs(peak_in(reference - hold, window)[0] - peak_in(recent - hold, window)[0]),
        )

    def _round_trip_px(self, target: _Target, image: Image, uv: Point) -> Point:
        """Follow the patch found now back to the previous frame.

        Returns:
            (2,) how far from the last position that ends, px along each image axis; infinite where
            there is no last position, or none that is near enough to come from.
        """
        moved_mm = float(np.linalg.norm((uv - target.uv) * self._scene.spacing_mm))
        # to the corner of the square that a settled landmark is sought in
        reach_mm = math.sqrt(2) * self._parameters.search_radius_mm
        if self._previous is None or target.status is Status.LOST or moved_mm > reach_mm:
            return np.full(2, np.inf)
        # wide enough to see that what is at a wrong place now was there before
        reach_px = math.ceil(float(np.abs(uv - target.uv).max())) + _ROUND_TRIP_MARGIN_PX
        window = Window.around(self._previous.shape, target.uv, reach_px)
        patch = target.extents[0].cut(image, uv)
        scores = similarity(self._previous, patch, target.extents[0], window)
        back, _ = peak_in(scores - self._hold(target, 1, window), window)
        return np.abs(back - target.uv)

    def _adapt(self, target: _Target, levels: Sequence[Image]) -> None:
        share = self._parameters.adaptation
        for level in {0, self._search_level}:
            now = standardised(target.extents[level].cut(levels[level], target.uv / 2**level))
            before = standardised(target.recent[level])
            target.recent[level] = np.asarray((1 - share) * before + share * now, dtype=np.float32)

    def _context(self, target: _Target, image: Image, window: Window) -> Image:
        """Return the similarity of the wide patch, one level up, at every position of a window."""
        level = self._search_level + 1
        above = Window(window.x0 // 2, window.x1 // 2 + 1, window.y0 // 2, window.y1 // 2 + 1)
        scores = similarity(image, target.reference[level], target.extents[level], above)
        x, y = window.axes()
        columns = np.broadcast_to(x / 2 - above.x0, (y.size, x.size)).astype(np.float32)
        rows = np.broadcast_to(y / 2 - above.y0, (y.size, x.size)).astype(np.float32)
        return np.asarray(cv2.remap(scores, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))

    def _hold(self, target: _Target, scale: int, window: Window) -> NDArray[np.float64]:
        """Return the penalty, by position, that keeps a landmark from sliding along an undefined axis."""
        penalty: NDArray[np.float64] = np.zeros((1, 1))
        for axis, positions in enumerate(window.axes()):
            if not target.landmark.axes[axis]:
                away_mm = (positions * scale - target.landmark.uv_px[axis]) * self._scene.spacing_mm[axis]
                penalty = penalty + self._parameters.hold_undefined_axis * np.square(away_mm / 10.0)
        return penalty

    def _length_mm(self, target: _Target, vector_px: Point) -> float:
        """Return the length of a (2,) vector over the axes on which the landmark is defined, mm."""
        return float(np.linalg.norm((vector_px * self._scene.spacing_mm)[np.array(target.landmark.axes)]))

    def _sigma_px(self, target: _Target, match: _Match, spread_px2: Point) -> Point:
        """Return the standard deviation of the position, (2,) px along each image axis."""
        variance_px2 = (
            np.square(self._parameters.marking_error_mm / self._scene.spacing_mm)
            + _WIDTH_SHARE * np.square(match.width_px)
            + _SPREAD_SHARE * np.maximum(target.spread_px2, spread_px2)
        )
        return np.asarray(np.sqrt(variance_px2))

    def _confidence(self, target: _Target, match: _Match, lead: float, sigma_px: Point) -> float:
        """Return how likely this is the right structure, and measured to within the tolerance."""
        right = _ramp(match.similarity, *_SIMILARITY_RAMP) * _ramp(lead, *_LEAD_RAMP)
        sigma_mm = self._length_mm(target, sigma_px)
        within = 1 - np.exp(-0.5 * (self._parameters.tolerance_mm / max(sigma_mm, 1e-6)) ** 2)
        return right * float(within)


def _ramp(value: float, zero: float, one: float) -> float:
    return float(np.clip((value - zero) / (one - zero), 0.0, 1.0))


def _lose(target: _Target, geometry: ImageGeometry | None) -> Estimate:
    target.status = Status.LOST
    target.uv = target.home_uv
    target.consistent_frames = 0
    return to_estimate(target.landmark, geometry, Status.LOST, tuple(target.uv), (np.inf, np.inf), 0.0)

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

A landmark that is lost is sought in a wider area with the reference patch alone, and is UNCERTAIN
until a later frame confirms it.
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
from lmtrack_ros.trackers.measurement import to_estimate, to_set
from lmtrack_ros.trackers.patches import (
    Extent,
    Image,
    Window,
    as_float_image,
    pyramid,
    similarity,
    standardised,
)
from lmtrack_ros.trackers.subpixel import refine_peak

Point: TypeAlias = NDArray[np.float64]

_SEARCH_HALF_PX = 12
"""Greatest half-width of the patch at the resolution of the search."""
_LEAST_PATCH_PX = 5
"""Least width and height of a patch that the image border cuts off."""
_NO_GEOMETRY_SPACING_MM = (1.0, 1.0)
"""Without geometry one pixel counts as one millimetre of the parameters."""
_SCALE_TOLERANCE = 0.01
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
        25.0, "How far from its last position a lost landmark is sought, mm.", minimum=0.5, maximum=200.0
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
        3, "Consistent frames before a landmark found again is TRACKED.", minimum=1, maximum=100
    )
    marking_error_mm: float = parameter(
        0.15, "Standard deviation that no evidence can reduce, mm: what marking is uncertain by.", minimum=0.0
    )
    tolerance_mm: float = parameter(
        3.0, "Error that the confidence allows for, mm.", minimum=0.1, maximum=100.0
    )
    tracked_confidence: float = parameter(
        0.5, "Least confidence of a TRACKED estimate.", minimum=0.0, maximum=1.0
    )


@dataclass(frozen=True, eq=False)
class Evidence:
    """What speaks for and against a position.

    Attributes:
        similarity: height of the peak at full resolution, mean of both templates.
        lead: by how much the peak of the search beats the next one elsewhere.
        width_px: (2,) how far along each image axis a perfect match would fall to that height.
        disagreement_px: (2,) between the peaks of the reference and of the recent patch.
        round_trip_px: (2,) between where the way back ends and where the landmark was.
    """

    similarity: float
    lead: float
    width_px: Point
    disagreement_px: Point
    round_trip_px: Point


@dataclass
class _Target:
    """One landmark's templates, by pyramid level, and where it was.

    ``spread_px2`` is the running mean square of disagreement and round trip; ``consistent_frames``
    counts those since the landmark was last lost or jumped.
    """

    landmark: Landmark
    extents: dict[int, Extent]
    reference: dict[int, Image]
    recent: dict[int, Image]
    uv: Point
    first_uv: Point
    spread_px2: Point = field(default_factory=lambda: np.zeros(2))
    consistent_frames: int = 0
    status: Status = Status.TRACKED


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
        self._shape: tuple[int, ...] = ()
        self._spacing_mm: Point = np.array(_NO_GEOMETRY_SPACING_MM)
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
                is repeated, has not two coordinates or lies outside the image.
        """
        image = as_float_image(frame.image) if frame.image.ndim == 2 else None
        if image is None:
            raise UserError(
                f"cannot mark landmarks on a frame of shape {frame.image.shape} without structure"
            )
        _check(landmarks, image.shape)
        self._shape = image.shape
        self._spacing_mm = _spacing_mm(frame.geometry)
        self._previous = image
        levels = pyramid(image, self._search_level + 1)
        self._targets = [self._new_target(landmark, levels) for landmark in landmarks]

    def update(self, frame: Frame) -> LandmarkSet:
        """Find every landmark in the next frame.

        Args:
            frame: (H, W) image of the size of the first; on any other, and where the pixel spacing
                changed, every landmark is LOST.
        """
        same = frame.image.shape == self._shape and np.allclose(
            _spacing_mm(frame.geometry), self._spacing_mm, rtol=_SCALE_TOLERANCE
        )
        image = as_float_image(frame.image) if same else None
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
        return _Target(
            landmark,
            extents,
            patches,
            dict(patches),
            uv,
            uv,
            consistent_frames=self._parameters.confirm_frames,
        )

    def _follow(self, target: _Target, levels: Sequence[Image], geometry: ImageGeometry | None) -> Estimate:
        candidate, lead = self._search(target, levels)
        uv, height, width_px, disagreement_px = self._refine(target, levels[0], candidate)
        if height < self._parameters.lost_similarity:
            return _lose(target, geometry)
        round_trip_px, consistent = self._round_trip_px(target, levels[0], uv)
        evidence = Evidence(height, lead, width_px, disagreement_px, round_trip_px)
        target.consistent_frames = target.consistent_frames + 1 if consistent else 0
        sigma_px = self._sigma_px(target, evidence)
        confidence = self._confidence(target, evidence, sigma_px)
        target.uv = uv
        if (
            confidence < self._parameters.tracked_confidence
            or target.consistent_frames < self._parameters.confirm_frames
        ):
            target.status = Status.UNCERTAIN
        else:
            target.status = Status.TRACKED
            if (disagreement_px * self._spacing_mm).max() <= self._parameters.adaptation_limit_mm:
                self._adapt(target, levels)
        return to_estimate(target.landmark, geometry, target.status, tuple(uv), tuple(sigma_px), confidence)

    def _search(self, target: _Target, levels: Sequence[Image]) -> tuple[Point, float]:
        """Return the most likely position, px at full resolution, and its lead over the next one."""
        p, level = self._parameters, self._search_level
        lost = target.status is Status.LOST
        radius_mm = p.reacquire_radius_mm if lost else p.search_radius_mm
        pitch_mm = self._spacing_mm * 2**level
        radius_px = max(3, round(radius_mm / float(pitch_mm.min())))
        window = Window.around(levels[level].shape, target.uv / 2**level, radius_px)
        scores: NDArray[np.floating] = self._similarity(target, levels[level], level, window, not lost)
        scores = (2 * scores + self._context(target, levels[level + 1], window)) / 3
        x, y = window.axes()
        if not lost:
            away_x, away_y = (x - target.uv[0] / 2**level), (y - target.uv[1] / 2**level)
            away_mm2 = np.square(away_x * pitch_mm[0]) + np.square(away_y * pitch_mm[1])
            scores = scores - p.nearness * away_mm2 / p.search_radius_mm**2
        scores = scores - self._hold(target, 2**level, window)
        row, column = np.unravel_index(int(np.argmax(scores)), scores.shape)
        height = float(scores[row, column])
        rivals = np.array(scores)
        apart = p.patch_half_width_px // 2**level // 2
        rivals[max(0, row - apart) : row + apart + 1, max(0, column - apart) : column + apart + 1] = -1
        return (window.origin + np.array([column, row])) * 2**level, height - max(0.0, float(rivals.max()))

    def _refine(self, target: _Target, image: Image, uv: Point) -> tuple[Point, float, Point, Point]:
        """Measure the position near ``uv`` at full resolution.

        Returns:
            the position, px; the height of its peak; its width (2,) and how far the templates
            disagree (2,), px along each image axis.
        """
        reach_px = 2**self._search_level + 1
        for _ in range(_REFINEMENTS):
            window = Window.around(image.shape, uv, reach_px + 1)
            hold = self._hold(target, 1, window)
            reference = similarity(image, target.reference[0], target.extents[0], window) - hold
            recent = similarity(image, target.recent[0], target.extents[0], window) - hold
            both = (reference + recent) / 2
            uv, curvature, height = _peak(both, window)
            if window.holds_inside(uv):
                break
        disagreement_px = np.abs(_peak(reference, window)[0] - _peak(recent, window)[0])
        width_px = np.sqrt((1 - height) / np.maximum(curvature, _LEAST_CURVATURE))
        return uv, height, width_px, disagreement_px

    def _round_trip_px(self, target: _Target, image: Image, uv: Point) -> tuple[Point, bool]:
        """Follow the patch found now back to the previous frame.

        Returns:
            (2,) how far from the last position that ends, px along each image axis, as far as the
            search reaches where there is no last position; and whether it is within the tolerance.
        """
        p = self._parameters
        if self._previous is None or target.status is Status.LOST:
            return p.reacquire_radius_mm / self._spacing_mm, False
        # wide enough to find that what is seen at a wrong place now was there before
        reach_px = math.ceil(float(np.abs(uv - target.uv).max())) + _ROUND_TRIP_MARGIN_PX
        window = Window.around(self._previous.shape, target.uv, reach_px)
        patch = target.extents[0].cut(image, uv)
        scores = similarity(self._previous, patch, target.extents[0], window)
        back, _, _ = _peak(scores - self._hold(target, 1, window), window)
        round_trip_px = np.abs(back - target.uv)
        length_mm = float(np.linalg.norm((round_trip_px * self._spacing_mm)[np.array(target.landmark.axes)]))
        return round_trip_px, length_mm <= p.tolerance_mm

    def _adapt(self, target: _Target, levels: Sequence[Image]) -> None:
        share = self._parameters.adaptation
        for level in {0, self._search_level}:
            now = standardised(target.extents[level].cut(levels[level], target.uv / 2**level))
            before = standardised(target.recent[level])
            target.recent[level] = cv2.addWeighted(before, 1 - share, now, share, 0)

    def _similarity(
        self, target: _Target, image: Image, level: int, window: Window, use_recent: bool
    ) -> Image:
        scores = similarity(image, target.reference[level], target.extents[level], window)
        if use_recent:
            scores = (scores + similarity(image, target.recent[level], target.extents[level], window)) / 2
        return scores

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
        penalty = np.zeros((1, 1))
        for axis, positions in enumerate(window.axes()):
            if not target.landmark.axes[axis]:
                away_mm = (positions * scale - target.first_uv[axis]) * self._spacing_mm[axis]
                penalty = penalty + self._parameters.hold_undefined_axis * np.square(away_mm / 10.0)
        return penalty

    def _sigma_px(self, target: _Target, evidence: Evidence) -> Point:
        """Return the standard deviation of the position, (2,) px along each image axis."""
        spread_px2 = np.square(evidence.disagreement_px) + np.square(evidence.round_trip_px)
        if target.consistent_frames:
            target.spread_px2 = (1 - _SPREAD_MEMORY) * target.spread_px2 + _SPREAD_MEMORY * spread_px2
        variance_px2 = (
            np.square(self._parameters.marking_error_mm / self._spacing_mm)
            + _WIDTH_SHARE * np.square(evidence.width_px)
            + _SPREAD_SHARE * np.maximum(target.spread_px2, spread_px2)
        )
        return np.asarray(np.sqrt(variance_px2))

    def _confidence(self, target: _Target, evidence: Evidence, sigma_px: Point) -> float:
        """Return how likely this is the right structure, and measured to within the tolerance."""
        right = _ramp(evidence.similarity, *_SIMILARITY_RAMP) * _ramp(evidence.lead, *_LEAD_RAMP)
        sigma_mm = (sigma_px * self._spacing_mm)[np.array(target.landmark.axes)]
        variance = float(np.square(sigma_mm).sum())
        return right * float(1 - np.exp(-(self._parameters.tolerance_mm**2) / (2 * variance + 1e-12)))


def _peak(scores: NDArray[np.floating], window: Window) -> tuple[Point, Point, float]:
    """Return the (x, y) of the greatest score, its curvature along x and y, and its height."""
    row, column = (int(i) for i in np.unravel_index(int(np.argmax(scores)), scores.shape))
    peak = refine_peak(scores, row, column)
    return (
        window.origin + np.array([peak.column, peak.row]),
        np.array([peak.column_curvature, peak.row_curvature]),
        float(scores[row, column]),
    )


def _ramp(value: float, zero: float, one: float) -> float:
    return float(np.clip((value - zero) / (one - zero), 0.0, 1.0))


def _spacing_mm(geometry: ImageGeometry | None) -> Point:
    return np.array(geometry.plane_spacing_mm[:2] if geometry else _NO_GEOMETRY_SPACING_MM)


def _lose(target: _Target, geometry: ImageGeometry | None) -> Estimate:
    target.status = Status.LOST
    target.consistent_frames = 0
    return to_estimate(target.landmark, geometry, Status.LOST, tuple(target.uv), (np.inf, np.inf), 0.0)


def _check(landmarks: Sequence[Landmark], shape: tuple[int, ...]) -> None:
    if not landmarks:
        raise UserError("the correlation tracker needs at least one landmark")
    ids = [landmark.id for landmark in landmarks]
    for landmark in landmarks:
        if ids.count(landmark.id) > 1:
            raise UserError(f"landmark '{landmark.id}' is given more than once")
        if len(landmark.uv_px) != 2:
            raise UserError(f"landmark '{landmark.id}' has {len(landmark.uv_px)} coordinates, not 2")
        column, row = landmark.uv_px
        if not (0 <= column <= shape[1] - 1 and 0 <= row <= shape[0] - 1):
            raise UserError(
                f"landmark '{landmark.id}' at ({column:g}, {row:g}) lies outside the image of "
                f"{shape[1]} × {shape[0]} pixels"
            )

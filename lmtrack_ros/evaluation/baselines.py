"""The usual trackers, to measure others against.

All take the same patch (half-width 24 px in ultrasound and X-ray, 11 px in MR) and, where they
search, ±10 mm. They claim no radius: OpenCV's two report a loss, the others none.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import Modality
from lmtrack_ros.core.records import Estimate, Frame, Landmark, LandmarkSet, Status
from lmtrack_ros.evaluation.tracker_settings import tracker_parameters
from lmtrack_ros.trackers import Tracker, create_tracker
from lmtrack_ros.trackers.measurement import to_set
from lmtrack_ros.trackers.patches import Extent, Image, Window, as_float_image, similarity
from lmtrack_ros.trackers.subpixel import refine_peak

SEARCH_RADIUS_MM = 10.0
CORRELATION = "correlation"

Point = NDArray[np.float64]
Follower = Callable[[NDArray[np.uint8]], "Point | None"]
"""Takes the next frame, 8 bit; returns the new (column, row), or None for a loss."""


def patch_half_width_px(modality: Modality | None) -> int:
    """Return the half-width of the patch for a modality."""
    return 11 if modality is Modality.MR else 24


class Baseline:
    """One of the usual trackers, by name: one independent follower per landmark."""

    name: ClassVar[str] = "baseline"
    needs_initialization: ClassVar[bool] = True

    def __init__(self, method: str) -> None:
        self._new_follower = _METHODS[method]
        self._method = method
        self._landmarks: tuple[Landmark, ...] = ()
        self._followers: list[Follower] = []
        self._uv: list[Point] = []
        self._grey_range = (0.0, 1.0)

    @property
    def landmark_ids(self) -> tuple[str, ...]:
        """Names of the landmarks followed now."""
        return tuple(landmark.id for landmark in self._landmarks)

    def initialize(self, frame: Frame, landmarks: Sequence[Landmark]) -> None:
        """Start a follower on each landmark."""
        low, high = np.percentile(frame.image, [0.0, 99.8])
        self._grey_range = (float(low), float(max(high, low + 1)))
        half_px = patch_half_width_px(frame.geometry.modality if frame.geometry else None)
        spacing_mm = min(frame.geometry.plane_spacing_mm[:2]) if frame.geometry else 1.0
        image = self._eight_bit(frame)
        self._landmarks = tuple(landmarks)
        self._uv = [np.array(landmark.uv_px) for landmark in landmarks]
        search_px = max(3, round(SEARCH_RADIUS_MM / spacing_mm))
        self._followers = [self._new_follower(image, uv, half_px, search_px) for uv in self._uv]

    def update(self, frame: Frame) -> LandmarkSet:
        """Move every follower on by one frame."""
        image = self._eight_bit(frame)
        estimates = []
        for i, (landmark, follower) in enumerate(zip(self._landmarks, self._followers, strict=True)):
            found = follower(image)
            status = Status.LOST if found is None else Status.TRACKED
            self._uv[i] = self._uv[i] if found is None else found
            column, row = self._uv[i]
            estimates.append(Estimate(landmark.id, status, (float(column), float(row))))
        return to_set(frame, self._method, estimates)

    def _eight_bit(self, frame: Frame) -> NDArray[np.uint8]:
        low, high = self._grey_range
        grey = (frame.image.astype(np.float32) - low) * (255 / (high - low))
        return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def _stand_still(image: NDArray[np.uint8], uv: Point, half_px: int, search_px: int) -> Follower:
    return lambda _: uv


def _first_template(image: NDArray[np.uint8], uv: Point, half_px: int, search_px: int) -> Follower:
    first = as_float_image(image)
    if first is None:
        raise UserError("the first frame is empty")
    extent = Extent.within(image.shape, uv, half_px)
    template = extent.cut(first, uv)
    here = uv

    def follow(following: NDArray[np.uint8]) -> Point | None:
        nonlocal here
        now: Image | None = as_float_image(following)
        if now is None:
            return None
        window = Window.around(now.shape, here, search_px)
        scores = similarity(now, template, extent, window)
        row, column = (int(i) for i in np.unravel_index(int(np.argmax(scores)), scores.shape))
        peak = refine_peak(scores, row, column)
        here = window.origin + np.array([peak.column, peak.row])
        return here

    return follow


def _lucas_kanade(image: NDArray[np.uint8], uv: Point, half_px: int, search_px: int) -> Follower:
    before, here = image, uv
    size = (2 * half_px + 1, 2 * half_px + 1)

    def follow(now: NDArray[np.uint8]) -> Point | None:
        nonlocal before, here
        points = here.astype(np.float32).reshape(1, 1, 2)
        moved, _, _ = cv2.calcOpticalFlowPyrLK(before, now, points, None, winSize=size, maxLevel=3)  # type: ignore[call-overload]
        before, here = now, moved.reshape(2).astype(float)
        return here

    return follow


def _opencv(name: str) -> Callable[[NDArray[np.uint8], Point, int, int], Follower]:
    def start(image: NDArray[np.uint8], uv: Point, half_px: int, search_px: int) -> Follower:
        make: Any = getattr(cv2, name, None)
        if make is None:
            raise UserError(f"this OpenCV has no {name}: install opencv-contrib-python-headless")
        tracker = make.create()
        corner = np.rint(uv).astype(int) - half_px
        tracker.init(_colour(image), (int(corner[0]), int(corner[1]), 2 * half_px + 1, 2 * half_px + 1))
        # the box is of whole pixels: what rounding took off the landmark is given back
        offset = uv - (corner + half_px)

        def follow(now: NDArray[np.uint8]) -> Point | None:
            found, (left, top, width, height) = tracker.update(_colour(now))
            return np.array([left + (width - 1) / 2, top + (height - 1) / 2]) + offset if found else None

        return follow

    return start


def _colour(image: NDArray[np.uint8]) -> Any:
    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)


_METHODS: dict[str, Callable[[NDArray[np.uint8], Point, int, int], Follower]] = {
    "stand still": _stand_still,
    "NCC, first template": _first_template,
    "Lucas-Kanade": _lucas_kanade,
    "OpenCV CSRT": _opencv("TrackerCSRT"),
    "OpenCV KCF": _opencv("TrackerKCF"),
}

BASELINES = tuple(_METHODS)
"""Names of the usual trackers."""


def create_baseline(method: str) -> Tracker:
    """Return a new tracker of one of the usual methods."""
    return Baseline(method)


def usual_trackers(modality: Modality | None) -> dict[str, Callable[[], Tracker]]:
    """Return what makes the trackers that need no training, by name: our own, then the usual ones.

    Raises:
        UserError: the configuration of the modality is not valid.
    """
    parameters = tracker_parameters(CORRELATION, modality)
    return {
        CORRELATION: partial(create_tracker, CORRELATION, parameters),
        **{method: partial(create_baseline, method) for method in BASELINES},
    }

"""The template matching network as a tracker: within-subject tracking, Frueh et al. 2022, section II.C.

A patch round each landmark in the frame of marking is what is sought in every later frame. The network sees
the region round where the landmark was marked, which does not move with it, or the whole image, as its
weights were trained. Nothing but the frame of marking is remembered.

Where the network's position can be refined (:mod:`lmtrack_ros.trackers.refinement`), the refined one is
given, with its own uncertainty; else the network's. Both are calibrated by ``lmtrack calibrate`` on
sequences that the network was not trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import ImageGeometry
from lmtrack_ros.core.records import Estimate, Frame, Landmark, LandmarkSet, Status
from lmtrack_ros.models.calibration import Calibration, read_calibration
from lmtrack_ros.models.template_matching.data import scaled
from lmtrack_ros.models.template_matching.matcher import Matcher, weighted
from lmtrack_ros.models.template_matching.parameters import TemplateMatchingParameters
from lmtrack_ros.models.template_matching.views import View
from lmtrack_ros.trackers.marking import check_landmarks
from lmtrack_ros.trackers.measurement import to_estimate, to_set
from lmtrack_ros.trackers.patches import Image, as_float_image
from lmtrack_ros.trackers.refinement import Refined, Refiner

_SCALE_TOLERANCE = 0.01
NETWORK, REFINED = "network", "refined"
"""Kinds of estimate, each with a calibration of its own."""


@dataclass(frozen=True, eq=False)
class Measurement:
    """What was found of a landmark before it is judged.

    Attributes:
        kind: ``network`` or ``refined``.
        uv_px: (2,) column and row in the image.
        sigma_px: (2,) uncalibrated standard deviation of either.
        network_px: (2,) where the network alone finds it.
        refined: what refinement measured, None without it.
    """

    kind: str
    uv_px: NDArray[np.float64]
    sigma_px: NDArray[np.float64]
    network_px: NDArray[np.float64]
    refined: Refined | None


class TemplateMatchingTracker:
    """Follows landmarks with the template matching network; see the module's text.

    Raises:
        UserError: there are no such weights, or they cannot be read.
    """

    name: ClassVar[str] = "template_matching"
    needs_initialization: ClassVar[bool] = True
    Parameters = TemplateMatchingParameters

    def __init__(self, parameters: TemplateMatchingParameters | None = None) -> None:
        self._parameters = p = parameters or TemplateMatchingParameters()
        self._matcher = Matcher(p.weights, p.inference, batch=p.batch)
        self._calibration: Calibration = read_calibration(self._matcher.description)
        self._landmarks: tuple[Landmark, ...] = ()
        self._views: list[View] = []
        self._refiner: Refiner | None = None
        self._shape: tuple[int, ...] = ()
        self._spacing_mm: NDArray[np.float64] = np.ones(2)

    @property
    def landmark_ids(self) -> tuple[str, ...]:
        """Names of the landmarks followed now."""
        return tuple(landmark.id for landmark in self._landmarks)

    def initialize(self, frame: Frame, landmarks: Sequence[Landmark]) -> None:
        """Take the patches to look for.

        Args:
            frame: (H, W) image on which the landmarks were marked.
            landmarks: at least one.

        Raises:
            UserError: the image is not 2-D, is empty of structure or has no geometry though the network sees
                millimetres, or a landmark is not one; the tracker then goes on as before.
        """
        image = as_float_image(frame.image) if frame.image.ndim == 2 else None
        if image is None:
            raise UserError(
                f"cannot mark landmarks on a frame of shape {frame.image.shape} without structure"
            )
        check_landmarks(landmarks, image.shape, self.name)
        views = [self._view(frame, landmark) for landmark in landmarks]
        grey = scaled(frame.image)
        places_px = np.array([v.to_view(np.array(m.uv_px)) for v, m in zip(views, landmarks, strict=True)])
        encoded = self._matcher.encode([v.of(grey) for v in views], places_px)
        # nothing is refused from here on
        self._encoded = encoded[:, None]
        self._views = views
        self._landmarks = tuple(landmarks)
        self._shape = image.shape
        self._spacing_mm = _spacing_mm(frame.geometry)
        if self._parameters.refinement.enabled:
            self._refiner = Refiner(self._parameters.refinement, image, landmarks)

    def update(self, frame: Frame) -> LandmarkSet:
        """Find every landmark in the next frame.

        Args:
            frame: (H, W) image of the size of the first; on any other, and where the pixel spacing
                changed, every landmark is LOST.
        """
        measured = self.measure(frame)
        estimates = [
            Estimate(landmark.id) if m is None else self._judged(landmark, m, frame.geometry)
            for landmark, m in zip(self._landmarks, measured, strict=True)
        ]
        return to_set(frame, self.name, estimates)

    def measure(self, frame: Frame) -> list[Measurement | None]:
        """Return what is found of each landmark, not yet judged; None where nothing can be.

        Args:
            frame: (H, W).
        """
        same = frame.image.shape == self._shape and np.allclose(
            _spacing_mm(frame.geometry), self._spacing_mm, rtol=_SCALE_TOLERANCE
        )
        image = as_float_image(frame.image) if same else None
        if image is None:
            return [None] * len(self._landmarks)
        grey = scaled(frame.image)
        found = weighted(self._matcher.find([view.of(grey) for view in self._views], self._encoded))
        return [self._measured(index, image, place) for index, place in enumerate(found)]

    def _measured(self, index: int, image: Image, place: NDArray[np.float64]) -> Measurement | None:
        if not np.isfinite(place).all():
            return None
        view, landmark = self._views[index], self._landmarks[index]
        uv_px, sigma_px = view.to_image(place[:2]), place[2:] * view.scale
        if self._refiner is None:
            return Measurement(NETWORK, uv_px, sigma_px, uv_px, None)
        axes = np.array(landmark.axes)
        # along an axis that is not defined a landmark is where it was marked
        middle = np.where(axes, uv_px, landmark.uv_px)
        radius = np.where(axes, self._calibration.radius(NETWORK, sigma_px), 0.0)
        refined = self._refiner.refine(image, index, middle, radius)
        if not refined.accepted:
            return Measurement(NETWORK, uv_px, sigma_px, uv_px, refined)
        spread_px = np.sqrt(np.square(refined.width_px) + np.square(refined.round_trip_px))
        return Measurement(REFINED, refined.uv_px, spread_px, uv_px, refined)

    def _judged(self, landmark: Landmark, m: Measurement, geometry: ImageGeometry | None) -> Estimate:
        p = self._parameters
        marking_px = p.marking_error_mm / self._spacing_mm
        sigma_px = np.hypot(self._calibration.sigma(m.kind, m.sigma_px), marking_px)
        sigma_mm = float(np.linalg.norm((sigma_px * self._spacing_mm)[np.array(landmark.axes)]))
        confidence = float(1 - np.exp(-0.5 * (p.tolerance_mm / max(sigma_mm, 1e-6)) ** 2))
        sure = confidence >= p.tracked_confidence
        status = Status.TRACKED if sure else Status.UNCERTAIN
        return to_estimate(landmark, geometry, status, m.uv_px.tolist(), sigma_px.tolist(), confidence)

    def _view(self, frame: Frame, landmark: Landmark) -> View:
        c = self._matcher.configuration
        if not c.view_mm:
            return View.whole(frame.image.shape, c.image_px)
        if frame.geometry is None:
            raise UserError("the network sees a region in millimetres: the pixel spacing must be known")
        side_px = c.view_mm / frame.geometry.plane_spacing_mm[0]
        return View.around(np.array(landmark.uv_px), side_px, c.image_px)


def _spacing_mm(geometry: ImageGeometry | None) -> NDArray[np.float64]:
    return np.array(geometry.plane_spacing_mm[:2] if geometry else (1.0, 1.0))

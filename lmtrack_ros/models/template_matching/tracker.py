"""The template matching network as a tracker: within-subject tracking, Frueh et al. 2022, section II.C.

A patch round each landmark in the frame of marking is what is sought in every later frame. The network sees
the region round where the landmark was marked, which does not move with it, or the whole image, as its
weights were trained. Of past frames, it remembers only that of marking. What becomes of its positions is said
in :mod:`lmtrack_ros.models.following`.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import Frame, Landmark, LandmarkSet
from lmtrack_ros.models.calibration import Calibration, read_calibration
from lmtrack_ros.models.following import CALIBRATED_IN_TURN, Follower
from lmtrack_ros.models.template_matching.data import scaled
from lmtrack_ros.models.template_matching.matcher import Matcher, weighted
from lmtrack_ros.models.template_matching.parameters import TemplateMatchingParameters
from lmtrack_ros.models.template_matching.views import View
from lmtrack_ros.models.tracking import Measurement, judged
from lmtrack_ros.trackers.marking import Scene, marked_on
from lmtrack_ros.trackers.measurement import to_set
from lmtrack_ros.trackers.refinement import Refiner


class TemplateMatchingTracker:
    """Follows landmarks with the template matching network; see the module's text.

    Raises:
        UserError: there are no such weights, or they cannot be read.
    """

    name: ClassVar[str] = "template_matching"
    needs_initialization: ClassVar[bool] = True
    calibrated_in_turn: ClassVar[tuple[tuple[str, ...], ...]] = CALIBRATED_IN_TURN
    Parameters = TemplateMatchingParameters

    def __init__(self, parameters: TemplateMatchingParameters | None = None) -> None:
        self._parameters = p = parameters or TemplateMatchingParameters()
        self._matcher = Matcher(p.weights, p.inference, batch=p.batch)
        self.calibration: Calibration = read_calibration(self._matcher.description)
        self._landmarks: tuple[Landmark, ...] = ()
        self._views: list[View] = []
        self._followers: list[Follower] = []
        self._scene = Scene()

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
        scene, image = marked_on(frame, landmarks, self.name)
        views = [self._view(frame, landmark) for landmark in landmarks]
        grey = scaled(frame.image)
        places_px = np.array([v.to_view(np.array(m.uv_px)) for v, m in zip(views, landmarks, strict=True)])
        encoded = self._matcher.encode([v.of(grey) for v in views], places_px)
        # nothing is refused from here on
        self._encoded = encoded[:, None]
        self._views = views
        self._landmarks = tuple(landmarks)
        self._scene = scene
        p = self._parameters
        refiner = Refiner(p.refinement, image, landmarks) if p.refinement.enabled else None
        self._followers = [
            Follower(m, i, refiner, scene.spacing_mm, sure_mm=p.sure_mm, step_mm=p.step_mm)
            for i, m in enumerate(landmarks)
        ]

    def update(self, frame: Frame) -> LandmarkSet:
        """Find every landmark in the next frame.

        Args:
            frame: (H, W) image of the size of the first; on any other, and where the pixel spacing
                changed, every landmark is LOST.
        """
        p = self._parameters
        estimates = [
            judged(landmark, measured, frame.geometry, self.calibration, p.trust)
            for landmark, measured in zip(self._landmarks, self.measure(frame), strict=True)
        ]
        return to_set(frame, self.name, estimates)

    def measure(self, frame: Frame) -> list[tuple[Measurement, ...]]:
        """Return how each landmark is found: by the network, then refined; nothing where nothing can be.

        Args:
            frame: (H, W).
        """
        image = self._scene.image(frame)
        if image is None:
            return [()] * len(self._landmarks)
        grey = scaled(frame.image)
        found = weighted(self._matcher.find([view.of(grey) for view in self._views], self._encoded))
        return [
            follower.measured(image, view.to_image(place[:2]), place[2:] * view.scale, self.calibration)
            for follower, view, place in zip(self._followers, self._views, found, strict=True)
        ]

    def _view(self, frame: Frame, landmark: Landmark) -> View:
        c = self._matcher.configuration
        if not c.view_mm:
            return View.whole(frame.image.shape, c.image_px)
        if frame.geometry is None:
            raise UserError("the network sees a region in millimetres: the pixel spacing must be known")
        side_px = c.view_mm / frame.geometry.plane_spacing_mm[0]
        return View.around(np.array(landmark.uv_px), side_px, c.image_px)

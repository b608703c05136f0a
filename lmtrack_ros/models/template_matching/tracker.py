"""The template matching network as a tracker: within-subject tracking, Frueh et al. 2022, section II.C.

A patch round each landmark in the frame of marking is what is sought in every later frame. The network sees
the region round where the landmark was marked, which does not move with it, or the whole image, as its
weights were trained. Of past frames, only the frame of marking, the last place and how sure the network was
are remembered.

Where the network's position can be refined (:mod:`lmtrack_ros.trackers.refinement`), the refined one is
given, with its own uncertainty; without refinement the network's. Both are calibrated by ``lmtrack
calibrate`` on sequences that the network was not trained on.
"""

from collections import deque
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import Frame, Landmark, LandmarkSet
from lmtrack_ros.models.calibration import Calibration, read_calibration
from lmtrack_ros.models.template_matching.data import scaled
from lmtrack_ros.models.template_matching.matcher import Matcher, weighted
from lmtrack_ros.models.template_matching.parameters import TemplateMatchingParameters
from lmtrack_ros.models.template_matching.views import View
from lmtrack_ros.models.tracking import Measurement, judged
from lmtrack_ros.trackers.marking import Scene, marked_on
from lmtrack_ros.trackers.measurement import to_set
from lmtrack_ros.trackers.patches import Image
from lmtrack_ros.trackers.refinement import Point, Refined, Refiner

NETWORK, REFINED, DOUBTED = "network", "refined", "doubted"
CONTINUED, UNVERIFIED = "continued", "unverified"
"""Kinds of measurement: the network's own; refined near it; the same while the network is not sure, or after
a leap; refined near the last place, where the network's led to nothing or to a leap that is hardly more like
it; and what fits best near the last place, where nothing is to be believed."""
_REMEMBERED = 5
"""Over so many frames the network must be sure: in noise it is now and then, by chance."""


class TemplateMatchingTracker:
    """Follows landmarks with the template matching network; see the module's text.

    Raises:
        UserError: there are no such weights, or they cannot be read.
    """

    name: ClassVar[str] = "template_matching"
    needs_initialization: ClassVar[bool] = True
    calibrated_in_turn: ClassVar[tuple[tuple[str, ...], ...]] = (
        (NETWORK,),
        (REFINED, DOUBTED, CONTINUED, UNVERIFIED),
    )
    Parameters = TemplateMatchingParameters

    def __init__(self, parameters: TemplateMatchingParameters | None = None) -> None:
        self._parameters = p = parameters or TemplateMatchingParameters()
        self._matcher = Matcher(p.weights, p.inference, batch=p.batch)
        self.calibration: Calibration = read_calibration(self._matcher.description)
        self._landmarks: tuple[Landmark, ...] = ()
        self._views: list[View] = []
        self._refiner: Refiner | None = None
        self._last_px: list[NDArray[np.float64]] = []
        self._radii_mm: list[deque[float]] = []
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
        self._radii_mm = [deque([0.0], _REMEMBERED) for _ in landmarks]
        self._last_px = [np.array(landmark.uv_px) for landmark in landmarks]
        if self._parameters.refinement.enabled:
            self._refiner = Refiner(self._parameters.refinement, image, landmarks)

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
        return [self._measured(index, image, place) for index, place in enumerate(found)]

    def _measured(self, index: int, image: Image, place: NDArray[np.float64]) -> tuple[Measurement, ...]:
        if not np.isfinite(place).all():
            return ()
        view, landmark = self._views[index], self._landmarks[index]
        network = Measurement(NETWORK, view.to_image(place[:2]), place[2:] * view.scale)
        refiner = self._refiner
        if refiner is None:
            return (network,)
        axes, step_mm = np.array(landmark.axes), self._parameters.step_mm
        last_px, spacing_mm = self._last_px[index], self._scene.spacing_mm
        radius_px = self.calibration.radius(NETWORK, network.sigma_px, int(axes.sum()))
        self._radii_mm[index].append(float(np.max((radius_px * spacing_mm)[axes])))

        def refine(middle_px: Point, reach_px: Point) -> Refined:
            # along an axis that is not defined a landmark is where it was marked
            at_px, within_px = np.where(axes, middle_px, landmark.uv_px), np.where(axes, reach_px, 0.0)
            return refiner.refine(image, index, at_px, within_px)

        refined = refine(network.uv_px, radius_px)
        leaps = np.linalg.norm(((refined.uv_px - last_px) * spacing_mm)[axes]) > step_mm
        sure = np.median(self._radii_mm[index]) <= self._parameters.sure_mm
        kind = REFINED if sure and not leaps else DOUBTED
        if leaps or not refined.accepted:
            continued = refine(last_px, step_mm / spacing_mm)
            likelier = continued.similarity + self._parameters.refinement.nearness > refined.similarity
            if likelier or not refined.accepted:
                refined, kind = continued, CONTINUED
        if refined.accepted:
            self._last_px[index] = refined.uv_px
        else:
            kind = UNVERIFIED
        return network, Measurement(kind, refined.uv_px, refined.sigma_px)

    def _view(self, frame: Frame, landmark: Landmark) -> View:
        c = self._matcher.configuration
        if not c.view_mm:
            return View.whole(frame.image.shape, c.image_px)
        if frame.geometry is None:
            raise UserError("the network sees a region in millimetres: the pixel spacing must be known")
        side_px = c.view_mm / frame.geometry.plane_spacing_mm[0]
        return View.around(np.array(landmark.uv_px), side_px, c.image_px)

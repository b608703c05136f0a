"""The template matching network as a tracker: within-subject tracking, Frueh et al. 2022, section II.C.

A patch round each landmark in the frame of marking is what is sought in every later frame. The network sees
the region round where the landmark was marked, which does not move with it, or the whole image, as its
weights were trained. Of past frames, it remembers only that of marking.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import Frame, Landmark
from lmtrack_ros.models.model_tracker import Grey, ModelTracker
from lmtrack_ros.models.template_matching.matcher import Matcher, weighted
from lmtrack_ros.models.template_matching.parameters import TemplateMatchingParameters
from lmtrack_ros.models.views import View
from lmtrack_ros.trackers.refinement import Point


class TemplateMatchingTracker(ModelTracker):
    """Follows landmarks with the template matching network; see the module's text.

    Raises:
        UserError: there are no such weights, or they cannot be read.
    """

    name: ClassVar[str] = "template_matching"
    Parameters = TemplateMatchingParameters

    def __init__(self, parameters: TemplateMatchingParameters | None = None) -> None:
        p = parameters or TemplateMatchingParameters()
        self._sure_mm = p.sure_mm
        self._matcher = Matcher(p.weights, p.inference, batch=p.batch)
        super().__init__(p, self._matcher.description)
        self._views: list[View] = []

    def mark(self, frame: Frame, grey: Grey, landmarks: Sequence[Landmark]) -> None:
        """Take the patches to look for."""
        views = [self._view(frame, landmark) for landmark in landmarks]
        places_px = np.array([v.to_view(np.array(m.uv_px)) for v, m in zip(views, landmarks, strict=True)])
        self._encoded = self._matcher.encode([v.of(grey) for v in views], places_px)[:, None]
        self._views = views

    def find(self, grey: Grey) -> Iterable[tuple[Point, Point]]:
        """Return where the network finds each landmark, all of them in one batch where that is faster."""
        found = weighted(self._matcher.find([view.of(grey) for view in self._views], self._encoded))
        for view, place in zip(self._views, found, strict=True):
            yield view.to_image(place[:2]), place[2:] * view.scale

    def sure_px(self, spacing_mm: NDArray[np.float64]) -> Point:
        """Return the same length along both axes: the network sees millimetres."""
        return self._sure_mm / spacing_mm

    @property
    def runs_by(self) -> str:
        """Backend, device and precision that run the network."""
        return self._matcher.runs_by

    def _view(self, frame: Frame, landmark: Landmark) -> View:
        c = self._matcher.configuration
        if not c.view_mm:
            return View.whole(frame.image.shape, c.image_px)
        if frame.geometry is None:
            raise UserError("the network sees a region in millimetres: the pixel spacing must be known")
        side_px = c.view_mm / frame.geometry.plane_spacing_mm[0]
        return View.around(np.array(landmark.uv_px), side_px, c.image_px)

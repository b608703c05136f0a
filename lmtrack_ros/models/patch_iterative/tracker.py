"""The patch-based iterative network as a tracker: it finds its landmarks in every volume by itself.

The solution of one volume starts the search in the next; where that does not settle, or its starts end not
much nearer to each other than they began, the search begins anew from the mean shape.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from torch import Tensor

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import Frame, Landmark, LandmarkSet
from lmtrack_ros.models.calibration import read_calibration
from lmtrack_ros.models.patch_iterative.finder import Finder, Solution
from lmtrack_ros.models.patch_iterative.parameters import PatchIterativeParameters
from lmtrack_ros.models.tracking import Measurement, judged
from lmtrack_ros.trackers.measurement import to_set

ASTRAY = "astray"
"""Kind of measurement that is never calibrated, hence UNCERTAIN; else each landmark is its own."""


class _Last(NamedTuple):
    """The solution of a volume, and in which volumes it means the same place."""

    b: Tensor
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]


class PatchIterativeTracker:
    """Finds landmarks in volumes; see the module's text.

    Raises:
        UserError: there are no such weights, or they cannot be read.
    """

    name: ClassVar[str] = "patch_iterative"
    needs_initialization: ClassVar[bool] = False
    calibrated_in_turn: tuple[tuple[str, ...], ...] = ((),)
    Parameters = PatchIterativeParameters

    def __init__(self, parameters: PatchIterativeParameters | None = None) -> None:
        self._parameters = parameters or PatchIterativeParameters()
        self._finder = Finder(self._parameters.weights, self._parameters.inference)
        self.calibration = read_calibration(self._finder.description)
        self._known = self._finder.configuration.landmarks
        self.calibrated_in_turn = (self._known,)
        self._wanted = tuple(Landmark(name, (np.nan,) * 3, (True,) * 3) for name in self._known)
        self._last: _Last | None = None

    @property
    def landmark_ids(self) -> tuple[str, ...]:
        """Names of the landmarks: those that were marked, or all that the network finds."""
        return tuple(landmark.id for landmark in self._wanted)

    @property
    def runs_by(self) -> str:
        """Backend, device and precision that run the networks."""
        return self._finder.runs_by

    def initialize(self, frame: Frame, landmarks: Sequence[Landmark]) -> None:
        """Report these landmarks only; where they were marked does not matter.

        Args:
            frame: on which they were marked.
            landmarks: named as the network knows them.

        Raises:
            UserError: the network knows no such landmark, or the marks are not in a volume.
        """
        for landmark in landmarks:
            if len(landmark.axes) != 3:
                raise UserError(f"patch_iterative looks at volumes: '{landmark.id}' needs three coordinates")
            if landmark.id not in self._known:
                raise UserError(f"patch_iterative finds {', '.join(self._known)}, not '{landmark.id}'")
        self._wanted = tuple(landmarks)
        self._last = None

    def update(self, frame: Frame) -> LandmarkSet:
        """Find every landmark in a frame.

        Args:
            frame: (D, H, W) volume with geometry; without, or in an image, every landmark is LOST.
        """
        estimates = [
            judged(landmark, measured, frame.geometry, self.calibration, self._parameters.trust)
            for landmark, measured in zip(self._wanted, self.measure(frame), strict=True)
        ]
        return to_set(frame, self.name, estimates)

    def measure(self, frame: Frame) -> list[tuple[Measurement, ...]]:
        """Return how each landmark is found: in one way, or none."""
        # nothing is remembered of a volume that fails
        last, self._last = self._last, None
        solution = self._solved(frame, last)
        if solution is None:
            return [()] * len(self._wanted)
        settled = self._is_settled(solution)
        if settled:
            self._last = _Last(solution.b, frame.image.shape, _spacing_mm(frame))
        found = zip(solution.uvw_px, solution.spread_px, strict=True)
        measured = {
            name: (Measurement(name if settled else ASTRAY, *one),)
            for name, one in zip(self._known, found, strict=True)
        }
        return [measured[landmark.id] for landmark in self._wanted]

    def _solved(self, frame: Frame, last: _Last | None) -> Solution | None:
        spacing_mm = _spacing_mm(frame)
        if frame.image.ndim != 3 or min(spacing_mm, default=0.0) <= 0:
            return None
        if last is not None and (last.shape, last.spacing_mm) == (frame.image.shape, spacing_mm):
            solution = self._finder.find(frame.image, spacing_mm, last.b)
            if solution is not None and self._is_settled(solution):
                return solution
        return self._finder.find(frame.image, spacing_mm)

    def _is_settled(self, solution: Solution) -> bool:
        p = self._parameters
        return solution.moved_mm <= p.settled_mm and solution.apart <= p.agreed


def _spacing_mm(frame: Frame) -> tuple[float, ...]:
    """Return a frame's spacing; none where it is not known."""
    return () if frame.geometry is None else tuple(frame.geometry.spacing_mm)

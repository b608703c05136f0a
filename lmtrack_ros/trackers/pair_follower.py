"""Pairs of radiographs, registered with the plan: one target in space instead of landmarks in a plane.

A source gives the images of two views by turns, each pair at once or nearly so. The first of a pair is
answered with nothing, the second with where the plan's target lies.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.geometry import ISOCENTER, ImageGeometry
from lmtrack_ros.core.records import NS_PER_MS, Estimate, Frame, Landmark, LandmarkSet, Reason, Status
from lmtrack_ros.registration.parameters import TARGET, PlanParameters
from lmtrack_ros.registration.setup_shift import NoShift, SetupShift, register
from lmtrack_ros.registration.sights import Sight, sights_of
from lmtrack_ros.trackers.follower import Follower
from lmtrack_ros.trackers.frame_check import same_geometry
from lmtrack_ros.trackers.measurement import radius_mm, to_set

_VIEWS = 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _View:
    geometry: ImageGeometry
    follower: Follower


class PairFollower:
    """Finds landmarks in pairs of images, and from both where the plan's target lies.

    Args:
        make_follower: makes what finds landmarks in the images of one view.
        parameters: of plan and registration.

    Raises:
        UserError: the landmarks must be marked for what finds them.
    """

    def __init__(self, make_follower: Callable[[], Follower], parameters: PlanParameters) -> None:
        self._make_follower = make_follower
        self._parameters = parameters
        self._plan = parameters.plan
        self._views: list[_View] = []
        self._any = make_follower()
        if self._any.needs_initialization:
            raise UserError(
                f"registration needs a model that finds landmarks by itself, not {self._any.name}"
            )
        # view, and what was found in its image
        self._first: tuple[int, LandmarkSet] | None = None
        self._said = ""

    @property
    def name(self) -> str:
        """Name of the selected tracker."""
        return self._any.name

    @property
    def needs_initialization(self) -> bool:
        """Whether landmarks must be marked before frames count."""
        return False

    @property
    def landmark_ids(self) -> tuple[str, ...]:
        """The target's name, and those of the landmarks in each image."""
        return (TARGET, *self._any.landmark_ids)

    @property
    def remarks(self) -> Mapping[str, str]:
        """What is to be said of the last pair."""
        return {"registration": self._said}

    def initialize(self, frame: Frame, landmarks: Sequence[Landmark]) -> None:
        """Begin with a new pair; marks are not needed, and none are taken."""
        self._first = None

    def update(self, frame: Frame) -> LandmarkSet | None:
        """Return where the target is, with the landmarks of the frame; None after the first image of a pair.

        Args:
            frame: (H, W) projection of one of two views, by an imager that is fixed to the room. One that
                is faulty, or of a third view, is answered at once.
        """
        view = self._view_of(frame.geometry)
        if view is None:
            self._first = None
            fault = Reason.GEOMETRY_CHANGED if frame.geometry else Reason.GEOMETRY_MISSING
            return self._answer(replace(to_set(frame, self.name, ()), faults=fault), Estimate(TARGET))
        found = self._views[view].follower.update(frame)
        if found.faults:
            self._first = None
            return self._answer(found, Estimate(TARGET))
        first, self._first = self._first, (view, found)
        if first is None or first[0] == view:
            return None
        if found.stamp_ns - first[1].stamp_ns > self._parameters.max_pair_ms * NS_PER_MS:
            return None
        self._first = None
        pair = (first, (view, found))
        sights = [s for of, seen in pair for s in sights_of(seen, of, self._views[of].geometry)]
        return self._answer(found, self._registered(sights))

    def pass_by(self, frame: Frame) -> None:
        """Take note of a frame to which a live run gave no answer: it may be the first of a pair."""
        self.update(frame)

    def _answer(self, found: LandmarkSet, target: Estimate) -> LandmarkSet:
        return replace(found, estimates=(target, *found.estimates))

    def _view_of(self, geometry: ImageGeometry | None) -> int | None:
        """Return which view it is, a new one where there are fewer than two; None of any other."""
        if geometry is None or geometry.projection is None or geometry.frame_id != ISOCENTER:
            return None
        for number, view in enumerate(self._views):
            if same_geometry(view.geometry, geometry):
                return number
        if len(self._views) == _VIEWS:
            return None
        self._views.append(_View(geometry, self._any if not self._views else self._make_follower()))
        return len(self._views) - 1

    def _registered(self, sights: Sequence[Sight]) -> Estimate:
        shift = register(self._plan, sights, self._parameters)
        self._say(shift, len(sights))
        if isinstance(shift, NoShift):
            return Estimate(TARGET)
        target_mm = np.array(self._parameters.target_mm)
        covariance = shift.motion.covariance_at(target_mm)
        return Estimate(
            TARGET,
            Status.TRACKED,
            position_mm=shift.motion.moved(target_mm),
            covariance_mm2=covariance,
            observed=(True, True, True),
            confidence=1.0 - shift.wrong / len(sights),
            radius_mm=radius_mm(np.linalg.eigvalsh(covariance)),
        )

    def _say(self, shift: SetupShift | NoShift, sights: int) -> None:
        if isinstance(shift, NoShift):
            said = f"no shift: {shift.reason}"
        else:
            motion = shift.motion
            off_mm = shift.displacement_mm(np.array(self._parameters.target_mm))
            said = (
                f"the target is off plan by {_listed(off_mm)} mm, the patient turned by "
                f"{_listed(motion.turn_deg)} degrees ({motion.turns} of 3 turns determined, "
                f"condition number {motion.condition:.0f}); {len(shift.names)} landmarks, "
                f"{shift.wrong:g} of {sights} sights wrong"
            )
        if isinstance(shift, NoShift) and said != self._said:
            logger.warning("%s", said)
        self._said = said


def _listed(values: Array) -> str:
    return ", ".join(f"{value:.1f}" for value in values)

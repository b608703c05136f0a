"""What the positions of a frame amount to: what is wrong with them, how far inside the window they are."""

import math
from dataclasses import dataclass, field, replace
from itertools import cycle

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.geometry import ISOCENTER, TABLE_TOP
from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.core.records import NS_PER_MS, Estimate, LandmarkSet, Reason, Status
from lmtrack_ros.gating.contour import interior
from lmtrack_ros.gating.couch_history import CouchHistory
from lmtrack_ros.gating.intake import FAR_MM
from lmtrack_ros.gating.prediction import MonitoredPredictor, Prediction, PredictorParameters
from lmtrack_ros.gating.target import CENTROID, EACH, GROUPS, RIGID, Points, Target, centroid, rigid
from lmtrack_ros.gating.window import WindowParameters

# over which the couch's speed is taken
_COUCH_SPEED_SPAN_NS = 100 * NS_PER_MS

_NOTHING = Reason(0)

# a contour of more would take longer to judge than a frame may
_MAX_CORNERS = 500
_BEFORE_AND_AFTER = np.array([-1.0, 0.0, 1.0]).reshape(3, 1, 1)

POINT, PERCENT_OUTSIDE = "point", "percent_outside"


@dataclass(frozen=True)
class AssessmentParameters(WindowParameters):
    """Which landmarks must be where."""

    landmarks: tuple[str, ...] = parameter(
        (), "names of the landmarks that must all be well; empty: every landmark of the tracker"
    )
    references_mm: tuple[float, ...] = parameter(
        (),
        "planned x, y, z of each of these landmarks in isocenter, mm; "
        "empty: where they are in the first good frame after arming",
    )
    group: str = parameter(
        EACH,
        "what must be inside the window: each landmark, their centroid, or the target that moves rigidly "
        "with them",
        choices=GROUPS,
    )
    target_mm: tuple[float, ...] = parameter(
        (), "planned x, y, z of the target that a rigid group stands for; empty: the landmarks' centroid, mm"
    )
    rule: str = parameter(
        POINT,
        "what inside means: the point with its 95 % radius, or no more than max_percent_outside of the "
        "target's contour, drawn larger by that radius",
        choices=(POINT, PERCENT_OUTSIDE),
    )
    max_percent_outside: float = parameter(
        5.0, "greatest share of a contour's area outside the window, %", minimum=0.0, maximum=100.0
    )
    min_confidence: float = parameter(0.5, "least confidence of a needed landmark", minimum=0.0, maximum=1.0)
    max_second_opinion_mm: float = parameter(
        0.0,
        "greatest distance between a landmark and its second opinion; 0: none is asked for, mm",
        minimum=0.0,
        maximum=100.0,
    )
    predictor: PredictorParameters = field(default_factory=PredictorParameters)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.landmarks)) != len(self.landmarks):
            raise ValueError("landmarks names one twice")
        if self.references_mm and len(self.references_mm) != 3 * len(self.landmarks):
            raise ValueError("references_mm needs x, y and z for each name in landmarks")
        if not np.isfinite(self.references_mm).all():
            raise ValueError("references_mm must be finite")
        windows = 1 if self.group != EACH else max(1, len(self.landmarks))
        if len(self.windows()) not in (1, windows):
            raise ValueError("the window needs three bounds, or three for each name in landmarks")
        if self.target_mm and (len(self.target_mm) != 3 or self.group != RIGID):
            raise ValueError("target_mm needs x, y and z, and a rigid group")
        if self.rule == PERCENT_OUTSIDE and self.group != EACH:
            raise ValueError("the rule percent_outside needs the group 'each'")


@dataclass(frozen=True, eq=False)
class _Motion:
    """What the predictor was told of a new frame.

    Attributes:
        stamp_ns: of the frame.
        positions_mm: (N, 3) the couch's part taken out, isocenter; NaN where not observed.
        planned_mm: (N, 3) in isocenter.
    """

    stamp_ns: int
    positions_mm: Array
    planned_mm: Array


@dataclass(frozen=True, eq=False)
class Assessment:
    """What one frame amounts to.

    Attributes:
        target: with everything that is wrong with it; being outside the window is not.
        margin_mm: from the predicted target's 95 % sphere to the nearest face of the window, negative
            outside, -inf where unknown.
        predicted_mm: (3,) the predicted target in isocenter, NaN where unknown.
    """

    target: Target
    margin_mm: float = -np.inf
    predicted_mm: Array = field(default_factory=lambda: np.full(3, np.nan))


class Assessor:
    """Judges the positions of frame after frame; remembers references and motion.

    Args:
        parameters: which landmarks must be where.
        couch: where the couch was; kept up to date by the caller.
    """

    def __init__(self, parameters: AssessmentParameters, couch: CouchHistory) -> None:
        self.parameters = parameters
        self.predicts = parameters.predictor.kind != "none"
        """Whether the future is predicted at all."""
        self._couch = couch
        self._couch_known = False
        self._windows = parameters.windows()
        self._constrained = np.array(parameters.window_axes)
        self._all_constrained = all(parameters.window_axes)
        self._predictor = MonitoredPredictor(parameters.predictor)
        self._later_predictor = MonitoredPredictor(parameters.predictor, beside=self._predictor)
        self._prediction: Prediction | None = None
        self._motion: _Motion | None = None
        self._references: dict[str, Array] = {
            name: np.array(parameters.references_mm[3 * i : 3 * i + 3])
            for i, name in enumerate(parameters.landmarks)
            if parameters.references_mm
        }

    @property
    def references_mm(self) -> dict[str, Array]:
        """The planned (3,) position of each needed landmark in isocenter, as far as it is known."""
        return dict(self._references)

    def forget_captured_references(self) -> None:
        """Forget references that no plan gave: the next good frame gives them anew."""
        if not self.parameters.references_mm:
            self._references.clear()

    def forget_motion(self) -> None:
        """Forget how the landmarks moved, for it says nothing about what is to come."""
        self._predictor.reset()
        self._later_predictor.reset()
        self._prediction = self._motion = None

    def predict_later(self, horizon_ns: int) -> Prediction | None:
        """Return how far the target of the frame judged last will be from plan, at another horizon.

        Args:
            horizon_ns: after its exposure, about the same from frame to frame.

        Returns:
            Positions are its (1, 3) mean displacement with the couch's part taken out, isocenter; None where
            nothing is predicted or known.
        """
        motion = self._motion
        if motion is None:
            return None
        prediction = self._later_predictor.update(motion.stamp_ns, motion.positions_mm, horizon_ns)
        return replace(prediction, positions_mm=_mean(prediction.positions_mm - motion.planned_mm)[None])

    def assess(
        self,
        landmarks: LandmarkSet,
        standing: Reason,
        *,
        horizon_ns: int,
        interval_ns: int,
        is_new: bool,
        needs_couch: bool,
    ) -> Assessment:
        """Judge one frame.

        Args:
            landmarks: in ``isocenter`` or ``table_top``.
            standing: what holds the beam anyway; references are only captured where nothing does.
            horizon_ns: how far after its exposure the frame must tell the future.
            interval_ns: between frames, for which the decision is in force: the target must be inside at the
                middle of it and a quarter before and after.
            is_new: whether the frame adds to the motion.
            needs_couch: whether the couch's position must be known in any case.
        """
        self._motion = None
        couch_mm = self._couch.position_mm(landmarks.stamp_ns)
        reasons = _NOTHING
        if landmarks.frame_id not in (ISOCENTER, TABLE_TOP):
            reasons |= Reason.WRONG_FRAME
        if couch_mm is None and (landmarks.frame_id == TABLE_TOP or needs_couch):
            reasons |= Reason.COUCH_SILENT
        estimates, landmark_faults = self._usable(landmarks)
        if landmark_faults:
            reasons |= landmark_faults
        if not reasons and not self._references and not standing:
            self._references = {e.id: self._in_isocenter_mm(landmarks, e, couch_mm) for e in estimates}
        if not reasons and not all(e.id in self._references for e in estimates):
            # not captured yet, or a landmark that came after the others were
            reasons = standing or Reason.LANDMARK_MISSING
        if reasons:
            return Assessment(Target(reasons=reasons, couch_mm=couch_mm))

        x, y, z = (all(seen) for seen in zip(*(e.observed for e in estimates), strict=True))
        points = self._points(landmarks, estimates, couch_mm, (x, y, z))
        if points is None:
            # landmarks in one line do not tell how a body turned
            return Assessment(Target(reasons=Reason.LANDMARK_UNCERTAIN, couch_mm=couch_mm))
        displacements = points.positions_mm - points.planned_mm
        target = Target(_mean(displacements), (x, y, z), _NOTHING, couch_mm, float(points.radii_mm.max()))
        expected = displacements
        if self.predicts:
            motion_mm = points.positions_mm if couch_mm is None else points.positions_mm - couch_mm
            prediction = self._predict(motion_mm, points, landmarks.stamp_ns, target, horizon_ns, is_new)
            couch_then_mm = self._expected_couch_mm(couch_mm, landmarks.stamp_ns + horizon_ns)
            expected = prediction.positions_mm + couch_then_mm - points.planned_mm
            if prediction.diverged:
                target = replace(target, reasons=Reason.PREDICTOR_DIVERGED)
            way = (prediction.positions_mm - motion_mm) * (interval_ns / 4 / horizon_ns)
            path = expected + _BEFORE_AND_AFTER * way
            margin_mm = self._margin_mm(points, estimates, path) - prediction.margin_mm
        else:
            margin_mm = self._margin_mm(points, estimates, expected[None])
        predicted_mm = _mean(points.planned_mm + expected)
        if not (x and y and z):
            predicted_mm = np.where(target.observed, predicted_mm, np.nan)
        return Assessment(target, margin_mm, predicted_mm)

    def _needed(self, landmarks: LandmarkSet) -> tuple[tuple[str, Estimate | None], ...]:
        by_id = {e.id: e for e in landmarks.estimates}
        # a landmark that was followed since arming is needed even where it is left out
        names = self.parameters.landmarks or dict.fromkeys((*self._references, *by_id))
        return tuple((name, by_id.get(name)) for name in names)

    def _usable(self, landmarks: LandmarkSet) -> tuple[list[Estimate], Reason]:
        """Return the needed landmarks that were found, and what is wrong with any of the needed."""
        needed = self._needed(landmarks)
        reasons = _NOTHING if needed else Reason.LANDMARK_MISSING
        has_twins = len({e.id for e in landmarks.estimates}) < len(landmarks.estimates)
        estimates = []
        for name, estimate in needed:
            if estimate is None:
                reasons |= Reason.LANDMARK_MISSING
                continue
            if has_twins and sum(e.id == name for e in landmarks.estimates) > 1:
                # nobody knows which of them is right
                reasons |= Reason.LANDMARK_UNCERTAIN
            estimates.append(estimate)
            if faults := self._faults(estimate):
                reasons |= faults
        return estimates, reasons

    def _faults(self, estimate: Estimate) -> Reason:
        reasons = _NOTHING
        if estimate.status is Status.LOST:
            reasons |= Reason.LANDMARK_LOST
        elif estimate.status is not Status.TRACKED:
            reasons |= Reason.LANDMARK_UNCERTAIN
        # plain floats: three axes are too few for an array to pay
        x, y, z = estimate.position_mm.tolist()
        sees_x, sees_y, sees_z = estimate.observed
        # written so that NaN fails
        if not (
            math.isfinite(estimate.confidence)
            and 0 <= estimate.radius_mm < FAR_MM
            and (-FAR_MM < x < FAR_MM or not sees_x)
            and (-FAR_MM < y < FAR_MM or not sees_y)
            and (-FAR_MM < z < FAR_MM or not sees_z)
        ):
            reasons |= Reason.NOT_FINITE
        # written so that NaN fails
        if not estimate.confidence >= self.parameters.min_confidence:
            reasons |= Reason.LOW_CONFIDENCE
        needs_x, needs_y, needs_z = self.parameters.window_axes
        if (needs_x and not sees_x) or (needs_y and not sees_y) or (needs_z and not sees_z):
            reasons |= Reason.UNOBSERVED_AXIS
        if self.parameters.rule == PERCENT_OUTSIDE:
            if not 0 < len(estimate.contour_mm) <= _MAX_CORNERS:
                reasons |= Reason.LANDMARK_UNCERTAIN
            elif not (np.abs(estimate.contour_mm) < FAR_MM).all():
                reasons |= Reason.NOT_FINITE
        if self.parameters.max_second_opinion_mm:
            reasons |= self._disagreement(estimate)
        return reasons

    def _disagreement(self, estimate: Estimate) -> Reason:
        if estimate.second_opinion_mm is None:
            return Reason.LANDMARK_UNCERTAIN
        apart_mm = np.linalg.norm(
            (estimate.second_opinion_mm - estimate.position_mm)[np.array(estimate.observed)]
        )
        # written so that NaN disagrees
        return _NOTHING if apart_mm <= self.parameters.max_second_opinion_mm else Reason.SECOND_OPINION

    # positions -----------------------------------------------------------------------------------

    def _in_isocenter_mm(self, landmarks: LandmarkSet, estimate: Estimate, couch_mm: Array | None) -> Array:
        if landmarks.frame_id == TABLE_TOP:
            assert couch_mm is not None
            return estimate.position_mm + couch_mm
        return estimate.position_mm

    def _points(
        self,
        landmarks: LandmarkSet,
        estimates: list[Estimate],
        couch_mm: Array | None,
        observed: tuple[bool, bool, bool],
    ) -> Points | None:
        """Return what must be inside the window; None where a rigid fit has no answer."""
        points = Points(
            np.array([self._in_isocenter_mm(landmarks, e, couch_mm) for e in estimates]),
            np.array([self._references[e.id] for e in estimates]),
            np.array([e.radius_mm for e in estimates]),
        )
        if self.parameters.group == CENTROID:
            return centroid(points)
        if self.parameters.group == RIGID:
            target_mm = np.array(self.parameters.target_mm) if self.parameters.target_mm else None
            return rigid(points, target_mm, observed)
        return points

    def _predict(
        self,
        motion_mm: Array,
        points: Points,
        stamp_ns: int,
        target: Target,
        horizon_ns: int,
        is_new: bool,
    ) -> Prediction:
        """Return where the points will be; there as in ``motion_mm`` the couch's part is taken out."""
        if self._couch_known != (target.couch_mm is not None):
            # the motion is told from another zero
            self._couch_known = target.couch_mm is not None
            self.forget_motion()
        if is_new or self._prediction is None:
            if not all(target.observed):
                motion_mm = np.where(target.observed, motion_mm, np.nan)
            self._prediction = self._predictor.update(stamp_ns, motion_mm, horizon_ns)
            self._motion = _Motion(stamp_ns, motion_mm, points.planned_mm)
        return self._prediction

    def _expected_couch_mm(self, couch_mm: Array | None, stamp_ns: int) -> Array | float:
        """Return the (3,) couch position at a time to come, going on at its present speed."""
        newest = self._couch.newest
        if couch_mm is None or newest is None:
            return 0.0
        before_mm = self._couch.position_mm(newest.stamp_ns - _COUCH_SPEED_SPAN_NS) if newest.moving else None
        if before_mm is None:
            return newest.position_mm
        share = max(0, stamp_ns - newest.stamp_ns) / _COUCH_SPEED_SPAN_NS
        return newest.position_mm + share * (newest.position_mm - before_mm)

    def _margin_mm(self, points: Points, estimates: list[Estimate], path_mm: Array) -> float:
        """Return the least margin over (P, N, 3) displacements of the points along their path."""
        if self.parameters.rule == PERCENT_OUTSIDE:
            return self._contour_margin_mm(points, estimates, path_mm)
        known = self._known(path_mm)
        if len(self._windows) == 1:
            margins: Array = self._windows[0].margins_mm(known.reshape(-1, 3)).reshape(len(path_mm), -1)
        else:
            # (N, P) to (P, N)
            margins = np.array([w.margins_mm(known[:, i]) for i, w in enumerate(self._windows)]).T
        return float((margins - points.radii_mm).min())

    def _contour_margin_mm(self, points: Points, estimates: list[Estimate], path_mm: Array) -> float:
        """Return by how much the window may shrink until the allowed share of a contour lies outside."""
        margins = []
        for i, (window, estimate) in enumerate(zip(cycle(self._windows), estimates)):
            inside_mm = interior(estimate.contour_mm) - estimate.position_mm
            allowed = int(len(inside_mm) * self.parameters.max_percent_outside / 100.0)
            for displacement_mm in path_mm[:, i]:
                distances_mm = np.sort(window.margins_mm(self._known(inside_mm + displacement_mm)))
                margins.append(distances_mm[min(allowed, len(distances_mm) - 1)] - points.radii_mm[i])
        return float(min(margins))

    def _known(self, displacements_mm: Array) -> Array:
        """Return displacements with zero on free axes, which may be unobserved."""
        if self._all_constrained:
            return displacements_mm
        return np.where(self._constrained, displacements_mm, 0.0)


def _mean(rows: Array) -> Array:
    """Return the mean of (N, 3) rows; a third of the time of numpy's own for few rows."""
    mean: Array = np.add.reduce(rows) / len(rows)
    return mean

"""The beam gate: HOLD unless everything is known to be well."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.geometry import ISOCENTER, TABLE_TOP
from lmtrack_ros.core.outline import interior
from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.core.records import (
    LATCHING,
    NS_PER_MS,
    CouchStatus,
    Estimate,
    GateDecision,
    GateState,
    LandmarkSet,
    LatencyStamps,
    Reason,
    Status,
)
from lmtrack_ros.gating.couch_history import CouchHistory
from lmtrack_ros.gating.latency import LatencyLedger
from lmtrack_ros.gating.prediction import MonitoredPredictor, Prediction, PredictorParameters
from lmtrack_ros.gating.target import CENTROID, EACH, GROUPS, RIGID, Points, Target, centroid, rigid
from lmtrack_ros.gating.window import Window, WindowParameters

# frame stamps and the gate's clock may come from two readings of one clock
_FUTURE_TOLERANCE_NS = 5 * NS_PER_MS
# over which the couch's speed is taken
_COUCH_SPEED_SPAN_NS = 100 * NS_PER_MS

# after these the positions so far say nothing about those to come
_MOTION_UNKNOWN = (
    Reason.TIME_BACKWARDS
    | Reason.CLOCK_JUMP
    | Reason.GEOMETRY_CHANGED
    | Reason.PREDICTOR_DIVERGED
    | Reason.TRACKER_RESTARTED
    | Reason.SECOND_PUBLISHER
    | Reason.CONFIGURATION_CHANGED
)

POINT, PERCENT_OUTSIDE = "point", "percent_outside"


@dataclass(frozen=True)
class GateParameters(WindowParameters):
    """When the beam may be on."""

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
    max_age_ms: float = parameter(
        200.0,
        "a frame older than this, from mid-exposure to now, holds the beam; a BEAM_ON is valid as long, ms",
        minimum=1.0,
        maximum=5000.0,
    )
    beam_latency_ms: float = parameter(
        0.0, "from a decision until the beam has followed it, ms", minimum=0.0, maximum=2000.0
    )
    latency_budget_ms: float = parameter(
        500.0,
        "greatest 95th percentile of the latency from exposure to beam over the last ten seconds, ms",
        minimum=1.0,
        maximum=10000.0,
    )
    resume_frames: int = parameter(
        3, "good frames in a row before the beam may go on", minimum=1, maximum=1000
    )
    dwell_ms: float = parameter(
        0.0, "time that these good frames must span at least, ms", minimum=0.0, maximum=60000.0
    )
    max_couch_age_ms: float = parameter(
        100.0, "a couch position older than this is not known, ms", minimum=1.0, maximum=5000.0
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


class Gate:
    """Decides on each frame, and on each tick between frames.

    Deterministic: every method takes the time. DISARMED, it holds for NOT_ARMED; armed, it goes from
    HOLD to BEAM_ON after enough good frames and time in a row, and back at the first reason. Decisions
    depend on frames, couch statuses and operator calls only; a tick merely says earlier what the next
    frame would find.

    Args:
        parameters: when the beam may be on.
        session: identifies this run of the gate to consumers, not 0.
    """

    def __init__(self, parameters: GateParameters, session: int) -> None:
        self.parameters = parameters
        self.session = session
        self.couch = CouchHistory(parameters.max_couch_age_ms)
        self.ledger = LatencyLedger()
        self.needs_couch = False
        """Whether a couch that does not say where it is holds the beam: set while it follows the target."""
        self.setting_up = False
        """Whether a set-up shift is under way, which holds the beam until it is verified."""
        self.target: Target | None = None
        """The last frame's target, for the couch controller."""
        self._windows = parameters.windows()
        self._max_age_ns = int(parameters.max_age_ms * NS_PER_MS)
        self._dwell_ns = int(parameters.dwell_ms * NS_PER_MS)
        self._constrained = np.array(parameters.window_axes)
        self._predictor = MonitoredPredictor(parameters.predictor)
        self._predicts = parameters.predictor.kind != "none"
        self._prediction: Prediction | None = None
        self._references: dict[str, Array] = {
            name: np.array(parameters.references_mm[3 * i : 3 * i + 3])
            for i, name in enumerate(parameters.landmarks)
            if parameters.references_mm
        }
        self._armed = False
        self._operator_hold = False
        self._latched = Reason(0)
        self._couch_at_fault = False
        self._couch_known = False
        self._good_frames = 0
        self._good_since_ns = 0
        self._good_targets = 0
        self._last = LandmarkSet(stamp_ns=0)
        self._configuration: tuple[str, str, int] | None = None
        self._tracker_session: int | None = None
        self._former_tracker_sessions: set[int] = set()
        self._sequence = 0

    @property
    def references_mm(self) -> dict[str, Array]:
        """The planned (3,) position of each needed landmark in isocenter, as far as it is known."""
        return dict(self._references)

    @property
    def armed(self) -> bool:
        """Whether an operator has armed the gate."""
        return self._armed

    @property
    def standing_reasons(self) -> Reason:
        """What holds the beam whatever the next frame shows."""
        reasons = self._latched
        if not self._armed:
            reasons |= Reason.NOT_ARMED
        if self._operator_hold:
            reasons |= Reason.OPERATOR_HOLD
        if self._couch_at_fault:
            reasons |= Reason.COUCH_FAULT
        if self.setting_up:
            reasons |= Reason.SETUP
        return reasons

    # the operator --------------------------------------------------------------------------------

    def arm(self) -> str:
        """Allow the beam; returns why not, or an empty text.

        What has latched must be acknowledged first. An operator's hold stays. References that were
        captured are forgotten: the next good frame gives them anew.
        """
        if self._latched:
            return f"acknowledge first: {names(self._latched)}"
        self._forget_frames()
        if not self.parameters.references_mm:
            self._references.clear()
        self._armed = True
        return ""

    def disarm(self, now_ns: int) -> GateDecision:
        """Hold until armed again; what has latched stays so."""
        self._armed = False
        return self._hold(Reason(0), now_ns)

    def set_operator_hold(self, hold: bool, now_ns: int) -> GateDecision | None:
        """Hold until released; a release by itself decides nothing, the next good frames do."""
        self._operator_hold = hold
        return self._hold(Reason(0), now_ns) if hold else None

    def acknowledge(self) -> Reason:
        """Let go of what has latched, and return it; the frames from now on are judged afresh."""
        acknowledged, self._latched = self._latched, Reason(0)
        self._forget_frames()
        if acknowledged & _MOTION_UNKNOWN:
            self._forget_motion()
        return acknowledged

    def shut_down(self, now_ns: int) -> GateDecision:
        """Return the last decision of this session: HOLD."""
        self._armed = False
        return self._hold(Reason.SHUTDOWN, now_ns)

    def _forget_frames(self) -> None:
        """Forget when the last frame was and where it came from: the next one sets the standard."""
        self._last = LandmarkSet(stamp_ns=0)
        self._configuration = None
        self._tracker_session = None
        self._former_tracker_sessions.clear()
        self._good_frames = 0
        self._good_targets = 0

    def _forget_motion(self) -> None:
        self._predictor.reset()
        self._prediction = None
        self.ledger.clear()

    # what comes in -------------------------------------------------------------------------------

    def latch(self, reasons: Reason) -> None:
        """Take up reasons from elsewhere; the latching ones stay, where the gate is armed, until acknowledged.

        A clock that jumped disarms.
        """
        if self._armed or reasons & Reason.CLOCK_JUMP:
            self._latched |= reasons & LATCHING
        if reasons & Reason.CLOCK_JUMP:
            self._armed = False

    def update_couch(self, status: CouchStatus, now_ns: int) -> None:
        """Take up where the couch is; a fault, or a status from the future, latches.

        Args:
            status: as reported.
            now_ns: on the clock of its stamp.
        """
        impossible = (
            status.stamp_ns > now_ns + _FUTURE_TOLERANCE_NS or not np.isfinite(status.position_mm).all()
        )
        if not impossible:
            self.couch.add(status)
        self._couch_at_fault = bool(status.fault) or impossible
        if self._couch_at_fault:
            self.latch(Reason.COUCH_FAULT)

    def tick(self, now_ns: int) -> GateDecision | None:
        """Return a HOLD where the newest frame is too old or something holds since it; else None."""
        self._latch_backward_time(now_ns)
        if self._silent(now_ns):
            return self.hold_silent(now_ns)
        if self._good_frames and self.standing_reasons:
            return self._hold(Reason(0), now_ns)
        return None

    def hold_silent(self, now_ns: int) -> GateDecision:
        """Return a HOLD because nothing is heard of the tracker."""
        return self._hold(Reason.TRACKER_SILENT, now_ns)

    def update(self, landmarks: LandmarkSet, now_ns: int) -> GateDecision:
        """Decide on one frame.

        Args:
            landmarks: in ``isocenter`` or ``table_top``.
            now_ns: time of the decision, on the clock of the frames' stamps.
        """
        reasons = landmarks.faults
        previous_ns = self._last.stamp_ns
        self._latch_backward_time(now_ns)
        if previous_ns and self._silent(now_ns):
            # a tick before this frame would have held: the good frames must be in a row
            reasons |= Reason.FRAME_GAP
        if not 0 < landmarks.stamp_ns <= now_ns + _FUTURE_TOLERANCE_NS or landmarks.stamp_ns < previous_ns:
            reasons |= Reason.TIME_BACKWARDS
        if now_ns - landmarks.stamp_ns > self._max_age_ns:
            reasons |= Reason.STALE_FRAME
        reasons |= self._identity_faults(landmarks)
        is_new = landmarks.stamp_ns > previous_ns and not reasons & Reason.TIME_BACKWARDS
        self._last = landmarks
        if reasons & Reason.TIME_BACKWARDS:
            self._forget_motion()
        stamps = replace(landmarks.stamps, acquired_ns=landmarks.stamp_ns, decided_ns=now_ns)
        if is_new:
            self.ledger.add(stamps)
        if self._latency_ns(0.95) > self.parameters.latency_budget_ms * NS_PER_MS:
            reasons |= Reason.LATENCY_OVER_BUDGET

        self.latch(reasons)
        reasons |= self.standing_reasons
        margin_mm, target, predicted_mm = self._assess(landmarks, reasons, is_new)
        self.latch(target.reasons)
        reasons |= target.reasons
        self._good_targets = 0 if reasons else self._good_targets + is_new
        wait = Reason(0) if self._good_targets >= self.parameters.resume_frames else Reason.DWELL
        self.target = replace(target, reasons=reasons or wait)
        if not target.reasons and not margin_mm > 0:
            reasons |= Reason.OUTSIDE_WINDOW

        if reasons:
            self._good_frames = 0
        elif is_new:
            self._good_since_ns = self._good_since_ns if self._good_frames else landmarks.stamp_ns
            self._good_frames += 1
        if not reasons and not self._dwelt(landmarks.stamp_ns):
            reasons = Reason.DWELL
        self._sequence += 1
        return GateDecision(
            stamp_ns=landmarks.stamp_ns,
            session=self.session,
            sequence=self._sequence,
            state=GateState.HOLD if reasons else GateState.BEAM_ON,
            reasons=reasons,
            valid_until_ns=landmarks.stamp_ns + (0 if reasons else self._max_age_ns),
            margin_mm=margin_mm,
            target_mm=predicted_mm,
            stamps=stamps,
            horizon_ms=self.horizon_ns(self.parameters.beam_latency_ms) / NS_PER_MS if self._predicts else 0.0,
        )

    def horizon_ns(self, latency_ms: float) -> int:
        """Return how far after its exposure a frame must tell the future.

        The median time to the decision, what follows it, and half a frame, for a decision is in force
        until the next.

        Args:
            latency_ms: from the decision until the beam or the couch has followed it.
        """
        interval_ns = min(self.ledger.frame_interval_ns(), self._max_age_ns)
        return self.ledger.total_ns(0.5) + int(latency_ms * NS_PER_MS) + interval_ns // 2

    # the rules -----------------------------------------------------------------------------------

    def _dwelt(self, stamp_ns: int) -> bool:
        long_enough = stamp_ns - self._good_since_ns >= self._dwell_ns
        return self._good_frames >= self.parameters.resume_frames and long_enough

    def _latency_ns(self, share: float) -> int:
        return self.ledger.total_ns(share) + int(self.parameters.beam_latency_ms * NS_PER_MS)

    def _latch_backward_time(self, now_ns: int) -> None:
        """Latch where the clock was set back behind the last frame: its age can no longer be told."""
        if self._last.stamp_ns > now_ns + _FUTURE_TOLERANCE_NS:
            self.latch(Reason.TIME_BACKWARDS)

    def _silent(self, now_ns: int) -> bool:
        return now_ns - self._last.stamp_ns > self._max_age_ns

    def _identity_faults(self, landmarks: LandmarkSet) -> Reason:
        """Return what has changed about where the positions come from."""
        reasons = Reason(0)
        if landmarks.session in self._former_tracker_sessions:
            reasons |= Reason.SECOND_PUBLISHER
        elif self._tracker_session is not None and landmarks.session != self._tracker_session:
            reasons |= Reason.TRACKER_RESTARTED
            self._former_tracker_sessions.add(self._tracker_session)
        self._tracker_session = landmarks.session
        configuration = (landmarks.model, landmarks.frame_id, landmarks.marking)
        if self._configuration not in (None, configuration):
            reasons |= Reason.CONFIGURATION_CHANGED
        self._configuration = configuration
        return reasons

    def _hold(self, reasons: Reason, now_ns: int) -> GateDecision:
        """Return a HOLD for these reasons and the standing ones."""
        self._good_frames = 0
        self._good_targets = 0
        self._sequence += 1
        return GateDecision(
            stamp_ns=now_ns,
            session=self.session,
            sequence=self._sequence,
            reasons=reasons | self.standing_reasons,
            valid_until_ns=now_ns,
            stamps=LatencyStamps(acquired_ns=self._last.stamp_ns, decided_ns=now_ns),
        )

    def _needed(self, landmarks: LandmarkSet) -> tuple[tuple[str, Estimate | None], ...]:
        by_id = {e.id: e for e in landmarks.estimates}
        # a landmark that was followed since arming is needed even where it is left out
        names = self.parameters.landmarks or dict.fromkeys((*self._references, *by_id))
        return tuple((name, by_id.get(name)) for name in names)

    def _assess(self, landmarks: LandmarkSet, standing: Reason, is_new: bool) -> tuple[float, Target, Array]:
        """Return the margin, mm, the target with everything that is wrong with it, and its predicted position.

        Args:
            landmarks: of one frame.
            standing: what holds the beam anyway; references are only captured where nothing does.
            is_new: whether the frame adds to the motion.
        """
        couch_mm = self.couch.position_mm(landmarks.stamp_ns)
        reasons = self._frame_faults(landmarks, couch_mm)
        estimates, landmark_faults = self._usable(landmarks)
        reasons |= landmark_faults
        if not reasons and not self._references and not standing:
            self._references = {e.id: self._in_isocenter_mm(landmarks, e, couch_mm) for e in estimates}
        if not reasons and not all(e.id in self._references for e in estimates):
            # not captured yet, or a landmark that came after the others were
            reasons = standing or Reason.LANDMARK_MISSING
        if reasons:
            return -np.inf, Target(reasons=reasons, couch_mm=couch_mm), np.full(3, np.nan)

        x, y, z = np.all([e.observed for e in estimates], axis=0).tolist()
        points = self._points(landmarks, estimates, couch_mm, (x, y, z))
        if points is None:
            # landmarks in one line do not tell how a body turned
            target = Target(reasons=Reason.LANDMARK_UNCERTAIN, couch_mm=couch_mm)
            return -np.inf, target, np.full(3, np.nan)
        displacements = points.positions_mm - points.planned_mm
        target = Target(
            displacements.mean(axis=0), (x, y, z), Reason(0), couch_mm, float(points.radii_mm.max())
        )
        extra_mm, expected = 0.0, displacements
        if self._predicts:
            prediction = self._predict(points, landmarks.stamp_ns, target, is_new)
            extra_mm = prediction.margin_mm
            expected = prediction.positions_mm + self._expected_couch_mm(couch_mm) - points.planned_mm
            if prediction.diverged:
                target = replace(target, reasons=Reason.PREDICTOR_DIVERGED)
        if self.parameters.rule == PERCENT_OUTSIDE:
            margin_mm = self._contour_margin_mm(points, estimates, expected, extra_mm)
        else:
            margin_mm = self._margin_mm(points, expected, extra_mm)
        predicted_mm = np.where(target.observed, (points.planned_mm + expected).mean(axis=0), np.nan)
        return margin_mm, target, predicted_mm

    def _frame_faults(self, landmarks: LandmarkSet, couch_mm: Array | None) -> Reason:
        reasons = Reason(0)
        if landmarks.frame_id not in (ISOCENTER, TABLE_TOP):
            reasons |= Reason.WRONG_FRAME
        if couch_mm is None and (landmarks.frame_id == TABLE_TOP or self.needs_couch):
            reasons |= Reason.COUCH_SILENT
        return reasons

    def _usable(self, landmarks: LandmarkSet) -> tuple[list[Estimate], Reason]:
        """Return the needed landmarks that were found, and what is wrong with any of the needed."""
        needed = self._needed(landmarks)
        reasons = Reason(0) if needed else Reason.LANDMARK_MISSING
        counts = Counter(e.id for e in landmarks.estimates)
        estimates = []
        for name, estimate in needed:
            if estimate is None:
                reasons |= Reason.LANDMARK_MISSING
                continue
            if counts[name] > 1:
                # nobody knows which of them is right
                reasons |= Reason.LANDMARK_UNCERTAIN
            estimates.append(estimate)
            reasons |= self._faults(estimate)
        return estimates, reasons

    def _faults(self, estimate: Estimate) -> Reason:
        reasons = Reason(0)
        if estimate.status is Status.LOST:
            reasons |= Reason.LANDMARK_LOST
        elif estimate.status is not Status.TRACKED:
            reasons |= Reason.LANDMARK_UNCERTAIN
        observed = np.array(estimate.observed)
        numbers = (*estimate.position_mm[observed], estimate.confidence, estimate.radius_mm)
        if not np.isfinite(numbers).all() or estimate.radius_mm < 0:
            reasons |= Reason.NOT_FINITE
        # written so that NaN fails
        if not estimate.confidence >= self.parameters.min_confidence:
            reasons |= Reason.LOW_CONFIDENCE
        if (self._constrained & ~observed).any():
            reasons |= Reason.UNOBSERVED_AXIS
        if self.parameters.rule == PERCENT_OUTSIDE:
            if not len(estimate.contour_mm):
                reasons |= Reason.LANDMARK_UNCERTAIN
            elif not np.isfinite(estimate.contour_mm).all():
                reasons |= Reason.NOT_FINITE
        if self.parameters.max_second_opinion_mm:
            reasons |= self._disagreement(estimate, observed)
        return reasons

    def _disagreement(self, estimate: Estimate, observed: Array) -> Reason:
        if estimate.second_opinion_mm is None:
            return Reason.LANDMARK_UNCERTAIN
        apart_mm = np.linalg.norm((estimate.second_opinion_mm - estimate.position_mm)[observed])
        # written so that NaN disagrees
        return Reason(0) if apart_mm <= self.parameters.max_second_opinion_mm else Reason.SECOND_OPINION

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

    def _predict(self, points: Points, stamp_ns: int, target: Target, is_new: bool) -> Prediction:
        """Return where the points will be, the couch's part taken out."""
        if self._couch_known != (target.couch_mm is not None):
            # the motion is told from another zero
            self._couch_known = target.couch_mm is not None
            self._predictor.reset()
        if is_new or self._prediction is None:
            motion_mm = points.positions_mm - (0.0 if target.couch_mm is None else target.couch_mm)
            motion_mm = np.where(target.observed, motion_mm, np.nan)
            horizon_ns = self.horizon_ns(self.parameters.beam_latency_ms)
            self._prediction = self._predictor.update(stamp_ns, motion_mm, horizon_ns)
        return self._prediction

    def _expected_couch_mm(self, couch_mm: Array | None) -> Array | float:
        """Return the (3,) couch position at the end of the horizon, going on at its present speed."""
        newest = self.couch.newest
        if couch_mm is None or newest is None:
            return 0.0
        before_mm = self.couch.position_mm(newest.stamp_ns - _COUCH_SPEED_SPAN_NS) if newest.moving else None
        if before_mm is None:
            return newest.position_mm
        ahead_ns = self._last.stamp_ns + self.horizon_ns(self.parameters.beam_latency_ms) - newest.stamp_ns
        share = max(0, ahead_ns) / _COUCH_SPEED_SPAN_NS
        return newest.position_mm + share * (newest.position_mm - before_mm)

    def _margin_mm(self, points: Points, displacements_mm: Array, extra_mm: float) -> float:
        margins = (
            window.margin_mm(d) - r
            for window, d, r in zip(
                self._windows_of(points), self._known(displacements_mm), points.radii_mm, strict=True
            )
        )
        return float(min(margins)) - extra_mm

    def _contour_margin_mm(
        self, points: Points, estimates: list[Estimate], displacements_mm: Array, extra_mm: float
    ) -> float:
        """Return by how much the window may shrink until the allowed share of a contour lies outside."""
        margins = []
        for window, estimate, displacement_mm, radius_mm in zip(
            self._windows_of(points), estimates, displacements_mm, points.radii_mm, strict=True
        ):
            inside_mm = interior(estimate.contour_mm) - estimate.position_mm + displacement_mm
            distances_mm = np.sort(window.margins_mm(self._known(inside_mm)))
            allowed = int(len(distances_mm) * self.parameters.max_percent_outside / 100.0)
            margins.append(distances_mm[min(allowed, len(distances_mm) - 1)] - radius_mm)
        return float(min(margins)) - extra_mm

    def _windows_of(self, points: Points) -> tuple[Window, ...]:
        return self._windows if len(self._windows) > 1 else self._windows * len(points.radii_mm)

    def _known(self, displacements_mm: Array) -> Array:
        """Return displacements with zero on free axes, which may be unobserved."""
        known: Array = np.where(self._constrained, displacements_mm, 0.0)
        return known


def names(reasons: Reason) -> str:
    """Return the names of reasons for an operator to read."""
    return (reasons.name or str(int(reasons))).replace("|", ", ")

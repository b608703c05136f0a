"""The beam gate: HOLD unless everything is known to be well."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.geometry import ISOCENTER, TABLE_TOP
from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.core.records import (
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

# frame stamps and the gate's clock may come from two readings of one clock
_FUTURE_TOLERANCE_NS = 5 * NS_PER_MS


@dataclass(frozen=True)
class GateParameters:
    """When the beam may be on."""

    landmarks: tuple[str, ...] = parameter(
        (), "names of the landmarks that must all be well; empty: every landmark of the tracker"
    )
    references_mm: tuple[float, ...] = parameter(
        (),
        "planned x, y, z of each of these landmarks in isocenter, mm; "
        "empty: where they are in the first good frame after arming",
    )
    window_lower_mm: tuple[float, ...] = parameter(
        (0.0, 0.0, 0.0), "lower bounds of the gating window about each reference along isocenter x, y, z, mm"
    )
    window_upper_mm: tuple[float, ...] = parameter((0.0, 0.0, 0.0), "its upper bounds, mm")
    window_axes: tuple[bool, ...] = parameter(
        (True, True, True), "which axes of isocenter the window constrains; the image must see all of these"
    )
    min_confidence: float = parameter(0.5, "least confidence of a needed landmark", minimum=0.0, maximum=1.0)
    max_age_ms: float = parameter(
        200.0,
        "a frame older than this, from mid-exposure to now, holds the beam; a BEAM_ON is valid as long, ms",
        minimum=1.0,
        maximum=5000.0,
    )
    resume_frames: int = parameter(
        3, "good frames in a row before the beam may go on", minimum=1, maximum=1000
    )
    max_couch_age_ms: float = parameter(
        100.0, "a couch position older than this is not known, ms", minimum=1.0, maximum=5000.0
    )

    def __post_init__(self) -> None:
        for name in ("window_lower_mm", "window_upper_mm", "window_axes"):
            if len(getattr(self, name)) != 3:
                raise ValueError(f"{name} needs one value for each of x, y and z")
        lower, upper = np.array(self.window_lower_mm), np.array(self.window_upper_mm)
        if not (np.isfinite([lower, upper]).all() and (lower <= upper).all()):
            raise ValueError("the window's bounds must be finite, and no lower one above its upper one")
        if len(set(self.landmarks)) != len(self.landmarks):
            raise ValueError("landmarks names one twice")
        if self.references_mm and len(self.references_mm) != 3 * len(self.landmarks):
            raise ValueError("references_mm needs x, y and z for each name in landmarks")
        if not any(self.window_axes):
            raise ValueError("window_axes must constrain at least one axis")


@dataclass(frozen=True, eq=False)
class Target:
    """What gate and couch controller agree on about one frame.

    Attributes:
        displacement_mm: (3,) mean of the needed landmarks' positions minus their references, isocenter.
        observed: which axes of it are known.
        reasons: why it must not be acted on; zero where it may. Being outside the window is none.
        couch_mm: (3,) couch position at acquisition, or None where it is not known.
        radius_mm: the largest 95 % radius of the needed landmarks.
    """

    displacement_mm: Array
    observed: tuple[bool, bool, bool]
    reasons: Reason
    couch_mm: Array | None
    radius_mm: float = np.inf


class Gate:
    """Decides on each frame, and on each tick between frames.

    Deterministic: every method takes the time. Decisions depend on frames, couch statuses and
    operator calls only; a tick merely says earlier what the next frame would find.

    Args:
        parameters: when the beam may be on.
        session: identifies this run of the gate to consumers, not 0.
    """

    def __init__(self, parameters: GateParameters, session: int) -> None:
        self.parameters = parameters
        self.session = session
        self.couch = CouchHistory(parameters.max_couch_age_ms)
        self.needs_couch = False
        """Whether a couch that does not say where it is holds the beam: set while it follows the target."""
        self.target: Target | None = None
        """The last frame's target, for the couch controller."""
        self._max_age_ns = int(parameters.max_age_ms * NS_PER_MS)
        self._references: dict[str, Array] = {
            name: np.array(parameters.references_mm[3 * i : 3 * i + 3])
            for i, name in enumerate(parameters.landmarks)
            if parameters.references_mm
        }
        self._armed = False
        self._operator_hold = False
        self._latched = Reason(0)
        self._couch_at_fault = False
        self._good_frames = 0
        self._good_targets = 0
        self._last = LandmarkSet(stamp_ns=0)
        self._sequence = 0

    @property
    def references_mm(self) -> dict[str, Array]:
        """The planned (3,) position of each needed landmark in isocenter, as far as it is known."""
        return dict(self._references)

    # the operator --------------------------------------------------------------------------------

    def arm(self) -> None:
        """Allow the beam; clears what had latched, unless it lasts, but not an operator's hold.

        Forgets when the last frame was, and references that were captured.
        """
        if not self.parameters.references_mm:
            self._references.clear()
        self._armed = True
        self._last = LandmarkSet(stamp_ns=0)
        self._latched = Reason.COUCH_FAULT if self._couch_at_fault else Reason(0)
        self._good_frames = 0

    def disarm(self, now_ns: int) -> GateDecision:
        """Hold until armed again."""
        self._armed = False
        return self._hold(Reason(0), now_ns)

    def set_operator_hold(self, hold: bool, now_ns: int) -> GateDecision | None:
        """Hold until released; a release by itself decides nothing, the next good frames do."""
        self._operator_hold = hold
        return self._hold(Reason(0), now_ns) if hold else None

    def shut_down(self, now_ns: int) -> GateDecision:
        """Return the last decision of this session: HOLD."""
        self._armed = False
        return self._hold(Reason.SHUTDOWN, now_ns)

    # what comes in -------------------------------------------------------------------------------

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
            self._latched |= Reason.COUCH_FAULT

    def tick(self, now_ns: int) -> GateDecision | None:
        """Return a HOLD where the newest frame is too old or something has latched since it; else None."""
        self._latch_backward_time(now_ns)
        if self._silent(now_ns):
            return self.hold_silent(now_ns)
        if self._latched and self._good_frames:
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
        reasons = Reason(0)
        previous_ns = self._last.stamp_ns
        self._latch_backward_time(now_ns)
        if previous_ns and self._silent(now_ns):
            # a tick before this frame would have held: the good frames must be in a row
            reasons |= Reason.FRAME_GAP
        if not 0 < landmarks.stamp_ns <= now_ns + _FUTURE_TOLERANCE_NS or landmarks.stamp_ns < previous_ns:
            self._latched |= Reason.TIME_BACKWARDS
        if now_ns - landmarks.stamp_ns > self._max_age_ns:
            reasons |= Reason.STALE_FRAME
        self._last = landmarks

        reasons |= self._standing_reasons()
        margin_mm, target = self._assess(landmarks, reasons)
        reasons |= target.reasons
        self._good_targets = 0 if reasons else self._good_targets + 1
        wait = Reason(0) if self._good_targets >= self.parameters.resume_frames else Reason.DWELL
        self.target = replace(target, reasons=reasons or wait)
        if not target.reasons and not margin_mm > 0:
            reasons |= Reason.OUTSIDE_WINDOW

        if reasons:
            self._good_frames = 0
        elif landmarks.stamp_ns > previous_ns:
            self._good_frames += 1
        if not reasons and self._good_frames < self.parameters.resume_frames:
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
            target_mm=self._position_mm(landmarks, target),
            stamps=replace(landmarks.stamps, acquired_ns=landmarks.stamp_ns, decided_ns=now_ns),
        )

    # the rules -----------------------------------------------------------------------------------

    def _latch_backward_time(self, now_ns: int) -> None:
        """Latch where the clock was set back behind the last frame: its age can no longer be told."""
        if self._last.stamp_ns > now_ns + _FUTURE_TOLERANCE_NS:
            self._latched |= Reason.TIME_BACKWARDS

    def _silent(self, now_ns: int) -> bool:
        return now_ns - self._last.stamp_ns > self._max_age_ns

    def _standing_reasons(self) -> Reason:
        reasons = self._latched
        if not self._armed:
            reasons |= Reason.NOT_ARMED
        if self._operator_hold:
            reasons |= Reason.OPERATOR_HOLD
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
            reasons=reasons | self._standing_reasons(),
            valid_until_ns=now_ns,
            stamps=LatencyStamps(acquired_ns=self._last.stamp_ns, decided_ns=now_ns),
        )

    def _needed(self, landmarks: LandmarkSet) -> tuple[tuple[str, Estimate | None], ...]:
        by_id = {e.id: e for e in landmarks.estimates}
        # a landmark that was followed since arming is needed even where it is left out
        names = self.parameters.landmarks or dict.fromkeys((*self._references, *by_id))
        return tuple((name, by_id.get(name)) for name in names)

    def _assess(self, landmarks: LandmarkSet, standing: Reason) -> tuple[float, Target]:
        """Return the margin, mm, and the target with everything that is wrong with it.

        Args:
            landmarks: of one frame.
            standing: what holds the beam anyway; references are only captured where nothing does.
        """
        couch_mm = self.couch.position_mm(landmarks.stamp_ns)
        reasons = Reason(0)
        offset_mm: Array = np.zeros(3)
        if landmarks.frame_id not in (ISOCENTER, TABLE_TOP):
            reasons |= Reason.WRONG_FRAME
        if couch_mm is None and (landmarks.frame_id == TABLE_TOP or self.needs_couch):
            reasons |= Reason.COUCH_SILENT
        elif couch_mm is not None and landmarks.frame_id == TABLE_TOP:
            offset_mm = couch_mm

        constrained = np.array(self.parameters.window_axes)
        estimates = []
        needed = self._needed(landmarks)
        counts = Counter(e.id for e in landmarks.estimates)
        for name, estimate in needed:
            if estimate is None:
                reasons |= Reason.LANDMARK_MISSING
                continue
            if counts[name] > 1:
                # nobody knows which of them is right
                reasons |= Reason.LANDMARK_UNCERTAIN
            estimates.append(estimate)
            reasons |= self._faults(estimate, constrained)
        if not needed:
            reasons |= Reason.LANDMARK_MISSING
        if reasons:
            return -np.inf, Target(np.full(3, np.nan), (False, False, False), reasons, couch_mm)

        if not standing and not self._references:
            self._references = {e.id: e.position_mm + offset_mm for e in estimates}
        if not all(e.id in self._references for e in estimates):
            # not captured yet, or a landmark that came after the others were
            reasons = standing or Reason.LANDMARK_MISSING
            return -np.inf, Target(np.full(3, np.nan), (False, False, False), reasons, couch_mm)

        displacements = np.array(
            [e.position_mm + offset_mm - self._references[e.id] for e in estimates]
        )  # (landmark, axis)
        radii = np.array([[e.radius_mm] for e in estimates])
        to_upper = np.array(self.parameters.window_upper_mm) - displacements
        to_lower = displacements - np.array(self.parameters.window_lower_mm)
        margins = np.minimum(to_upper, to_lower) - radii
        x, y, z = np.all([e.observed for e in estimates], axis=0).tolist()
        target = Target(displacements.mean(axis=0), (x, y, z), Reason(0), couch_mm, float(radii.max()))
        return float(margins[:, constrained].min()), target

    def _faults(self, estimate: Estimate, constrained: Array) -> Reason:
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
        if (constrained & ~observed).any():
            reasons |= Reason.UNOBSERVED_AXIS
        return reasons

    def _position_mm(self, landmarks: LandmarkSet, target: Target) -> Array:
        """Return the (3,) centroid of the needed landmarks in isocenter, NaN where it is not known."""
        if target.reasons:
            return np.full(3, np.nan)
        planned = np.mean([self._references[name] for name, _ in self._needed(landmarks)], axis=0)
        position: Array = np.where(target.observed, planned + target.displacement_mm, np.nan)
        return position

"""Where the target will be once the latency has passed, and whether that can be relied on."""

import math
from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from lmtrack_ros.core.errors import unknown_name
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S
from lmtrack_ros.gating.adaptive_linear import AdaptiveLinear
from lmtrack_ros.gating.intake import Intake, Verdict
from lmtrack_ros.gating.kalman import ConstantVelocity

# Predictions nearer to each other than this are not scored separately.
_SCORING_NS = 150 * NS_PER_MS
# Scores from less than this say nothing yet, s.
_MIN_SCORED_S = 2.0
# The share of a limit that a predictor which fell behind must reach before it is used again.
_RETURN = 0.9


@dataclass(frozen=True)
class PredictorParameters:
    """How latency is compensated, and when not.

    An error is the distance between a prediction and the position measured when it comes due, for the
    worst landmark; limits apply to what 95 % of those within the window are not larger than.
    """

    kind: str = parameter(
        "none",
        "what predicts the position the target will have when the beam follows a decision",
        choices=("none", "constant_velocity", "adaptive_linear"),
    )
    window_s: float = parameter(
        20.0, "predictions that came due in this time are judged together, s", minimum=2.0, maximum=300.0
    )
    allowed_error_mm: float = parameter(
        3.0,
        "what the error exceeds this by is added to each landmark's radius, mm",
        minimum=0.0,
        maximum=50.0,
    )
    max_error_mm: float = parameter(
        6.0,
        "with a larger error, or a mean one larger than that of standing still, nothing is predicted, mm",
        minimum=0.0,
        maximum=50.0,
    )
    diverged_mm: float = parameter(
        10.0,
        "an error this large of whatever is in use, prediction or standing still, latches a hold, mm",
        minimum=0.0,
        maximum=100.0,
    )
    diverged_after_s: float = parameter(
        30.0,
        "the hold latches after this time of such an error without a break, s",
        minimum=0.0,
        maximum=300.0,
    )


class Predictor(Protocol):
    """Extrapolates the motion of landmarks.

    Attributes:
        intake: which frames go into the history.
    """

    intake: Intake

    @property
    def ready(self) -> bool:
        """Whether :meth:`predict` gives more than the newest positions."""

    def add(self, stamp_ns: int, positions_mm: Array) -> None:
        """Take in one frame.

        Args:
            stamp_ns: its time.
            positions_mm: (N, 3) in isocenter with the couch's motion taken out; NaN where not observed.
        """

    def predict(self, horizon_ns: int) -> Array:
        """Return the (N, 3) positions at the newest stamp + horizon, NaN where not observed."""

    def reset(self) -> None:
        """Forget everything."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """Where the target will be, and what that is worth.

    Attributes:
        positions_mm: (N, 3) in isocenter, NaN where not observed.
        margin_mm: what to add to the landmarks' 95 % radii, at least 0.
        predicting: whether these are predicted; else they are the newest ones.
        diverged: whether neither predicting nor standing still has been good enough for too long.
    """

    positions_mm: Array
    margin_mm: float
    predicting: bool
    diverged: bool


class StandingStill:
    """Predicts the newest positions."""

    ready = False

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.intake = Intake()

    def add(self, stamp_ns: int, positions_mm: Array) -> None:
        """Take in one frame's (N, 3) positions."""
        self.intake.take(stamp_ns, positions_mm)

    def predict(self, horizon_ns: int) -> Array:
        """Return the newest (N, 3) positions."""
        return self.intake.newest_mm


def make_predictor(kind: str) -> Predictor:
    """Return a new predictor.

    Raises:
        ValueError: no predictor is called that.
    """
    kinds: dict[str, type[Predictor]] = {
        "none": StandingStill,
        "constant_velocity": ConstantVelocity,
        "adaptive_linear": AdaptiveLinear,
    }
    if kind not in kinds:
        raise ValueError(unknown_name("predictor", kind, kinds))
    return kinds[kind]()


def _distance_mm(expected_mm: Array, actual_mm: Array) -> float:
    """Return the largest distance of a landmark in (N, 3) positions, along the axes that are known."""
    # for one or two landmarks quicker than arrays
    return max(
        math.hypot(*(e - a for e, a in zip(expected, actual, strict=True) if e == e))
        for expected, actual in zip(expected_mm.tolist(), actual_mm.tolist(), strict=True)
    )


class _Errors:
    """The distances, mm, scored within a sliding window, kept sorted for their percentile."""

    def __init__(self, window_ns: int) -> None:
        self._window_ns = window_ns
        self._scored: deque[tuple[int, float]] = deque()
        self._sorted: list[float] = []

    def add(self, stamp_ns: int, error_mm: float) -> None:
        self._scored.append((stamp_ns, error_mm))
        insort(self._sorted, error_mm)
        while self._scored[0][0] < stamp_ns - self._window_ns:
            _, old_mm = self._scored.popleft()
            del self._sorted[bisect_left(self._sorted, old_mm)]

    @property
    def telling(self) -> bool:
        """Whether enough is known to judge by."""
        scored = self._scored
        return bool(scored) and scored[-1][0] - scored[0][0] >= _MIN_SCORED_S * NS_PER_S

    def percentile_95_mm(self) -> float:
        """Return what 95 % are not larger than."""
        return self._sorted[math.ceil(0.95 * len(self._sorted)) - 1]

    def mean_mm(self) -> float:
        """Return the mean: unlike the percentile it does not turn on the few errors of one cough."""
        return sum(self._sorted) / len(self._sorted)


class MonitoredPredictor:
    """Predicts, and checks each prediction against the position measured when it comes due.

    A predictor is used while its mean error is below that of standing still and 95 % of its errors are
    below a limit. It is judged further while it is not used, and used again once it is good again, by a
    tenth. It must prove itself before it is used at all. The error of what is in use, prediction or
    standing still, widens the margin; where it stays too large, neither is good enough.

    With kind ``none`` nothing is judged: nobody asked for a prediction.

    Args:
        parameters: which predictor, and its limits.
        beside: one that takes in the same frames first; this one looks at another horizon of the same motion.
    """

    def __init__(self, parameters: PredictorParameters, beside: "MonitoredPredictor | None" = None) -> None:
        self.parameters = parameters
        self._feeds = beside is None
        self._predictor: Predictor = make_predictor(parameters.kind) if beside is None else beside._predictor
        self._window_ns = round(parameters.window_s * NS_PER_S)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        if self._feeds:
            self._predictor.reset()
        self._restart()

    def _restart(self) -> None:
        self._predicted_errors = _Errors(self._window_ns)
        self._standing_errors = _Errors(self._window_ns)
        # of past frames: when due, the prediction if there was one, the positions then
        self._due: deque[tuple[int, Array | None, Array]] = deque()
        self._last: tuple[int, Array] | None = None
        self._using = False
        self._margin_mm = 0.0
        self._too_large_since_ns: int | None = None
        self._diverged = False

    def update(self, stamp_ns: int, positions_mm: Array, horizon_ns: int) -> Prediction:
        """Take in one frame, judge the predictions that have come due, and predict.

        Args:
            stamp_ns: mid-exposure time of the frame.
            positions_mm: (N, 3) in isocenter with the couch's motion taken out; NaN where not observed.
            horizon_ns: how far after the stamp the decision on this frame takes effect.
        """
        predictor = self._predictor
        if self._feeds:
            predictor.add(stamp_ns, positions_mm)
        newest_mm = predictor.intake.newest_mm
        if self.parameters.kind == "none":
            return Prediction(newest_mm, 0.0, predicting=False, diverged=False)

        verdict = predictor.intake.verdict
        if verdict is Verdict.SKIP:
            return Prediction(newest_mm, self._margin_mm, predicting=False, diverged=self._diverged)
        if verdict is Verdict.RESTART:
            self._restart()
        scored = self._score(stamp_ns, newest_mm)
        if scored:
            self._judge(stamp_ns)
        self._last = stamp_ns, newest_mm

        ready = predictor.ready
        predicted_mm = predictor.predict(horizon_ns)
        if not self._due or stamp_ns + horizon_ns - self._due[-1][0] >= _SCORING_NS:
            self._due.append((stamp_ns + horizon_ns, predicted_mm if ready else None, newest_mm))
        predicting = ready and self._using
        return Prediction(
            predicted_mm if predicting else newest_mm, self._margin_mm, predicting, self._diverged
        )

    def _score(self, stamp_ns: int, newest_mm: Array) -> bool:
        """Score what has come due; returns whether anything has."""
        scored = False
        while self._due and self._due[0][0] <= stamp_ns:
            due_ns, predicted_mm, standing_mm = self._due.popleft()
            actual_mm = newest_mm
            if self._last is not None and due_ns < stamp_ns:
                last_ns, last_mm = self._last
                share = (due_ns - last_ns) / (stamp_ns - last_ns)
                actual_mm = last_mm + share * (newest_mm - last_mm)
            if predicted_mm is not None:
                self._predicted_errors.add(due_ns, _distance_mm(predicted_mm, actual_mm))
            self._standing_errors.add(due_ns, _distance_mm(standing_mm, actual_mm))
            scored = True
        return scored

    def _judge(self, stamp_ns: int) -> None:
        limits = self.parameters
        predicted, standing = self._predicted_errors, self._standing_errors
        if predicted.telling:
            # back and forth at a limit would be two different gates in turn
            slack = 1.0 if self._using else _RETURN
            self._using = (
                predicted.mean_mm() <= slack * standing.mean_mm()
                and predicted.percentile_95_mm() <= slack * limits.max_error_mm
            )
        in_use = predicted if self._using else standing
        if not in_use.telling:
            return
        error_mm = in_use.percentile_95_mm()
        self._margin_mm = max(error_mm - limits.allowed_error_mm, 0.0)
        if error_mm <= limits.diverged_mm:
            self._too_large_since_ns = None
        elif self._too_large_since_ns is None:
            self._too_large_since_ns = stamp_ns
        since_ns = self._too_large_since_ns
        self._diverged = since_ns is not None and stamp_ns - since_ns >= limits.diverged_after_s * NS_PER_S

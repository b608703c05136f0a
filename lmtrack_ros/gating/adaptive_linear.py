"""Prediction by regression on the recent motion, learnt while it goes on."""

import math
from collections import deque

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S
from lmtrack_ros.gating.intake import Intake, Verdict

MAX_HORIZON_NS = 1000 * NS_PER_MS
"""Longer horizons are not learnt: the newest positions are the prediction."""

# Ages of the past positions the regression sees, s: dense where they matter most, up to a breath.
# The last two and the running mean, last among the features, also say how alike two situations are.
_AGES_S = np.array([0.1, 0.3, 0.4, 0.8, 1.2, 1.6, 2.4, 3.2, 0.2, 0.6])
_ALIKE = 9
_ALIKE_WEIGHTS = np.repeat([1.0, 1.0, 0.5], 3)
_OLDEST_S = float(_AGES_S.max())
# time constant of the mean position, which tells where in its range the target is
_MEAN_S = 6.0
_BLOCKS = len(_AGES_S) + 1
_FEATURES = 3 * _BLOCKS

_STEP_NS = 50 * NS_PER_MS
_STEPS = MAX_HORIZON_NS // _STEP_NS
_HORIZONS_S = np.array([_STEP_NS * (i + 1) / NS_PER_S for i in range(_STEPS)])
# A measured latency jitters: up to this much off, the regression is scaled and not solved again.
_JITTER_NS = 10 * NS_PER_MS

_MEMORY_S = 60.0
_RIDGE_MM2 = 1.0
_EXAMPLES = 400
# frames nearer than this to the last example teach little new
_SPACING_NS = 150 * NS_PER_MS
_SOLVE_INTERVAL_S = 0.25
_BANDWIDTH = 0.15
_LEARNING_S = 4.0
# of frames, enough for the oldest position and the longest horizon at 100 Hz
_HISTORY = 430
_EYE = np.eye(_FEATURES)
_HORIZONS_IN_USE = 2


class AdaptiveLinear:
    """Ridge regression on the last seconds of 3-D motion, corrected by what followed in similar situations.

    On respiratory motion, linear regression adapted online predicts better than recurrent networks ("Online
    prediction for respiratory movement compensation", Radiation Oncology 18:149, 2023,
    10.1186/s13014-023-02341-1). Here the displacement over the horizon is regressed on past positions and
    a running mean, all three axes together and relative to the newest position: standing still is what
    the ridge shrinks towards, and a drift does no harm. Old examples fade with a time constant of 60 s.
    The Gaussian-weighted mean residual of the remembered examples most like the present (Nadaraya-Watson)
    is then added: breathing in and out differ, which no linear rule can tell.

    Positions between frames are interpolated, so frame rates may vary and frames may be missing. Every
    example teaches all horizons up to 1 s at once, hence a horizon may change without learning anew, and
    two may be asked for in turn.

    Each landmark has its own regression; arrays have the landmarks first.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.intake = Intake()
        self._last_example_ns: int = 0
        self._alike: Array | None = None
        self._restart(0, np.zeros((0, 3)))

    @property
    def ready(self) -> bool:
        """Whether enough has been learnt, and the newest frame was taken in."""
        return self.intake.verdict is not Verdict.SKIP and self._learning_s >= _LEARNING_S

    def add(self, stamp_ns: int, positions_mm: Array) -> None:
        """Take in one frame's (N, 3) positions."""
        positions = self.intake.take(stamp_ns, positions_mm)
        if self.intake.verdict is Verdict.SKIP:
            return
        if self.intake.verdict is Verdict.RESTART:
            self._restart(stamp_ns, positions)
            return
        self._remember(stamp_ns, positions)
        time_s = (stamp_ns - self._start_ns) / NS_PER_S
        if time_s < _OLDEST_S:
            return
        self._observe(time_s, positions)
        self._alike = None
        while self._pending and time_s >= self._pending[0][0] + _HORIZONS_S[-1]:
            self._learn(*self._pending.popleft())
        if stamp_ns - self._last_example_ns >= _SPACING_NS:
            self._last_example_ns = stamp_ns
            self._pending.append((time_s, positions, self._features))

    def predict(self, horizon_ns: int) -> Array:
        """Return the (N, 3) positions at the newest stamp + horizon; the newest ones until ready."""
        if not self.ready or not 0 < horizon_ns <= MAX_HORIZON_NS:
            return self.intake.newest_mm
        solution = self._solution(horizon_ns)
        displacement = solution.displacement_mm(self._features)
        if self._alike is None:
            # how alike the past is to the present hardly depends on the horizon: it is judged once a frame
            self._alike = solution.alike(self._features, displacement)
        displacement += solution.residual_mm(self._alike)
        displacement *= horizon_ns / solution.horizon_ns
        predicted: Array = self._positions[self._end - 1] + displacement + self.intake.unseen
        return predicted

    # history -------------------------------------------------------------------------------------

    def _restart(self, stamp_ns: int, positions: Array) -> None:
        n = len(positions)
        self._start_ns: int = stamp_ns
        self._stamp_ns: int = stamp_ns
        self._last_example_ns = stamp_ns
        # twice as long as needed: its newer half moves to the front when the end is reached
        self._times_s = np.zeros(2 * _HISTORY)
        self._positions = np.zeros((2 * _HISTORY, n, 3))
        self._positions[0] = positions
        self._end = 1
        self._mean = positions
        self._features: Array = np.zeros((n, _FEATURES))
        self._alike = None
        self._pending: deque[tuple[float, Array, Array]] = deque()

        self._learning_s = 0.0
        self._learnt_at_s = -math.inf
        self._gram = np.zeros((n, _FEATURES, _FEATURES))
        self._moment = np.zeros((n, _FEATURES, 3 * _STEPS))
        # of each example: its features, and how it went on
        self._example_features = np.zeros((n, _FEATURES, _EXAMPLES))
        self._example_targets = np.zeros((n, _STEPS, 3, _EXAMPLES))
        self._count = 0
        # the beam's horizon, and the couch's
        self._solutions: list[_Solution] = []

    def _remember(self, stamp_ns: int, positions: Array) -> None:
        if self._end == 2 * _HISTORY:
            self._times_s[:_HISTORY] = self._times_s[_HISTORY:]
            self._positions[:_HISTORY] = self._positions[_HISTORY:]
            self._end = _HISTORY
        time_s = (stamp_ns - self._start_ns) / NS_PER_S
        self._times_s[self._end] = time_s
        self._positions[self._end] = positions
        self._end += 1
        share = 1 - math.exp(-(stamp_ns - self._stamp_ns) / NS_PER_S / min(_MEAN_S, time_s))
        self._mean = self._mean + share * (positions - self._mean)
        self._stamp_ns = stamp_ns

    def _interpolated(self, times_s: Array) -> Array:
        """Return the (T, N, 3) positions at (T,) past times."""
        after = np.maximum(self._times_s[: self._end].searchsorted(times_s), 1)
        before = after - 1
        left_s = self._times_s.take(before)
        share = np.maximum((times_s - left_s) / (self._times_s.take(after) - left_s), 0.0)
        left = self._positions.take(before, axis=0)
        positions: Array = self._positions.take(after, axis=0) - left
        positions *= share[:, None, None]
        positions += left
        return positions

    def _observe(self, time_s: float, positions: Array) -> None:
        blocks = np.empty((len(positions), _BLOCKS, 3))
        past = self._interpolated(time_s - _AGES_S).transpose(1, 0, 2)
        np.subtract(past, positions[:, None], out=blocks[:, :-1])
        np.subtract(self._mean, positions, out=blocks[:, -1])
        self._features = blocks.reshape(-1, _FEATURES)

    # learning ------------------------------------------------------------------------------------

    def _learn(self, time_s: float, positions: Array, features: Array) -> None:
        """Take up one example: what the motion was like at a time, and how it went on."""
        targets = (self._interpolated(time_s + _HORIZONS_S) - positions).transpose(1, 0, 2)  # (N, step, 3)
        elapsed_s = time_s - self._learnt_at_s
        if self._count:
            self._learning_s += elapsed_s
        fading = math.exp(-elapsed_s / _MEMORY_S)
        self._learnt_at_s = time_s
        self._gram *= fading
        self._gram += features[:, :, None] * features[:, None, :]
        self._moment *= fading
        self._moment += features[:, :, None] * targets.reshape(-1, 1, 3 * _STEPS)
        slot = self._count % _EXAMPLES
        self._example_features[..., slot] = features
        self._example_targets[..., slot] = targets
        self._count += 1

    def _solution(self, horizon_ns: int) -> "_Solution":
        """Return an up-to-date solution near a horizon."""
        nearest = min(self._solutions, key=lambda s: abs(horizon_ns - s.horizon_ns), default=None)
        if nearest is None or abs(horizon_ns - nearest.horizon_ns) > _JITTER_NS:
            if nearest is None or len(self._solutions) < _HORIZONS_IN_USE:
                nearest = _Solution(len(self._gram))
                self._solutions.append(nearest)
        elif self._learnt_at_s - nearest.solved_at_s < _SOLVE_INTERVAL_S:
            return nearest
        self._solve(nearest, horizon_ns)
        return nearest

    def _solve(self, solution: "_Solution", horizon_ns: int) -> None:
        known = min(self._count, _EXAMPLES)
        moment = self._moment.reshape(-1, _FEATURES, _STEPS, 3).transpose(0, 2, 1, 3)
        solution.horizon_ns = horizon_ns
        solution.solved_at_s = self._learnt_at_s
        solution.solve(
            self._gram,
            _at_horizon(moment, horizon_ns),
            self._example_features[..., :known],
            _at_horizon(self._example_targets[..., :known], horizon_ns),
        )


class _Solution:
    """The weights for one horizon, and the residuals that they leave of each example.

    Args:
        landmarks: how many there are.
    """

    def __init__(self, landmarks: int) -> None:
        self.horizon_ns = 0
        self.solved_at_s = -math.inf
        # what is compared with the present, of each example: expected displacement, some features,
        # |all these|², 1
        self._situations = np.ones((landmarks, 3 + _ALIKE + 2, _EXAMPLES))
        self._present = np.full((landmarks, 1, 3 + _ALIKE + 2), -0.5)

    def displacement_mm(self, features: Array) -> Array:
        """Return the (N, 3) displacement over the horizon from (N, F) features, by the regression alone."""
        displacement: Array = (features[:, None] @ self._weights)[:, 0]
        return displacement

    def alike(self, features: Array, displacement: Array) -> Array:
        """Return (N, M, 1) how alike each example is to the present, from 0 to 1.

        Args:
            features: (N, F) of the present.
            displacement: (N, 3) that the regression expects.
        """
        # exp(-|a - b|² / (2 bandwidth²)) for each example a and the present b; the product with
        # (b, -1/2, -|b|²/2) gives a b - |a|²/2 - |b|²/2
        present = self._present
        present[:, 0, :3] = displacement
        np.multiply(features[:, -_ALIKE:], _ALIKE_WEIGHTS, out=present[:, 0, 3:-2])
        present[:, 0, -1] = -0.5 * (present[:, 0, :-2] ** 2).sum(axis=1)
        alike: Array = np.exp((present * self._sharpness) @ self._situations[..., : self._known])
        return alike.transpose(0, 2, 1)

    def residual_mm(self, alike: Array) -> Array:
        """Return the (N, 3) mean residual, weighted by (N, M, 1) how alike the examples are."""
        known = min(self._known, alike.shape[1])
        residual = (self._residuals[..., :known] @ alike[:, :known])[
            ..., 0
        ]  # (N, 4), last the sum of weights
        # the 1 keeps the correction small where little is alike
        mean: Array = residual[:, :3] / (residual[:, 3:] + 1.0)
        return mean

    def solve(self, gram: Array, moment: Array, features: Array, targets: Array) -> None:
        """Make the weights, and with them the residuals of the examples.

        Args:
            gram: (N, F, F) sum of products of features.
            moment: (N, F, 3) sum of products of features and displacements.
            features: (N, F, M) of the examples.
            targets: (N, 3, M) their displacements.
        """
        self._known = m = features.shape[-1]
        self._weights = np.linalg.solve(gram + _RIDGE_MM2 * _EYE, moment)  # (N, F, 3)
        expected = self._weights.transpose(0, 2, 1) @ features  # (N, 3, M)
        self._residuals = np.ones((len(expected), 4, m))
        np.subtract(targets, expected, out=self._residuals[:, :3])

        self._situations[:, :3, :m] = expected
        compared = self._situations[:, :-2, :m]
        np.multiply(features[:, -_ALIKE:], _ALIKE_WEIGHTS[:, None], out=compared[:, 3:])
        squares = (compared**2).sum(axis=1)
        self._situations[:, -2, :m] = squares
        spread = squares.mean(axis=1) - (compared.mean(axis=2) ** 2).sum(axis=1)
        # the floor is far below what anything measures
        self._sharpness = 1.0 / (_BANDWIDTH**2 * np.maximum(spread, 1e-6))[:, None, None]


def _at_horizon(by_step: Array, horizon_ns: int) -> Array:
    """Interpolate (N, step, ...) to (N, ...); the displacement at horizon 0 is none."""
    step, rest_ns = divmod(horizon_ns, _STEP_NS)
    share = rest_ns / _STEP_NS
    if not share:
        return by_step[:, step - 1]
    at: Array = share * by_step[:, step]
    return at if step == 0 else at + (1 - share) * by_step[:, step - 1]

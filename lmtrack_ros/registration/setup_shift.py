"""How a patient lies off plan, from landmarks in a pair of radiographs; or why that cannot be told.

Spinous processes repeat: a patient who lies one vertebra too high shows almost the same picture. So a shift
is taken only if landmarks of which there is one say it too, and if every other reading of the picture fits
worse by at least as much as two wrong sights.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.optimize import linear_sum_assignment

from lmtrack_ros.core.frames import Array
from lmtrack_ros.registration.parameters import RegistrationParameters
from lmtrack_ros.registration.rigid_fit import RigidFit, fit
from lmtrack_ros.registration.sights import PlannedLandmark, Sight, farthest, mahalanobis, meeting, projected

_ROUNDS = 6
_UNSURE_MM = 6.0
"""Of a first guess, how far it may put a landmark off: turned patients, breath."""
_ALIKE_MM = 5.0
"""Shifts of one patient that differ by less are one; vertebrae are 15 mm and more apart."""
_DECISIVE = 2
"""Of sights: by as much as so many wrong ones any other reading must fit worse."""
_VIEWS = 2


@dataclass(frozen=True, eq=False)
class SetupShift:
    """How a patient lies off plan.

    Attributes:
        motion: from where the body is planned to where it is, with its covariance.
        names: of the landmarks that were seen where it puts them.
        wrong: how many sights were left out; one past the ends of the planned ones counts half.
    """

    motion: RigidFit
    names: tuple[str, ...]
    wrong: float

    def displacement_mm(self, point_mm: Array) -> Array:
        """Return how far a (3,) point of the body lies off plan, mm."""
        return self.motion.moved(point_mm) - point_mm


@dataclass(frozen=True)
class NoShift:
    """Why there is none, for an operator to read."""

    reason: str


def register(
    plan: Sequence[PlannedLandmark], sights: Sequence[Sight], parameters: RegistrationParameters
) -> SetupShift | NoShift:
    """Return how a patient lies off plan.

    Each reading of the picture begins with one landmark that two views show and one planned of its kind. The
    rest follows: which sight is which landmark, and which are wrong.

    Args:
        plan: landmarks of the plan; kinds with one landmark alone can tell which vertebra is which.
        sights: in two views or more; those of a kind that is not planned say nothing.
        parameters: when to trust.
    """
    kinds = {landmark.kind for landmark in plan}
    sights = [sight for sight in sights if sight.kind in kinds]
    if len({sight.view for sight in sights}) < _VIEWS:
        return NoShift("landmarks are seen in one view only")
    readings = _readings(plan, sights, parameters)
    if not readings:
        return NoShift("the landmarks that are seen fit the plan nowhere")
    best = min(readings, key=lambda one: one.cost)
    refusal = _doubt(best, readings, plan, sights, parameters)
    if refusal:
        return NoShift(refusal)
    return SetupShift(best.motion, tuple(sorted({name for name in best.names if name})), best.wrong)


@dataclass(frozen=True, eq=False)
class _Reading:
    """What a picture may show.

    Attributes:
        motion: of the body.
        names: for each sight, the landmark it is, or empty.
        unique: how many sights are of landmarks of which there is one.
        wrong: how many sights cannot be what they say. One past the ends of its kind's planned landmarks
            counts half: there may be more than the plan shows.
        cost: sum of squared misfits, of each wrong one the most allowed, and of the turns from none.
    """

    motion: RigidFit
    names: tuple[str, ...]
    unique: int
    wrong: float
    cost: float


def _doubt(
    best: _Reading,
    readings: Sequence[_Reading],
    plan: Sequence[PlannedLandmark],
    sights: Sequence[Sight],
    parameters: RegistrationParameters,
) -> str:
    """Return why the best reading is not to be trusted, or nothing."""
    middle = np.mean([landmark.position_mm for landmark in plan], axis=0)
    seen = {name for name in best.names if name}
    if len(seen) < parameters.min_landmarks:
        return f"only {len(seen)} landmarks are seen where one shift puts them, of {parameters.min_landmarks}"
    if len({s.view for s, name in zip(sights, best.names, strict=True) if name}) < _VIEWS:
        return "the landmarks that fit are seen in one view only"
    if best.wrong > parameters.most_wrong_share * len(sights):
        return f"the landmarks contradict each other: {best.wrong:g} of {len(sights)} sights fit no one shift"
    if not best.unique:
        return "no landmark is seen that tells one vertebra from the next"
    here = best.motion.moved(middle)
    for other in readings:
        away_mm = float(np.linalg.norm(other.motion.moved(middle) - here))
        if away_mm > _ALIKE_MM and other.cost - best.cost < _DECISIVE * parameters.most_misfit**2:
            return f"the picture can also be read {away_mm:.0f} mm away, as of the next vertebra"
    if _hangs_on_one(best, plan, sights, parameters):
        return f"without one of the sights the isocentre would be more than {_ALIKE_MM:g} mm away"
    return ""


def _hangs_on_one(
    best: _Reading,
    plan: Sequence[PlannedLandmark],
    sights: Sequence[Sight],
    parameters: RegistrationParameters,
) -> bool:
    """Return whether one sight alone tells where the isocentre is: nothing would show that it is wrong."""
    landmarks = {landmark.name: landmark for landmark in plan}
    pairs = [(landmarks[name], s) for s, name in zip(sights, best.names, strict=True) if name]
    here = best.motion.moved(np.zeros(3))
    for left_out in range(len(pairs)):
        rest = pairs[:left_out] + pairs[left_out + 1 :]
        motion = fit(rest, float(np.radians(parameters.turn_deg)))
        if motion is None or np.linalg.norm(motion.moved(np.zeros(3)) - here) > _ALIKE_MM:
            return True
    return False


def _readings(
    plan: Sequence[PlannedLandmark], sights: Sequence[Sight], parameters: RegistrationParameters
) -> list[_Reading]:
    """Return one reading for each way in which sights can be told apart."""
    found: dict[tuple[str, ...], _Reading] = {}
    tried: list[Array] = []
    for shift_mm in _guesses(plan, sights, parameters):
        if any(np.linalg.norm(shift_mm - other) < _ALIKE_MM for other in tried):
            continue
        tried.append(shift_mm)
        reading = _read(plan, sights, shift_mm, parameters)
        if reading is not None:
            found.setdefault(reading.names, reading)
    return list(found.values())


def _guesses(
    plan: Sequence[PlannedLandmark], sights: Sequence[Sight], parameters: RegistrationParameters
) -> Iterator[Array]:
    """Yield the (3,) shifts that bring some landmark of the plan where two sights of its kind meet."""
    for first, second in combinations(sights, 2):
        if first.kind != second.kind or first.view == second.view:
            continue
        point, _ = meeting([first, second])
        if farthest([first, second], point) > parameters.most_misfit:
            continue
        for landmark in plan:
            if landmark.kind == first.kind:
                yield point - landmark.position_mm


def _read(
    plan: Sequence[PlannedLandmark],
    sights: Sequence[Sight],
    shift_mm: Array,
    parameters: RegistrationParameters,
) -> _Reading | None:
    """Return the reading near a shift; None where too little fits."""
    turn_rad = float(np.radians(parameters.turn_deg))
    placed = [landmark.position_mm + shift_mm for landmark in plan]
    doubts = [landmark.covariance_mm2 + np.eye(3) * _UNSURE_MM**2 for landmark in plan]
    matched: list[int | None] = []
    motion = None
    for _ in range(_ROUNDS):
        before, matched = matched, _matched(plan, sights, placed, doubts, parameters)
        if matched == before:
            break
        motion = _consistent(plan, sights, matched, turn_rad, parameters)
        if motion is None:
            return None
        placed = [motion.moved(landmark.position_mm) for landmark in plan]
        doubts = [
            motion.rotation @ one.covariance_mm2 @ motion.rotation.T + motion.covariance_at(one.position_mm)
            for one in plan
        ]
    if motion is None:
        return None
    misfits = [
        parameters.most_misfit
        if number is None
        else mahalanobis(sight, placed[number][None], doubts[number][None])[0]
        for sight, number in zip(sights, matched, strict=True)
    ]
    wrong = sum(
        0.5 if _beyond(sight, plan, placed) else 1.0
        for sight, number in zip(sights, matched, strict=True)
        if number is None
    )
    of_kind = Counter(landmark.kind for landmark in plan)
    return _Reading(
        motion,
        tuple("" if number is None else plan[number].name for number in matched),
        sum(number is not None and of_kind[plan[number].kind] == 1 for number in matched),
        wrong,
        float(np.square(misfits).sum() + np.square(motion.turn_deg / parameters.turn_deg).sum()),
    )


def _consistent(
    plan: Sequence[PlannedLandmark],
    sights: Sequence[Sight],
    matched: list[int | None],
    turn_rad: float,
    parameters: RegistrationParameters,
) -> RigidFit | None:
    """Return the fit of what is matched, without the sights that contradict the rest; None of too few.

    One at a time is left out: that without which the others agree best.
    """
    kept = [i for i, number in enumerate(matched) if number is not None]
    while True:
        motion = _fitted(plan, sights, matched, kept, turn_rad)
        if motion is None or motion.misfits.max() <= parameters.most_misfit:
            return motion
        without = {i: _fitted(plan, sights, matched, [k for k in kept if k != i], turn_rad) for i in kept}
        sums = {i: float(np.square(one.misfits).sum()) for i, one in without.items() if one is not None}
        if not sums:
            return None
        kept.remove(min(sums, key=lambda i: sums[i]))


def _fitted(
    plan: Sequence[PlannedLandmark],
    sights: Sequence[Sight],
    matched: list[int | None],
    kept: Sequence[int],
    turn_rad: float,
) -> RigidFit | None:
    pairs = [(plan[number], sights[i]) for i in kept if (number := matched[i]) is not None]
    return fit(pairs, turn_rad) if len(pairs) >= _VIEWS else None


def _matched(
    plan: Sequence[PlannedLandmark],
    sights: Sequence[Sight],
    placed: Sequence[Array],
    doubts: Sequence[Array],
    parameters: RegistrationParameters,
) -> list[int | None]:
    """Return for each sight which landmark it is, each at most once in a view, or None."""
    found: list[int | None] = [None] * len(sights)
    groups = {(sight.view, sight.kind) for sight in sights}
    for view, kind in sorted(groups):
        mine = [i for i, s in enumerate(sights) if (s.view, s.kind) == (view, kind)]
        theirs = [j for j, landmark in enumerate(plan) if landmark.kind == kind]
        points, doubt = np.array([placed[j] for j in theirs]), np.array([doubts[j] for j in theirs])
        distances = np.array([mahalanobis(sights[i], points, doubt) for i in mine])
        # what is too far costs the same, however far
        costs = np.minimum(distances, parameters.most_misfit)
        for row, column in zip(*linear_sum_assignment(costs), strict=True):
            if distances[row, column] < parameters.most_misfit:
                found[mine[row]] = theirs[column]
    return found


def _beyond(sight: Sight, plan: Sequence[PlannedLandmark], placed: Sequence[Array]) -> bool:
    """Return whether a sight lies past the ends of the planned landmarks of its kind."""
    points = np.array([p for p, one in zip(placed, plan, strict=True) if one.kind == sight.kind])
    if len(points) < 2:
        return False
    at = projected(sight.projection, points)
    along = np.linalg.svd(at - at.mean(axis=0))[2][0]
    reach = at @ along
    pitch = float(np.ptp(reach)) / (len(points) - 1)
    mine = float(sight.uv_px @ along)
    return not reach.min() - pitch / 2 < mine < reach.max() + pitch / 2

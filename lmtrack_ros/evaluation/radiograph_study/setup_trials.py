"""Set-up shifts from portal images of the test patients: how far off, and what is refused."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np

from lmtrack_ros.configuration import cache_directory
from lmtrack_ros.core import frames
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.records import Frame
from lmtrack_ros.evaluation.bootstrap import mean_interval
from lmtrack_ros.evaluation.overlay import atomic_file
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.models.landmark_net.parameters import LandmarkNetParameters
from lmtrack_ros.models.landmark_net.populations import seeds_of
from lmtrack_ros.models.landmark_net.tracker import LandmarkNetTracker
from lmtrack_ros.models.parts import Part
from lmtrack_ros.phantoms import portal_cases
from lmtrack_ros.phantoms.portal import LANDMARK_NAMES
from lmtrack_ros.phantoms.portal_cases import VIEWS, Radiographs
from lmtrack_ros.registration.parameters import PlanParameters, RegistrationParameters
from lmtrack_ros.registration.planning import planned_positions
from lmtrack_ros.registration.setup_shift import NoShift, register
from lmtrack_ros.registration.sights import PlannedLandmark, Sight, sights_of
from lmtrack_ros.trackers.measurement import radius_mm

_WRONG_SHARE, _WRONG_MM = 0.25, 20.0
_DEFAULT = RegistrationParameters()
_TOLERANT = RegistrationParameters(most_wrong_share=0.3)
"""Leaves so many out, where the default refuses."""
_VERTEBRA_TRIALS = 200
_TARGET_OFF_MM = 50.0
"""From the isocentre to a target whose place is told too, in a direction by chance."""
_SIDES = 2
"""Of those VIEWS that are not planned, and of those that are."""
_SEED = 0

_INTRODUCTION = """\
**Simulated portal images**, 1.2 mm pixels at the detector, 0.8 mm at the isocentre: {anatomies} anatomies
that the network has never seen, each in {poses} poses, seen by megavolt beams from the front and from the
left. Each lies up to 20 mm off plan along, and turned by up to 3° about, each axis, and breathes; the
plan is of the end of an exhale. The planned landmarks are those of the planning CT; *plan from
radiographs*: those that the same network finds in the planned radiographs. Errors are of where the
isocentre, and a target 50 mm away from it, lie; *within* is the share of the errors at the isocentre that
the 95 % radius holds. *One wrong*, *a quarter wrong*: of the landmarks that are found in each pair, so
many are moved by 20 mm at the isocentre, in a direction by chance; by default no shift is given where
more than 16 % must be left out, with `most_wrong_share: 0.3` three in ten may be. *One vertebra farther
off*: so many pairs drawn by chance, every other one towards the head. Weights: `{weights}`."""

_HEADINGS = (
    "number",
    "no shift",
    "isocentre: mean mm (95 % interval)",
    "95 % mm",
    "worst mm",
    "target: mean mm",
    "95 % mm",
    "within",
    "median radius mm",
)
_NUMBERS = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True, eq=False)
class _Pair:
    """Portal images of one pose, and what is true of them.

    Attributes:
        plan: landmarks in isocenter, of the planning CT.
        found: likewise, as the planned radiographs show them.
        sights: what the network sees.
        error: (4, 4) from plan to where the patient lies.
        target_mm: (3,) planned.
        subject: number of the anatomy.
    """

    plan: tuple[PlannedLandmark, ...]
    found: tuple[PlannedLandmark, ...]
    sights: tuple[Sight, ...]
    error: Array
    target_mm: Array
    subject: int

    @property
    def pitch_mm(self) -> float:
        """Mean distance from a spinous process to the next."""
        along = sorted(p.position_mm[1] for p in self.plan if p.kind == "spinous_process")
        return float(np.mean(np.diff(along)))


@dataclass(frozen=True)
class _Outcome:
    """Of a registration: errors and radii at isocentre and target, mm; or why there is none."""

    subject: int
    isocentre_mm: float = np.nan
    target_mm: float = np.nan
    radius_mm: float = np.nan
    refused: str = ""


def conduct(order: Order) -> Path:
    """Register the test patients' portal images; returns the page.

    Raises:
        UserError: recordings were ordered, or there are no such weights.
    """
    if order.recordings:
        raise UserError("this study is of simulated patients: leave out --recordings")
    parameters = LandmarkNetParameters(**({"weights": order.weights} if order.weights else {}))
    pairs = _pairs(LandmarkNetTracker(parameters), partial(order.progress, "set-ups"))
    rng = np.random.default_rng(_SEED)
    plain = [_registered(pair) for pair in pairs]
    as_found = [_registered(replace(pair, plan=pair.found)) for pair in pairs]
    one_wrong = [_registered(_with_wrong(pair, 1, rng)) for pair in pairs]
    wrong_pairs = [_with_wrong(pair, round(_WRONG_SHARE * len(pair.sights)), rng) for pair in pairs]
    disturbed = [_registered(pair) for pair in wrong_pairs]
    tolerated = [_registered(pair, _TOLERANT) for pair in wrong_pairs]
    chosen = [pairs[number] for number in rng.integers(len(pairs), size=_VERTEBRA_TRIALS)]
    moved = [_registered(_one_vertebra_off(pair, sign)) for pair, sign in zip(chosen, cycle((-1, 1)))]
    wrong = sum(one.isocentre_mm > pair.pitch_mm / 2 for one, pair in zip(moved, chosen, strict=True))
    path = order.out / "setup.md"
    introduction = _INTRODUCTION.format(
        anatomies=len({pair.subject for pair in pairs}),
        poses=portal_cases.POSES,
        weights=parameters.weights,
    )
    table = [f"| pairs | {' | '.join(_HEADINGS)} |", f"|---|{'--:|' * len(_HEADINGS)}"]
    lines = [
        "# LandmarkNet: set-up shifts",
        "",
        f"Made by `{order.command}`; do not edit.",
        "",
        introduction,
        "",
        *table,
        _row("as they are", plain),
        _row("plan from radiographs", as_found),
        _row("one wrong", one_wrong),
        _row("a quarter wrong", disturbed),
        _row("a quarter wrong, three in ten left out", tolerated),
        _row("one vertebra farther off", moved),
        "",
        f"One vertebra farther off, in {wrong} of {len(moved)} pairs a shift is given that is off by more "
        "than half a vertebra.",
        "",
        "## Why there is no shift",
        "",
        "| reason | as they are | plan from radiographs | one wrong | a quarter wrong | one vertebra off |",
        "|---|--:|--:|--:|--:|--:|",
        *_reasons(plain, as_found, one_wrong, disturbed, moved),
        "",
    ]
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
    return path


def _pairs(tracker: LandmarkNetTracker, progress: Callable[[int, int], None]) -> list[_Pair]:
    seeds = seeds_of(Part.TEST)
    rng = np.random.default_rng(_SEED)
    pairs = []
    for subject, seed in enumerate(seeds):
        (of,) = portal_cases.load([seed], cache_directory("portal_cases"))
        pairs += [_pair(tracker, of, pose, subject, rng) for pose in range(len(of.images))]
        progress(subject + 1, len(seeds))
    return pairs


def _pair(
    tracker: LandmarkNetTracker, of: Radiographs, pose: int, subject: int, rng: np.random.Generator
) -> _Pair:
    sights: list[Sight] = []
    planned: list[Sight] = []
    for number, view in enumerate(VIEWS):
        geometry = view.geometry
        found = tracker.update(Frame(1, of.images[pose, number], geometry))
        into = planned if view.is_reference else sights
        into += sights_of(found, number % _SIDES, geometry)
    of_ct = dict(zip(LANDMARK_NAMES, of.planned_mm[pose], strict=True))
    away = rng.standard_normal(3)
    target_mm = _TARGET_OFF_MM * away / np.linalg.norm(away)
    return _Pair(
        _plan(of_ct),
        _plan(planned_positions(planned, RegistrationParameters().most_misfit)),
        tuple(sights),
        of.setup_errors[pose],
        target_mm,
        subject,
    )


def _plan(positions_mm: Mapping[str, Array]) -> tuple[PlannedLandmark, ...]:
    parameters = PlanParameters(
        names=tuple(positions_mm), positions_mm=tuple(np.ravel(list(positions_mm.values())).tolist())
    )
    return parameters.plan


def _with_wrong(pair: _Pair, count: int, rng: np.random.Generator) -> _Pair:
    moved = set(rng.choice(len(pair.sights), min(count, len(pair.sights)), replace=False).tolist())
    sights = []
    for number, sight in enumerate(pair.sights):
        angle = rng.uniform(0, 2 * np.pi)
        # at the isocentre, where a millimetre is as many pixels as the matrix says of its own axis
        px_per_mm = np.linalg.norm(sight.projection[0, :3]) / sight.projection[2, 3]
        off_px = _WRONG_MM * px_per_mm * np.array([np.cos(angle), np.sin(angle)])
        sights.append(replace(sight, uv_px=sight.uv_px + off_px) if number in moved else sight)
    return replace(pair, sights=tuple(sights))


def _one_vertebra_off(pair: _Pair, sign: int) -> _Pair:
    along = np.array([0.0, sign * pair.pitch_mm, 0.0])
    plan = tuple(replace(one, position_mm=one.position_mm - along) for one in pair.plan)
    return replace(pair, plan=plan, error=pair.error @ frames.rigid(np.eye(3), along))


def _registered(pair: _Pair, parameters: RegistrationParameters = _DEFAULT) -> _Outcome:
    shift = register(pair.plan, pair.sights, parameters)
    if isinstance(shift, NoShift):
        return _Outcome(pair.subject, refused=_NUMBERS.sub("N", shift.reason))
    covariance = shift.motion.covariance_at(np.zeros(3))

    def off_mm(point_mm: Array) -> float:
        return float(np.linalg.norm(shift.motion.moved(point_mm) - frames.apply(pair.error, point_mm)))

    return _Outcome(
        pair.subject,
        off_mm(np.zeros(3)),
        off_mm(pair.target_mm),
        radius_mm(np.linalg.eigvalsh(covariance)),
    )


def _row(name: str, of: Sequence[_Outcome]) -> str:
    given = [one for one in of if not one.refused]
    if not given:
        return f"| {name} | {len(of)} | 100.0% |{' – |' * (len(_HEADINGS) - 2)}"
    isocentre, target, radius = (
        np.array([getattr(one, which) for one in given])
        for which in ("isocentre_mm", "target_mm", "radius_mm")
    )
    by_subject = [
        np.array([one.isocentre_mm for one in given if one.subject == subject])
        for subject in sorted({one.subject for one in given})
    ]
    low, high = mean_interval(by_subject)
    cells = [
        f"{len(of)}",
        f"{1 - len(given) / len(of):.1%}",
        f"{isocentre.mean():.2f} ({low:.2f}–{high:.2f})",
        f"{np.quantile(isocentre, 0.95):.2f}",
        f"{isocentre.max():.2f}",
        f"{target.mean():.2f}",
        f"{np.quantile(target, 0.95):.2f}",
        f"{(isocentre <= radius).mean():.1%}",
        f"{np.median(radius):.2f}",
    ]
    return f"| {name} | {' | '.join(cells)} |"


def _reasons(*of: Sequence[_Outcome]) -> list[str]:
    counts = [Counter(one.refused for one in outcomes if one.refused) for outcomes in of]
    return [
        f"| {reason} | {' | '.join(str(count[reason]) for count in counts)} |"
        for reason in sorted(set().union(*counts))
    ]

"""Landmarks in two radiographs become a shift that is exact, honest about its error, or refused."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from lmtrack_ros.core import frames
from lmtrack_ros.core.geometry import Modality, Mount
from lmtrack_ros.phantoms.xray.projector import projection_geometry
from lmtrack_ros.registration.planning import planned_positions
from lmtrack_ros.registration.rigid_fit import fit
from lmtrack_ros.registration.setup_shift import NoShift, RegistrationParameters, SetupShift, register
from lmtrack_ros.registration.sights import PlannedLandmark, Sight, meeting, projected

PIXEL_MM = 0.8
SIGMA_PX = 1.0
PARAMETERS = RegistrationParameters()
TURN_RAD = float(np.radians(PARAMETERS.turn_deg))
VIEWS = tuple(
    projection_geometry(Modality.PORTAL, 384, 1.2, gantry_deg, Mount.ROOM).projection
    for gantry_deg in (0.0, 90.0)
)
SPINE = [(f"T{4 + i}", "spinous_process", (0.0, 60.0 - 22.0 * i, -75.0 - 2.0 * abs(i - 2))) for i in range(5)]
ONES = [
    ("bifurcation", "tracheal_bifurcation", (3.0, 40.0, 5.0)),
    ("sternal angle", "sternal_angle", (0.0, 70.0, 95.0)),
]
PLAN = [PlannedLandmark(name, kind, np.array(at), np.eye(3) * 0.25) for name, kind, at in (*SPINE, *ONES)]


def sights_of(
    transform: frames.Array,
    rng: np.random.Generator | None = None,
    plan: Sequence[PlannedLandmark] = PLAN,
    sigma_px: float = SIGMA_PX,
) -> list[Sight]:
    """Return what two views show of a patient who has moved; with noise where there is a generator."""
    sights = []
    for view, projection in enumerate(VIEWS):
        for landmark in plan:
            if landmark.kind == "sternal_angle" and view == 0:
                continue
            at_mm = landmark.position_mm
            if rng is not None:
                at_mm = rng.multivariate_normal(at_mm, landmark.covariance_mm2)
            uv = projected(projection, frames.apply(transform, at_mm))
            if rng is not None:
                uv = uv + rng.normal(0.0, sigma_px, 2)
            sights.append(Sight(landmark.kind, view, projection, uv, np.eye(2) * sigma_px**2))
    return sights


def moved(shift_mm: Sequence[float], turned_deg: Sequence[float] = (0, 0, 0)) -> frames.Array:
    return frames.isocenter_from_table_top(shift_mm, np.radians(turned_deg))


def test_rays_of_two_views_meet_in_the_landmark() -> None:
    both = [s for s in sights_of(np.eye(4)) if s.kind == "tracheal_bifurcation"]
    point, covariance = meeting(both)
    np.testing.assert_allclose(point, (3.0, 40.0, 5.0), atol=1e-6)
    # both views see the height, one each of the others; 0.8 mm a pixel
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), (0.8, 0.8 / np.sqrt(2), 0.8), rtol=0.1)


def test_planned_radiographs_give_the_plan() -> None:
    sights = [
        s for s in sights_of(np.eye(4), sigma_px=0.1) if not (s.view == 1 and s.kind == "sternal_angle")
    ]
    # out of order, and one is seen from one side only
    positions = planned_positions(sights[::-1], PARAMETERS.most_misfit)
    expected = {f"spinous_process_{n}": at for n, (_, _, at) in enumerate(SPINE, 1)}
    assert positions.keys() == {*expected, "tracheal_bifurcation"}
    for name, at in {**expected, "tracheal_bifurcation": ONES[0][2]}.items():
        np.testing.assert_allclose(positions[name], at, atol=1e-4)


def test_views_that_share_no_landmark_give_no_plan() -> None:
    assert planned_positions([s for s in sights_of(np.eye(4)) if s.view == 0], 3.5) == {}
    assert planned_positions([], 3.5) == {}


@pytest.mark.parametrize("turned_deg", [(0, 0, 0), (1.5, -2.0, 2.5)])
def test_exact_sights_give_the_exact_motion(turned_deg: Sequence[float]) -> None:
    transform = moved((12.0, -7.0, 15.0), turned_deg)
    # what is known of a plan exactly outweighs how little patients usually lie turned
    plan = [replace(one, covariance_mm2=np.eye(3) * 1e-6) for one in PLAN]
    found = register(plan, sights_of(transform, sigma_px=1e-3), PARAMETERS)
    assert isinstance(found, SetupShift)
    assert found.motion.turns == 3
    np.testing.assert_allclose(found.motion.transform, transform, atol=1e-4)
    assert len(found.names) == 7
    assert found.wrong == 0
    np.testing.assert_allclose(found.displacement_mm(np.zeros(3)), (12.0, -7.0, 15.0), atol=1e-3)


def test_kind_that_is_not_planned_says_nothing() -> None:
    transform = moved((12.0, -7.0, 15.0))
    plan = [one for one in PLAN if one.kind != "sternal_angle"]
    found = register(plan, sights_of(transform, sigma_px=1e-3), PARAMETERS)
    assert isinstance(found, SetupShift)
    assert found.wrong == 0
    assert len(found.names) == 6


def test_great_turn_is_less_likely_than_it_fits() -> None:
    # the sights alone say 10 degrees, more than patients lie turned
    found = register(PLAN, sights_of(moved((0.0, 0.0, 0.0), (0.0, 0.0, 10.0)), sigma_px=0.1), PARAMETERS)
    assert isinstance(found, NoShift) or abs(found.motion.turn_deg[2]) < 10.0


def test_covariance_tells_how_far_off_the_motion_is() -> None:
    rng = np.random.default_rng(0)
    target = np.array([40.0, 20.0, 30.0])
    squares, errors = [], []
    for _ in range(200):
        turned = np.degrees(rng.normal(0.0, TURN_RAD, 3))
        transform = moved(rng.uniform(-15, 15, 3), turned)
        pairs = list(zip([*PLAN[:6], *PLAN], sights_of(transform, rng), strict=True))
        motion = fit(pairs, TURN_RAD)
        assert motion is not None
        off = motion.moved(target) - frames.apply(transform, target)
        errors.append(np.linalg.norm(off))
        squares.append(off @ np.linalg.solve(motion.covariance_at(target), off))
    # of three degrees of freedom
    assert np.mean(squares) == pytest.approx(3.0, rel=0.2)
    assert np.mean(errors) < 2.5


def test_landmarks_on_a_line_tell_no_turn_about_it() -> None:
    line = [
        PlannedLandmark(name, kind, np.array([0.0, at[1], -75.0]), np.eye(3) * 0.01)
        for name, kind, at in SPINE
    ]
    transform = moved((3.0, 2.0, 1.0), (1.0, 2.5, -1.0))
    pairs = list(zip([*line, *line], sights_of(transform, plan=line), strict=True))
    motion = fit(pairs, TURN_RAD)
    assert motion is not None
    assert motion.turns == 2
    assert motion.condition > 1e3
    angles = np.degrees([motion.rotation[2, 1], motion.rotation[0, 2], motion.rotation[1, 0]])
    np.testing.assert_allclose(angles, (1.0, 0.0, -1.0), atol=0.2)
    # far from the line, the turn that is not known counts; on it, it does not
    far, near = np.array([0.0, 16.0, 25.0]), np.array([0.0, 16.0, -75.0])
    assert np.sqrt(motion.covariance_at(far)[0, 0]) == pytest.approx(100.0 * TURN_RAD, rel=0.05)
    assert np.sqrt(np.diag(motion.covariance_at(near))).max() < 1.0


def test_one_view_alone_is_refused() -> None:
    sights = [s for s in sights_of(np.eye(4)) if s.view == 0]
    assert register(PLAN, sights, PARAMETERS) == NoShift("landmarks are seen in one view only")


def test_spine_alone_is_refused() -> None:
    sights = [s for s in sights_of(np.eye(4)) if s.kind == "spinous_process"]
    found = register(PLAN, sights, PARAMETERS)
    assert isinstance(found, NoShift)


def test_too_few_are_refused() -> None:
    sights = [s for s in sights_of(np.eye(4)) if s.kind != "spinous_process"]
    found = register(PLAN, sights, PARAMETERS)
    assert isinstance(found, NoShift)
    assert "only 2 landmarks" in found.reason


def test_shift_by_a_vertebra_is_seen_or_refused_never_taken_for_none() -> None:
    rng = np.random.default_rng(1)
    seen = 0
    for trial in range(60):
        vertebra = 22.0 * (1 if trial % 2 else -1)
        transform = moved((rng.normal(0, 3), vertebra, rng.normal(0, 3)), rng.normal(0, 1, 3))
        shown = [s for s in sights_of(transform, rng) if rng.random() > 0.1]
        found = register(PLAN, shown, PARAMETERS)
        if isinstance(found, SetupShift):
            seen += 1
            middle = np.array([0.0, 20.0, 0.0])
            off = found.motion.moved(middle) - frames.apply(transform, middle)
            assert np.linalg.norm(off) < 5.0
    assert seen > 45


@pytest.mark.parametrize("which", range(7))
def test_one_wrong_landmark_is_left_out_or_the_shift_refused(which: int) -> None:
    rng = np.random.default_rng(2)
    taken = 0
    for _ in range(5):
        transform = moved(rng.uniform(-10, 10, 3), rng.normal(0, 1, 3))
        way = rng.normal(size=3)
        wrong = frames.rigid(translation_mm=20.0 * way / np.linalg.norm(way))
        plan = [
            PlannedLandmark(one.name, one.kind, frames.apply(wrong, one.position_mm), one.covariance_mm2)
            if number == which
            else one
            for number, one in enumerate(PLAN)
        ]
        found = register(PLAN, sights_of(transform, rng, plan), PARAMETERS)
        if isinstance(found, SetupShift):
            taken += 1
            middle = np.array([0.0, 20.0, 0.0])
            off = found.motion.moved(middle) - frames.apply(transform, middle)
            assert np.linalg.norm(off) < 3.0
    assert taken > 1

"""Pairs of radiographs: which are one, and where they say that the target is."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lmtrack_ros.core import frames
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import ImageGeometry, Modality, Mount
from lmtrack_ros.core.parameters import build
from lmtrack_ros.core.records import (
    NS_PER_MS,
    NS_PER_S,
    Frame,
    Landmark,
    LandmarkSet,
    LatencyStamps,
    MarkedLandmarks,
    Reason,
    Status,
)
from lmtrack_ros.gating.parameters import GatingParameters
from lmtrack_ros.gating.session import Session
from lmtrack_ros.phantoms.xray.projector import projection_geometry
from lmtrack_ros.pipeline import Pipeline, Timing
from lmtrack_ros.registration.parameters import TARGET, PlanParameters
from lmtrack_ros.trackers.follower import Follower
from lmtrack_ros.trackers.measurement import to_estimate, to_set
from lmtrack_ros.trackers.pair_follower import PairFollower
from lmtrack_ros.trackers.parameters import TrackerParameters

NAMES = (*(f"spinous_process_T{number}" for number in range(4, 9)), "tracheal_bifurcation", "sternal_angle")
PLANNED_MM = np.array(
    [[0, 60 - 21 * i, -90 - 3 * i] for i in range(5)] + [[5, 55, -20], [0, 70, 80]], dtype=float
)
PLAN = PlanParameters(names=NAMES, positions_mm=tuple(PLANNED_MM.ravel()), target_mm=(10.0, -20.0, 5.0))
FRONT, LEFT, OBLIQUE = (
    projection_geometry(Modality.PORTAL, 384, 1.2, gantry_deg, Mount.ROOM) for gantry_deg in (0.0, 90.0, 45.0)
)
LIES = frames.isocenter_from_table_top((8.0, -12.0, 5.0), np.radians((1.0, -2.0, 1.5)))
NOISE = np.random.default_rng(0).integers(0, 255, (384, 384), np.uint8)


class Sharp:
    """Sees the landmarks of a patient who lies somewhere exactly where they project."""

    name = "sharp"
    needs_initialization = False
    landmark_ids = NAMES

    def __init__(self, placed: Any = LIES) -> None:
        self.placed = placed

    def initialize(self, frame: Frame, landmarks: Sequence[Landmark]) -> None:
        raise AssertionError("nothing is to be marked")

    def update(self, frame: Frame) -> LandmarkSet:
        geometry = frame.geometry
        assert geometry is not None
        assert geometry.projection is not None
        estimates = []
        for name, position in zip(NAMES, frames.apply(self.placed, PLANNED_MM), strict=True):
            column, row, scale = geometry.projection @ np.append(position, 1.0)
            uv_px = (column / scale, row / scale)
            estimates.append(
                to_estimate(Landmark(name, uv_px), geometry, Status.TRACKED, uv_px, (1.0, 1.0), 0.9)
            )
        return to_set(frame, self.name, estimates)


def follower(tracker: Any = None, plan: PlanParameters = PLAN) -> PairFollower:
    seen = tracker or Sharp()
    return PairFollower(lambda: Follower(seen, frozen_frames=0, session=7), plan)


def frame(geometry: ImageGeometry | None, ms: int) -> Frame:
    return Frame(NS_PER_S + ms * NS_PER_MS, NOISE, geometry)


def test_second_image_of_a_pair_tells_where_the_target_is() -> None:
    pairs = follower()
    assert pairs.update(frame(FRONT, 0)) is None
    found = pairs.update(frame(LEFT, 1))
    assert found is not None
    assert (found.stamp_ns, found.session, found.frame_id) == (NS_PER_S + NS_PER_MS, 7, "isocenter")
    target, *seen = found.estimates
    assert [one.id for one in seen] == list(NAMES)
    assert (target.id, target.status, target.observed) == (TARGET, Status.TRACKED, (True, True, True))
    np.testing.assert_allclose(target.position_mm, frames.apply(LIES, np.array(PLAN.target_mm)), atol=0.5)
    assert 0.5 < target.radius_mm < 6
    assert target.confidence == 1.0
    assert "of 14 sights wrong" in pairs.remarks["registration"]


def test_pairs_share_no_image() -> None:
    pairs = follower()
    answers = [pairs.update(frame(g, 10 * i)) is not None for i, g in enumerate((FRONT, LEFT, LEFT, FRONT))]
    assert answers == [False, True, False, True]


@pytest.mark.parametrize(("second", "ms"), [(FRONT, 10), (LEFT, 201)], ids=["same view", "too late"])
def test_images_that_are_no_pair(second: ImageGeometry, ms: int) -> None:
    pairs = follower()
    pairs.update(frame(FRONT, 0))
    assert pairs.update(frame(second, ms)) is None
    other = LEFT if second is FRONT else FRONT
    assert pairs.update(frame(other, ms + 1)) is not None


@pytest.mark.parametrize(
    ("geometry", "fault"),
    [(OBLIQUE, Reason.GEOMETRY_CHANGED), (None, Reason.GEOMETRY_MISSING)],
    ids=["third view", "no geometry"],
)
def test_what_is_of_no_view_is_answered_at_once(geometry: ImageGeometry | None, fault: Reason) -> None:
    pairs = follower()
    for number, one in enumerate((FRONT, LEFT, FRONT)):
        pairs.update(frame(one, number))
    found = pairs.update(frame(geometry, 3))
    assert found is not None
    assert found.faults == fault
    assert [(e.id, e.status) for e in found.estimates] == [(TARGET, Status.LOST)]
    # and the image before it is of no pair
    assert pairs.update(frame(LEFT, 4)) is None


def test_faulty_image_is_answered_at_once() -> None:
    pairs = follower()
    pairs.update(frame(FRONT, 0))
    found = pairs.update(replace(frame(LEFT, 1), image=np.zeros((384, 384), np.uint8)))
    assert found is not None
    assert found.faults == Reason.BLACK_IMAGE
    assert {e.status for e in found.estimates} == {Status.LOST}


def test_no_shift_is_lost_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    # the patient lies head first where the plan has him feet first
    turned = frames.isocenter_from_table_top((0, 0, 0), (0, 0, np.pi))
    pairs = follower(Sharp(turned))
    pairs.update(frame(FRONT, 0))
    found = pairs.update(frame(LEFT, 1))
    assert found is not None
    assert found.estimates[0].status is Status.LOST
    assert found.faults == Reason(0)
    assert pairs.remarks["registration"].startswith("no shift: ")
    assert "no shift: " in caplog.text


def test_marks_are_not_taken() -> None:
    pairs = follower()
    pairs.update(frame(FRONT, 0))
    pairs.initialize(frame(LEFT, 1), ())
    assert not pairs.needs_initialization
    assert pairs.update(frame(LEFT, 2)) is None


def test_model_that_needs_marks_is_refused() -> None:
    class Blind(Sharp):
        needs_initialization = True

    with pytest.raises(UserError, match="finds landmarks by itself, not sharp"):
        follower(Blind())


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"names": ["a"], "positions_mm": [0.0]}, "positions_mm needs x, y and z"),
        ({"names": ["a"], "positions_mm": [0.0] * 3, "sigma_mm": [1.0, 2.0]}, "sigma_mm needs positive"),
        (
            {"names": ["a"], "positions_mm": [0.0] * 3, "sigma_mm": [1.0, 0.0, 1.0]},
            "sigma_mm needs positive",
        ),
        ({"target_mm": [1.0]}, "target_mm needs x, y and z"),
    ],
    ids=["positions", "sigmas", "zero", "target"],
)
def test_plan_that_does_not_fit_together(values: dict[str, Any], why: str) -> None:
    with pytest.raises(UserError, match=why):
        build(PlanParameters, values, "plan")


def test_there_is_no_second_opinion_of_a_registration() -> None:
    with pytest.raises(ValueError, match="there is none of a registration"):
        TrackerParameters(tracker="landmark_net", second_opinion=True, registration=PLAN)


@pytest.mark.parametrize("live", [True, False], ids=["as it was decided live", "every frame"])
def test_replay_decides_once_for_each_pair(live: bool) -> None:
    shown = [frame(g, 100 * pair + i) for pair in range(4) for i, g in enumerate((FRONT, LEFT))]
    later = {f.stamp_ns: LatencyStamps(f.stamp_ns, f.stamp_ns, f.stamp_ns, f.stamp_ns) for f in shown[1::2]}
    session = Session(
        GatingParameters(
            landmarks=(TARGET,), references_mm=PLAN.target_mm, resume_frames=1, max_age_ms=500.0
        ),
        1,
    )
    session.gate.arm()
    timing = Timing(0, later) if live else Timing(0)
    steps = list(Pipeline(follower(), MarkedLandmarks(), session, timing).run(shown))
    assert [step.frame.stamp_ns for step in steps] == [f.stamp_ns for f in shown[1::2]]
    off_mm = np.linalg.norm(frames.apply(LIES, np.array(PLAN.target_mm)) - PLAN.target_mm)
    assert off_mm > 10
    assert all(step.decision.reasons & Reason.OUTSIDE_WINDOW for step in steps)

"""LandmarkNet as a tracker, with the weights that come along, on a patient whom it has never seen."""

from collections.abc import Mapping

import numpy as np
import pytest

pytest.importorskip("torch")

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.records import Frame, Landmark, Status
from lmtrack_ros.inference.parameters import InferenceParameters
from lmtrack_ros.models.landmark_net import KINDS
from lmtrack_ros.models.landmark_net.parameters import LandmarkNetParameters
from lmtrack_ros.models.landmark_net.tracker import MOST_REPEATED, LandmarkNetTracker
from lmtrack_ros.phantoms import PhantomParameters
from lmtrack_ros.phantoms.portal import PortalPhantom
from lmtrack_ros.registration.sights import kind_of

EAGER = InferenceParameters(device="cpu", backend="eager")
NONE_MM = np.zeros(3)
SEED = 9018


@pytest.fixture(scope="module")
def phantom() -> PortalPhantom:
    return PortalPhantom(PhantomParameters("mv_90", SEED))


@pytest.fixture
def tracker() -> LandmarkNetTracker:
    return LandmarkNetTracker(LandmarkNetParameters(inference=EAGER))


def image_of(phantom: PortalPhantom, time_s: float) -> tuple[Frame, Mapping[str, Array]]:
    return phantom.render(1 + round(time_s * 1e9), time_s), phantom.shown_px(time_s, NONE_MM)


def test_finds_each_landmark_of_another_patient(tracker: LandmarkNetTracker, phantom: PortalPhantom) -> None:
    assert not tracker.needs_initialization
    away_mm, radius_mm = [], []
    for time_s in (0.0, 1.3, 2.9):
        frame, true_px = image_of(phantom, time_s)
        found = tracker.update(frame).estimates
        assert [e.id for e in found] == list(tracker.landmark_ids)
        for kind in KINDS:
            seen = [e for e in found if kind_of(e.id) == kind and e.status is not Status.LOST]
            there = [uv for name, uv in true_px.items() if name.startswith(kind)]
            assert len(seen) == len(there)
            for one, true in zip(seen, sorted(there, key=lambda uv: float(uv[1])), strict=True):
                off_px = float(np.linalg.norm(np.array(one.uv_px) - true))
                assert off_px < 6
                if one.status is Status.TRACKED:
                    away_mm.append(off_px * phantom.geometry.plane_spacing_mm[0])
                    radius_mm.append(one.radius_mm)
    assert len(away_mm) > 12
    assert np.mean(np.array(away_mm) <= radius_mm) > 0.9


def test_spinous_processes_are_numbered_from_the_head_on(
    tracker: LandmarkNetTracker, phantom: PortalPhantom
) -> None:
    frame, _ = image_of(phantom, 0.0)
    found = [e for e in tracker.update(frame).estimates if kind_of(e.id) == KINDS[0]]
    assert [e.id for e in found] == [f"{KINDS[0]}_{number}" for number in range(1, MOST_REPEATED + 1)]
    seen = [e.uv_px[1] for e in found if e.status is not Status.LOST]
    assert seen == sorted(seen)
    # those that are not there come last
    assert all(e.status is Status.LOST for e in found[len(seen) :])


@pytest.mark.parametrize("image", ["noise", "ramp", "volume"])
def test_nothing_is_tracked_where_nothing_is(tracker: LandmarkNetTracker, image: str) -> None:
    rng = np.random.default_rng(0)
    images = {
        "noise": rng.integers(0, 255, (384, 384), np.uint8),
        "ramp": np.tile(np.arange(384) // 2, (384, 1)).astype(np.uint8),
        "volume": rng.integers(0, 255, (8, 64, 64), np.uint8),
    }
    found = tracker.update(Frame(1, images[image])).estimates
    assert [e.id for e in found if e.status is Status.TRACKED] == []


def test_marked_landmark_stays_the_same_vertebra(tracker: LandmarkNetTracker, phantom: PortalPhantom) -> None:
    frame, true_px = image_of(phantom, 0.0)
    names = ("spinous_process_T6", "tracheal_bifurcation")
    tracker.initialize(frame, [Landmark(name, tuple(true_px[name].tolist())) for name in names])
    assert tracker.landmark_ids == names
    for time_s in (0.5, 1.0, 1.5):
        frame, true_px = image_of(phantom, time_s)
        for one in tracker.update(frame).estimates:
            assert np.linalg.norm(np.array(one.uv_px) - true_px[one.id]) < 6


def test_unknown_kind_is_refused(tracker: LandmarkNetTracker) -> None:
    frame = Frame(1, np.zeros((64, 64), np.uint8))
    with pytest.raises(UserError, match=r"landmark_net finds spinous_process, .* not 'dome'"):
        tracker.initialize(frame, [Landmark("dome", (10.0, 10.0))])
    assert len(tracker.landmark_ids) == MOST_REPEATED + 2

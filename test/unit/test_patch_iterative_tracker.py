"""The patch-based iterative tracker with the weights that come along, on volumes of prostates."""

from itertools import islice
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from lmtrack_ros.configuration import find_config, load
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import Frame, GateState, Landmark, Reason, Status
from lmtrack_ros.phantoms import PhantomParameters, open_phantom
from lmtrack_ros.phantoms.motion import MotionParameters
from lmtrack_ros.phantoms.prostate import LANDMARKS
from lmtrack_ros.pipeline import Timing
from lmtrack_ros.replay import make_pipeline
from lmtrack_ros.trackers import create_tracker

EAGER = {"inference": {"backend": "eager", "device": "cpu"}}
SEED = 34001
"""Of a patient on whom nothing was trained or calibrated."""
LATENCY_NS = 350_000_000
"""Of a volume: half a sweep, its transport, and the tracker."""


@pytest.fixture(scope="module")
def tracker() -> Any:
    return create_tracker("patch_iterative", EAGER)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return list(islice(open_phantom("prostate", PhantomParameters(seed=SEED, rate_hz=0.2)), 6))


def test_landmarks_are_found_without_a_mark(tracker: Any, frames: list[Frame]) -> None:
    phantom = open_phantom("prostate", PhantomParameters(seed=SEED, rate_hz=0.2))
    assert tracker.landmark_ids == LANDMARKS
    for number, frame in enumerate(frames):
        truth = {e.id: e.position_mm for e in phantom.truth(1, number * 5.0).estimates}
        found = tracker.update(frame)
        assert found.stamp_ns == frame.stamp_ns
        away_mm = {e.id: np.linalg.norm(e.position_mm - truth[e.id]) for e in found.estimates}
        assert away_mm["center"] < 4.0
        assert np.mean(list(away_mm.values())) < 4.0
        assert all(e.status is Status.TRACKED and e.observed == (True, True, True) for e in found.estimates)
        assert all(0 < e.radius_mm < 15 for e in found.estimates)


def test_same_volume_gives_the_same_bits(tracker: Any, frames: list[Frame]) -> None:
    def positions() -> bytes:
        tracker.initialize(frames[0], [Landmark("center", (0.0, 0.0, 0.0), (True,) * 3)])
        return b"".join(tracker.update(f).estimates[0].position_mm.tobytes() for f in frames[:3])

    assert positions() == positions()
    assert tracker.landmark_ids == ("center",)
    tracker.initialize(frames[0], [Landmark(name, (0.0,) * 3, (True,) * 3) for name in LANDMARKS])


def test_unknown_landmark_is_refused(tracker: Any, frames: list[Frame]) -> None:
    with pytest.raises(UserError, match="finds center, left"):
        tracker.initialize(frames[0], [Landmark("tumor", (0.0, 0.0, 0.0), (True,) * 3)])


@pytest.mark.parametrize("what", ["image", "no geometry", "noise", "black"])
def test_what_is_no_gland_is_never_tracked(tracker: Any, frames: list[Frame], what: str) -> None:
    volume = frames[0].image
    shown = {
        "image": volume[0],
        "no geometry": volume,
        "noise": np.random.default_rng(0).integers(0, 256, volume.shape, dtype=np.uint8),
        "black": np.zeros_like(volume),
    }[what]
    geometry = None if what == "no geometry" else frames[0].geometry
    found = tracker.update(Frame(1, shown, geometry, 1))
    assert all(e.status is not Status.TRACKED for e in found.estimates)


@pytest.mark.parametrize(("breathes", "max_age_ms", "opens"), [(False, 1200.0, True), (True, 250.0, False)])
def test_age_limit_refuses_what_breathes(breathes: bool, max_age_ms: float, opens: bool) -> None:
    """Two volumes a second gate a gland that creeps; within the limit of targets that breathe none is new."""
    motion = MotionParameters(kind="breathing", period_s=4.0) if breathes else MotionParameters()
    phantom = open_phantom("prostate", PhantomParameters(seed=SEED, motion=motion, mount="couch"))
    parameters = load(find_config("volume_ultrasound"))
    parameters["tracker"]["patch_iterative"] |= EAGER
    parameters["gating"]["couch"]["tracking"] = False
    parameters["gating"] |= {"max_age_ms": max_age_ms, "references_mm": [], "max_couch_age_ms": 5000.0}
    steps = list(make_pipeline(parameters, None, Timing(LATENCY_NS)).run(islice(phantom, 12)))
    opened = [step.decision.state is GateState.BEAM_ON for step in steps]
    if opens:
        assert any(opened)
    else:
        assert not any(opened)
        assert all(Reason.STALE_FRAME in step.decision.reasons for step in steps)

"""The patch-based iterative tracker with the weights that come along, on volumes of prostates."""

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

pytest.importorskip("torch")

from lmtrack_ros.configuration import find_config, load
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import CouchStatus, Frame, GateState, Landmark, Reason, Status
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
    mean_mm = mean_shape_mm()
    assert tracker.landmark_ids == LANDMARKS
    for number, frame in enumerate(frames):
        truth = {e.id: e.position_mm for e in phantom.truth(1, number * 5.0).estimates}
        found = tracker.update(frame)
        assert found.stamp_ns == frame.stamp_ns
        away_mm, by_mean_mm = (
            np.linalg.norm(np.array(positions) - np.array(list(truth.values())), axis=1)
            for positions in ([e.position_mm for e in found.estimates], mean_mm)
        )
        assert away_mm[LANDMARKS.index("center")] < 2.5
        assert away_mm.mean() < 0.6 * by_mean_mm.mean()
        said = {e.id: e for e in found.estimates}
        assert said["center"].status is Status.TRACKED
        assert 0 < said["center"].radius_mm < 6
        # the outermost points of a smooth gland are vague
        assert all(e.status is not Status.LOST and e.observed == (True, True, True) for e in found.estimates)


def mean_shape_mm() -> np.ndarray:
    """Return where the landmarks of the mean training subject are in isocenter."""
    shapes = [open_phantom("prostate", PhantomParameters(seed=seed)).positions_mm(0.0) for seed in range(60)]
    return np.mean([list(shape.values()) for shape in shapes], axis=0)


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


def speckle_alone(volume: np.ndarray) -> np.ndarray:
    """Return the field of view with nothing but speckle in it."""
    rng = np.random.default_rng(0)
    grey = 110 + 60 * gaussian_filter(rng.standard_normal(volume.shape), 0.8) / 0.25
    return np.where(volume > 0, np.clip(grey, 1, 255), 0).astype(np.uint8)


NOT_A_GLAND: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "noise": lambda v: np.random.default_rng(0).integers(0, 256, v.shape, dtype=np.uint8),
    "black": np.zeros_like,
    "speckle": speckle_alone,
    "half of it not finite": lambda v: np.where(np.arange(v.shape[2]) < v.shape[2] // 2, np.nan, v),
    "thin": lambda v: np.repeat(v[:1], 2, axis=0),
    "image": lambda v: v[0],
}


@pytest.mark.parametrize("what", NOT_A_GLAND)
def test_what_is_no_gland_is_never_tracked(tracker: Any, frames: list[Frame], what: str) -> None:
    """Not at once, and not when the search goes on from a gland that was there before."""
    assert tracker.update(frames[0]).estimates[0].status is Status.TRACKED
    shown = NOT_A_GLAND[what](frames[0].image)
    for number in range(1, 4):
        found = tracker.update(Frame(number, shown, frames[0].geometry, number))
        assert all(e.status is not Status.TRACKED for e in found.estimates), number


def test_fetal_head_is_no_gland(tracker: Any, frames: list[Frame]) -> None:
    head = next(iter(open_phantom("volume_ultrasound", PhantomParameters("fetal_head_small", seed=1))))
    assert tracker.update(frames[0]).estimates[0].status is Status.TRACKED
    for _ in range(3):
        assert all(e.status is not Status.TRACKED for e in tracker.update(head).estimates)


def test_volume_without_geometry_is_lost(tracker: Any, frames: list[Frame]) -> None:
    found = tracker.update(Frame(1, frames[0].image, None, 1))
    assert all(e.status is Status.LOST for e in found.estimates)


@pytest.mark.parametrize("breathes", [False, True])
@pytest.mark.parametrize(("max_age_ms", "opens"), [(1200.0, True), (250.0, False)])
def test_usual_age_limit_refuses_two_volumes_a_second(breathes: bool, max_age_ms: float, opens: bool) -> None:
    """Under the limit for targets that breathe the gate never opens; the limit for a prostate is no cure."""
    motion = MotionParameters(kind="breathing", period_s=4.0) if breathes else MotionParameters()
    phantom = open_phantom("prostate", PhantomParameters(seed=SEED, motion=motion, mount="couch"))
    parameters = load(find_config("volume_ultrasound"))
    parameters["tracker"]["patch_iterative"] |= EAGER
    parameters["gating"]["couch"]["tracking"] = False
    parameters["gating"] |= {"max_age_ms": max_age_ms, "references_mm": [], "max_couch_age_ms": 5000.0}
    still = [CouchStatus(stamp_ns=n * 500_000_000) for n in range(1, 16)]
    steps = list(make_pipeline(parameters, None, Timing(LATENCY_NS)).run(islice(phantom, 12), still))
    opened = [step.decision.state is GateState.BEAM_ON for step in steps]
    if not opens:
        assert not any(opened)
        assert all(Reason.STALE_FRAME in step.decision.reasons for step in steps)
    elif not breathes:
        assert any(opened)

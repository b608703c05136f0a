"""The patch-based iterative tracker with the weights that come along, on volumes of prostates."""

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from lmtrack_ros.configuration import find_config, load
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import CouchStatus, Frame, GateState, Landmark, Reason, Status
from lmtrack_ros.evaluation.volume_study.followed import NO_PROSTATE
from lmtrack_ros.phantoms import PhantomParameters, open_phantom
from lmtrack_ros.phantoms.motion import MotionParameters
from lmtrack_ros.phantoms.prostate import LANDMARKS
from lmtrack_ros.pipeline import Timing
from lmtrack_ros.replay import make_pipeline
from lmtrack_ros.trackers import create_tracker

EAGER = {"inference": {"backend": "eager", "device": "cpu"}}
SEED = 34001
"""Of a patient on whom nothing was trained or calibrated."""
USUAL = {"max_age_ms": 250.0}
"""The limit for targets that breathe."""
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
    """Return where landmarks are on average over sixty other subjects, in isocenter."""
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


def volumes_of_nothing(kind: str) -> Callable[[np.ndarray], np.ndarray]:
    return lambda v: NO_PROSTATE[kind](Frame(1, v, None, 1), 0).image


NOT_A_GLAND: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "noise": volumes_of_nothing("noise"),
    "black": volumes_of_nothing("black"),
    "speckle": volumes_of_nothing("speckle"),
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


def gap_in_the_gland(volume: np.ndarray) -> np.ndarray:
    """Return a volume whose middle, 3 % of it, is not known."""
    torn = volume.astype(np.float32)
    torn[tuple(slice(int(0.35 * size), int(0.65 * size)) for size in volume.shape)] = np.nan
    return torn


def test_gland_that_is_not_finite_is_lost(tracker: Any, frames: list[Frame]) -> None:
    assert tracker.update(frames[0]).estimates[0].status is Status.TRACKED
    found = tracker.update(Frame(1, gap_in_the_gland(frames[0].image), frames[0].geometry, 1))
    assert all(e.status is Status.LOST for e in found.estimates)


def test_what_is_not_finite_beside_the_gland_does_not_matter(tracker: Any, frames: list[Frame]) -> None:
    cut = frames[0].image.astype(np.float32)
    cut[:, :, :3] = np.nan
    found = tracker.update(Frame(1, cut, frames[0].geometry, 1))
    assert found.estimates[0].status is Status.TRACKED


def test_solution_of_a_volume_of_another_size_is_forgotten(tracker: Any, frames: list[Frame]) -> None:
    frame = frames[0]
    smaller = Frame(1, np.ascontiguousarray(frame.image[:, :, 8:]), frame.geometry, 1)
    cold = create_tracker("patch_iterative", EAGER).update(smaller)
    tracker.update(frame)
    warm = tracker.update(smaller)
    for one, other in zip(cold.estimates, warm.estimates, strict=True):
        np.testing.assert_array_equal(one.position_mm, other.position_mm)


def test_fetal_head_is_no_gland(tracker: Any, frames: list[Frame]) -> None:
    head = next(iter(open_phantom("volume_ultrasound", PhantomParameters("fetal_head_small", seed=1))))
    assert tracker.update(frames[0]).estimates[0].status is Status.TRACKED
    for _ in range(3):
        assert all(e.status is not Status.TRACKED for e in tracker.update(head).estimates)


def test_volume_without_geometry_is_lost(tracker: Any, frames: list[Frame]) -> None:
    found = tracker.update(Frame(1, frames[0].image, None, 1))
    assert all(e.status is Status.LOST for e in found.estimates)


@pytest.mark.parametrize(("breathes", "limit"), [(False, {}), (False, USUAL), (True, USUAL)])
def test_usual_age_limit_refuses_two_volumes_a_second(breathes: bool, limit: dict[str, float]) -> None:
    """Under the limit for targets that breathe the gate never opens."""
    motion = MotionParameters(kind="breathing", period_s=4.0) if breathes else MotionParameters()
    phantom = open_phantom("prostate", PhantomParameters(seed=SEED, motion=motion, mount="couch"))
    parameters = load(find_config("volume_ultrasound"))
    parameters["tracker"]["patch_iterative"] |= EAGER
    parameters["gating"]["couch"]["tracking"] = False
    parameters["gating"] |= {"references_mm": [], "max_couch_age_ms": 5000.0, **limit}
    still = [CouchStatus(stamp_ns=n * 500_000_000) for n in range(1, 16)]
    steps = list(make_pipeline(parameters, None, Timing(LATENCY_NS)).run(islice(phantom, 12), still))
    opened = [step.decision.state is GateState.BEAM_ON for step in steps]
    if limit:
        assert not any(opened)
        assert all(Reason.STALE_FRAME in step.decision.reasons for step in steps)
    else:
        assert any(opened)

"""The template matching tracker: what it refuses, what it finds, and that it never makes anything up.

The network is not trained: it finds everything near the middle of its view, which is where the landmark was
marked. Refinement does the rest, as far as the network's radius reaches.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from template_matching_example import TINY, tiny_network, write_run  # noqa: E402

from lmtrack_ros.core.errors import UserError  # noqa: E402
from lmtrack_ros.core.geometry import ImageGeometry  # noqa: E402
from lmtrack_ros.core.records import Frame, Landmark, LandmarkSet, Status  # noqa: E402
from lmtrack_ros.inference import InferenceParameters  # noqa: E402
from lmtrack_ros.models.following import ASTRAY, CONTINUED  # noqa: E402
from lmtrack_ros.models.template_matching.matcher import Matcher  # noqa: E402
from lmtrack_ros.models.template_matching.tracker import TemplateMatchingTracker  # noqa: E402
from lmtrack_ros.phantoms import PhantomParameters, open_phantom  # noqa: E402
from lmtrack_ros.trackers import create_tracker  # noqa: E402

EAGER = {"backend": "eager", "device": "cpu"}
PHANTOM = open_phantom("mr", PhantomParameters())
FIRST = PHANTOM.render(1, 0.0)
LANDMARKS = PHANTOM.landmarks(0.0)
Make = Callable[..., TemplateMatchingTracker]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def make(weights: str) -> Make:
    """Return a tracker that was started on the first frame of a phantom."""

    def started(landmarks: tuple[Landmark, ...] = LANDMARKS, **parameters: Any) -> TemplateMatchingTracker:
        values = {"weights": weights, "inference": EAGER, **parameters}
        tracker = create_tracker("template_matching", values)
        assert isinstance(tracker, TemplateMatchingTracker)
        tracker.initialize(FIRST, landmarks)
        return tracker

    return started


def statuses(found: LandmarkSet) -> set[Status]:
    return {estimate.status for estimate in found.estimates}


def assert_nothing_is_claimed(found: LandmarkSet) -> None:
    assert [e.id for e in found.estimates] == [landmark.id for landmark in LANDMARKS]
    assert statuses(found) == {Status.LOST}
    for estimate in found.estimates:
        assert estimate.confidence == 0
        assert not np.isfinite(estimate.radius_mm)


def bits(found: LandmarkSet) -> list[bytes]:
    return [
        np.array([*e.uv_px, *e.position_mm, *np.ravel(e.covariance_mm2), e.confidence, e.radius_mm]).tobytes()
        for e in found.estimates
    ]


@pytest.mark.parametrize(
    "couch_mm", [(0.0, 6.0, 0.0), (0.0, 0.0, -7.0), (0.0, -4.0, 5.0)], ids=["along", "down", "both"]
)
def test_follows_where_the_anatomy_goes(make: Make, couch_mm: tuple[float, float, float]) -> None:
    veins = tuple(landmark for landmark in LANDMARKS if all(landmark.axes))
    tracker = make(veins)
    found = tracker.update(PHANTOM.render(2, 0.0, couch_mm))
    assert (found.model, found.stamp_ns) == ("template_matching", 2)
    assert tracker.landmark_ids == tuple(vein.id for vein in veins) == ("hepatic_vein", "portal_vein")
    truth = {e.id: e for e in PHANTOM.truth(2, 0.0, couch_mm).estimates}
    for estimate in found.estimates:
        true = truth[estimate.id]
        assert estimate.status is Status.TRACKED
        np.testing.assert_allclose(estimate.uv_px, true.uv_px, atol=0.5)
        observed = list(estimate.observed)
        np.testing.assert_allclose(estimate.position_mm[observed], true.position_mm[observed], atol=1.0)


def test_axis_that_is_not_defined_is_not_observed(make: Make) -> None:
    found = make().update(FIRST)
    for estimate, landmark in zip(found.estimates, LANDMARKS, strict=True):
        assert sum(estimate.observed) == sum(landmark.axes)
        assert (np.isfinite(np.diag(estimate.covariance_mm2)) == np.array(estimate.observed)).all()


def test_same_frames_same_answers_to_the_bit(make: Make) -> None:
    """By another tracker, and by the same one when it is started anew."""
    frames = [PHANTOM.render(index, index / 6) for index in range(6)]
    tracker, other = make(), make()
    first = [bits(tracker.update(frame)) for frame in frames]
    assert [bits(other.update(frame)) for frame in frames] == first
    tracker.initialize(FIRST, LANDMARKS)
    assert [bits(tracker.update(frame)) for frame in frames] == first
    assert len({tuple(b) for b in first}) == len(frames)


def test_landmark_is_found_alike_alone_and_in_whatever_batch(make: Make) -> None:
    frame = PHANTOM.render(2, 1.0)
    together = make().update(frame)
    for batch in (2, 8):
        for one, other in zip(together.estimates, make(batch=batch).update(frame).estimates, strict=True):
            np.testing.assert_allclose(one.uv_px, other.uv_px, atol=1e-3)
    for landmark, among in zip(LANDMARKS, together.estimates, strict=True):
        (alone,) = make((landmark,)).update(frame).estimates
        np.testing.assert_allclose(alone.uv_px, among.uv_px, atol=1e-3)


def test_starting_anew_forgets_the_first_marks(make: Make) -> None:
    tracker = make()
    frame = PHANTOM.render(2, 1.0)
    (landmark,) = (m for m in PHANTOM.landmarks(1.0) if m.id == "portal_vein")
    tracker.initialize(frame, [landmark])
    assert tracker.landmark_ids == ("portal_vein",)
    (estimate,) = tracker.update(frame).estimates
    np.testing.assert_allclose(estimate.uv_px, landmark.uv_px, atol=0.2)


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        ((), "at least one landmark"),
        ((LANDMARKS[0], LANDMARKS[0]), "more than once"),
        ((Landmark("a", (5000.0, 3.0)),), "outside the image"),
        ((Landmark("a", (math.nan, 3.0)),), "outside the image"),
        ((Landmark("a", (3.0, 3.0, 3.0), (True, True, True)),), "3 coordinates, not 2"),
        ((Landmark("a", (30.0, 30.0), (False, False)),), "on no axis"),
    ],
    ids=["none", "twice", "outside", "nan", "volume", "axes"],
)
def test_refuses_marks_and_goes_on_as_before(
    make: Make, landmarks: tuple[Landmark, ...], message: str
) -> None:
    tracker = make()
    frame = PHANTOM.render(2, 0.5)
    before = bits(tracker.update(frame))
    with pytest.raises(UserError, match=message):
        tracker.initialize(PHANTOM.render(3, 1.0), landmarks)
    assert bits(tracker.update(frame)) == before


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (replace(FIRST, image=np.full_like(FIRST.image, 7)), "without structure"),
        (replace(FIRST, image=np.stack([FIRST.image] * 3)), "without structure"),
        (replace(FIRST, geometry=None), "pixel spacing must be known"),
    ],
    ids=["blank", "volume", "spacing"],
)
def test_refuses_frames_to_mark_on(make: Make, frame: Frame, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make().initialize(frame, LANDMARKS)


def other_spacing() -> ImageGeometry:
    assert FIRST.geometry is not None
    return replace(FIRST.geometry, spacing_mm=(2.0, 2.0, 5.0))


@pytest.mark.parametrize(
    "frame",
    [
        replace(FIRST, image=FIRST.image[:-1]),
        replace(FIRST, image=np.ascontiguousarray(FIRST.image.T)),
        replace(FIRST, image=np.stack([FIRST.image] * 2)),
        replace(FIRST, image=FIRST.image[:0]),
        replace(FIRST, image=np.full_like(FIRST.image, 100)),
        replace(FIRST, image=np.full(FIRST.image.shape, np.nan, np.float32)),
        replace(FIRST, geometry=other_spacing()),
    ],
    ids=["cropped", "turned", "volume", "empty", "blank", "nan", "spacing"],
)
def test_frame_that_cannot_be_compared_is_lost(make: Make, frame: Frame) -> None:
    tracker = make()
    assert_nothing_is_claimed(tracker.update(frame))
    assert_known_again_in_a_while(tracker)


def assert_known_again_in_a_while(tracker: TemplateMatchingTracker, after_s: float = 0.0) -> None:
    frames = [replace(FIRST, stamp_ns=FIRST.stamp_ns + round((after_s + 0.1 * n) * 1e9)) for n in range(7)]
    shown = [statuses(tracker.update(frame)) for frame in frames]
    assert shown == [{Status.UNCERTAIN}] * 5 + [{Status.TRACKED}] * 2


def test_after_a_gap_in_the_stream_landmarks_are_not_known_for_some_frames(make: Make) -> None:
    tracker = make()
    for number in range(1, 5):
        frame = replace(FIRST, stamp_ns=FIRST.stamp_ns + number * 100_000_000)
        assert statuses(tracker.update(frame)) == {Status.TRACKED}
    assert_known_again_in_a_while(tracker, after_s=5.0)


def test_frames_that_always_come_seldom_are_no_gap(make: Make) -> None:
    tracker = make()
    for number in range(1, 5):
        frame = replace(FIRST, stamp_ns=FIRST.stamp_ns + number * 4_000_000_000)
        assert statuses(tracker.update(frame)) == {Status.TRACKED}


@pytest.mark.parametrize("output", range(4), ids=["x", "y", "sigma-x", "sigma-y"])
@pytest.mark.parametrize("refined", [True, False], ids=["refined", "network"])
def test_number_that_the_network_does_not_give_is_not_made_up(
    make: Make, monkeypatch: pytest.MonkeyPatch, output: int, refined: bool
) -> None:
    tracker = make(refinement={"enabled": refined})
    find = Matcher.find

    def partly_broken(matcher: Matcher, *arguments: Any) -> Any:
        found = find(matcher, *arguments)
        found[..., output] = math.nan
        return found

    monkeypatch.setattr(Matcher, "find", partly_broken)
    assert_nothing_is_claimed(tracker.update(FIRST))


def test_matcher_gives_no_number_for_views_that_are_none(weights: str) -> None:
    matcher = Matcher(weights, InferenceParameters(**EAGER))
    view = np.random.default_rng(0).random((TINY.image_px, TINY.image_px), dtype=np.float32)
    encoded = matcher.encode([view], np.array([[20.0, 30.0]]))[:, None]
    assert np.isfinite(matcher.find([view], encoded)).all()
    assert np.isnan(matcher.find([np.full_like(view, np.nan)], encoded)).all()
    assert np.isnan(matcher.find([view], np.full_like(encoded, np.inf))).all()


def test_matcher_finds_any_number_of_views(weights: str) -> None:
    """In batches, the last of which is not full."""
    matcher = Matcher(weights, InferenceParameters(**EAGER), batch=4)
    views = list(np.random.default_rng(0).random((6, TINY.image_px, TINY.image_px), dtype=np.float32))
    encoded = matcher.encode(views, np.full((6, 2), 30.0))[:, None]
    together = matcher.find(views, encoded)
    assert together.shape == (6, 1, 4)
    for index, view in enumerate(views):
        alone = matcher.find([view], encoded[index : index + 1])
        np.testing.assert_allclose(alone[0], together[index], atol=1e-3)


def pointing(monkeypatch: pytest.MonkeyPatch, by_px: float) -> None:
    """Let every network find everything so far to the right of where it does, px of the view."""
    find = Matcher.find
    monkeypatch.setattr(Matcher, "find", lambda *a: find(*a) + np.array([by_px, 0.0, 0.0, 0.0]))


def test_leap_to_what_is_no_more_like_it_is_not_believed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    veins = tuple(landmark for landmark in LANDMARKS if all(landmark.axes))
    tracker = make(veins)
    frame = PHANTOM.render(2, 0.3)
    pointing(monkeypatch, 40.0)
    truth = {e.id: e.uv_px for e in PHANTOM.truth(2, 0.3).estimates}
    for vein, measured in zip(veins, tracker.measure(frame), strict=True):
        assert measured[-1].kind == CONTINUED
        assert np.linalg.norm(measured[0].uv_px - truth[vein.id]) > 10
        np.testing.assert_allclose(measured[-1].uv_px, truth[vein.id], atol=1.0)


def test_after_noise_it_is_found_where_it_was(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = make()
    noise = np.random.default_rng(0).integers(0, 255, FIRST.image.shape).astype(FIRST.image.dtype)
    pointing(monkeypatch, 40.0)
    for measured in tracker.measure(replace(FIRST, image=noise)):
        assert measured[-1].kind == ASTRAY
    for landmark, measured in zip(LANDMARKS, tracker.measure(FIRST), strict=True):
        assert measured[-1].kind == ASTRAY
        np.testing.assert_allclose(measured[-1].uv_px, landmark.uv_px, atol=1.0)


def test_uncalibrated_weights_are_never_trusted(tmp_path: Path, make: Make) -> None:
    """Their radius is infinite, whatever the network says of itself."""
    weights = write_run(tmp_path, calibration={})
    for refined in (True, False):
        found = make(weights=weights, refinement={"enabled": refined}).update(FIRST)
        assert statuses(found) == {Status.UNCERTAIN}
        assert {e.confidence for e in found.estimates} == {0.0}
        assert not any(np.isfinite(e.radius_mm) for e in found.estimates)


def test_less_certain_network_gives_a_larger_radius_and_less_confidence(tmp_path: Path, make: Make) -> None:
    found = []
    for index, log_sigma in enumerate((-3.0, 0.0)):
        network = tiny_network()
        with torch.no_grad():
            network.layers[-1].weight[2:] = 0
            network.layers[-1].bias[2:] = log_sigma
        weights = write_run(tmp_path / str(index), network=network)
        found.append(make(weights=weights, refinement={"enabled": False}).update(FIRST).estimates)
    for surer, other in zip(*found, strict=True):
        assert surer.radius_mm < other.radius_mm < math.inf
        assert surer.confidence > other.confidence > 0


def test_whole_image_may_be_what_the_network_sees(tmp_path: Path, make: Make) -> None:
    """Then no pixel spacing is needed, and positions are pixels of the image all the same."""
    weights = write_run(tmp_path, replace(TINY, view_mm=0.0))
    tracker = make(weights=weights)
    tracker.initialize(replace(FIRST, geometry=None), LANDMARKS)
    for estimate in tracker.update(replace(FIRST, geometry=None)).estimates:
        assert np.isfinite(estimate.uv_px).all()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("no_such_weights", "unknown weights of template_matching 'no_such_weights'"),
        ("gone/best.safetensors", "no weights at 'gone/best.safetensors'"),
    ],
)
def test_missing_weights_are_one_line(weights: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        create_tracker("template_matching", {"weights": weights, "inference": EAGER})
    assert len(str(raised.value).splitlines()) == 1


def test_weights_of_another_size_are_one_line(tmp_path: Path) -> None:
    weights = write_run(tmp_path, replace(TINY, hidden=8), network=tiny_network())
    with pytest.raises(UserError, match="does not fit the network") as raised:
        create_tracker("template_matching", {"weights": weights, "inference": EAGER})
    assert len(str(raised.value).splitlines()) == 1

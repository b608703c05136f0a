"""A tracker with what vouches for it: a second one beside it, and the frames that reach neither."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import cv2
import numpy as np
import pytest

from lmtrack_ros import trackers
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.parameters import build
from lmtrack_ros.core.records import NS_PER_S, Estimate, Frame, Landmark, LandmarkSet, Reason, Status
from lmtrack_ros.phantoms.motion import MotionParameters
from lmtrack_ros.phantoms.phantom import PhantomParameters
from lmtrack_ros.phantoms.ultrasound import UltrasoundPhantom
from lmtrack_ros.trackers.correlation import CorrelationTracker
from lmtrack_ros.trackers.follower import Follower
from lmtrack_ros.trackers.measurement import to_estimate, to_set
from lmtrack_ros.trackers.parameters import TrackerParameters, read_groups, read_section
from lmtrack_ros.trackers.selection import create_follower

PHANTOM = UltrasoundPhantom(
    PhantomParameters(
        preset="demo",
        motion=MotionParameters(kind="breathing", peak_to_peak_mm=10.0, anterior_mm=2.0, period_s=4.0),
    )
)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return list(islice(PHANTOM, 20))


def truth(frame: Frame, first: Frame) -> LandmarkSet:
    return PHANTOM.truth(frame.stamp_ns, (frame.stamp_ns - first.stamp_ns) / NS_PER_S)


def marks(frame: Frame) -> list[Landmark]:
    return [Landmark(e.id, e.uv_px) for e in truth(frame, frame).estimates]


@dataclass(frozen=True)
class OracleParameters:
    """It has none."""


class Oracle:
    """A model that marks by itself: knows where the vessels are, unless it is told to err."""

    name = "oracle"
    needs_initialization = False
    landmark_ids = tuple(e.id for e in PHANTOM.truth(1, 0.0).estimates)

    def __init__(self, parameters: object = None) -> None:
        self.first: Frame | None = None
        self.updates = 0
        self.error_px = (0.0, 0.0)
        self.status = Status.TRACKED

    def initialize(self, frame: Frame, landmarks: Sequence[Landmark]) -> None:
        """Nothing to do."""

    def update(self, frame: Frame) -> LandmarkSet:
        """Return the truth plus the error."""
        self.first = self.first or frame
        self.updates += 1
        estimates = [self.estimate(e, frame) for e in truth(frame, self.first).estimates]
        return to_set(frame, self.name, estimates)

    def estimate(self, true: Estimate, frame: Frame) -> Estimate:
        uv_px = np.add(true.uv_px, self.error_px)
        return to_estimate(Landmark(true.id, true.uv_px), frame.geometry, self.status, uv_px, (1, 1), 0.9)


class FixedTemplate(Oracle):
    """A model that must be told: normalised cross-correlation with a patch that never changes."""

    name = "template"
    needs_initialization = True
    landmark_ids: tuple[str, ...] = ()
    half_px = 15

    def initialize(self, frame: Frame, landmarks: Sequence[Landmark]) -> None:
        """Cut a patch round each landmark."""
        if landmarks[0].id == "refused":
            raise UserError("not this one")
        self.landmark_ids = tuple(landmark.id for landmark in landmarks)
        self.patches = {}
        for landmark in landmarks:
            column, row = np.rint(landmark.uv_px).astype(int) - self.half_px
            size = 2 * self.half_px + 1
            self.patches[landmark] = frame.image[row : row + size, column : column + size].astype(np.float32)

    def update(self, frame: Frame) -> LandmarkSet:
        """Return where each patch fits best in the whole picture."""
        self.updates += 1
        estimates = []
        for landmark, patch in self.patches.items():
            scores = cv2.matchTemplate(frame.image.astype(np.float32), patch, cv2.TM_CCOEFF_NORMED)
            uv_px = np.add(
                cv2.minMaxLoc(scores)[3], self.half_px + np.subtract(landmark.uv_px, np.rint(landmark.uv_px))
            )
            estimates.append(to_estimate(landmark, frame.geometry, Status.TRACKED, uv_px, (1, 1), 0.9))
        return to_set(frame, self.name, estimates)


def follower(
    tracker: Oracle, make_second: Callable[[], trackers.Tracker] | None = CorrelationTracker
) -> Follower:
    return Follower(tracker, frozen_frames=2, make_second=make_second, session=7)


def assert_near_truth(found: LandmarkSet, true: LandmarkSet) -> None:
    for estimate, expected in zip(found.estimates, true.estimates, strict=True):
        assert estimate.second_opinion_mm is not None
        # the image does not see x
        np.testing.assert_allclose(estimate.second_opinion_mm[1:], expected.position_mm[1:], atol=0.4)


class TestSecondOpinion:
    """What the correlation tracker says beside another."""

    def test_is_where_the_landmark_truly_is(self, frames: list[Frame]) -> None:
        both = follower(FixedTemplate())
        both.initialize(frames[0], marks(frames[0]))
        for frame in frames:
            found = both.update(frame)
            assert found.faults == 0
            assert found.model == "template"
            assert_near_truth(found, truth(frame, frames[0]))

    def test_does_not_follow_the_error_of_the_first(self, frames: list[Frame]) -> None:
        model = FixedTemplate()
        both = follower(model)
        both.initialize(frames[0], marks(frames[0]))
        model.patches = dict(zip(model.patches, reversed(model.patches.values()), strict=True))
        for frame in frames:
            found = both.update(frame)
            assert_near_truth(found, truth(frame, frames[0]))
            for e in found.estimates:
                assert np.linalg.norm(e.position_mm - e.second_opinion_mm) > 10

    def test_starts_where_a_model_that_marks_by_itself_is_sure_of_all(self, frames: list[Frame]) -> None:
        model = Oracle()
        both = follower(model)
        model.status = Status.UNCERTAIN
        assert {e.second_opinion_mm for e in both.update(frames[0]).estimates} == {None}
        model.status = Status.TRACKED
        assert_near_truth(both.update(frames[1]), truth(frames[1], frames[0]))
        model.error_px = (40.0, 0.0)
        for frame in frames[2:]:
            assert_near_truth(both.update(frame), truth(frame, frames[0]))

    def test_says_nothing_where_it_is_not_sure(self, frames: list[Frame]) -> None:
        both = follower(FixedTemplate())
        both.initialize(frames[0], marks(frames[0]))
        both.update(frames[0])
        other = np.random.default_rng(0).integers(0, 255, frames[0].image.shape).astype(np.uint8)
        found = both.update(replace(frames[1], image=other))
        assert {e.second_opinion_mm for e in found.estimates} == {None}

    def test_is_of_no_use_in_another_tf_frame(self, frames: list[Frame]) -> None:
        class Elsewhere(CorrelationTracker):
            def update(self, frame: Frame) -> LandmarkSet:
                return replace(super().update(frame), frame_id="table_top")

        both = follower(FixedTemplate(), Elsewhere)
        both.initialize(frames[0], marks(frames[0]))
        assert {e.second_opinion_mm for e in both.update(frames[0]).estimates} == {None}

    def test_costs_the_first_opinion_nothing(self, frames: list[Frame]) -> None:
        """To the bit, the estimates are those that the model gives alone."""
        alone, both = follower(FixedTemplate(), None), follower(FixedTemplate())
        for one in (alone, both):
            one.initialize(frames[0], marks(frames[0]))
        for frame in frames[:5]:
            for a, b in zip(alone.update(frame).estimates, both.update(frame).estimates, strict=True):
                assert a.second_opinion_mm is None
                np.testing.assert_array_equal(a.position_mm, b.position_mm)
                np.testing.assert_array_equal(a.uv_px, b.uv_px)


class TestFollower:
    """What reaches the trackers, and what is said of the rest."""

    def started(self, frames: list[Frame], model: Oracle | None = None) -> Follower:
        made = follower(model or FixedTemplate())
        made.initialize(frames[0], marks(frames[0]))
        return made

    def test_session_and_marking_are_named(self, frames: list[Frame]) -> None:
        made = self.started(frames)
        first = made.update(frames[1])
        made.initialize(frames[1], [Landmark("one", (100.0, 100.0))])
        second = made.update(frames[2])
        assert (first.session, first.marking, second.session, second.marking) == (7, 1, 7, 2)
        assert made.landmark_ids == ("one",)

    @pytest.mark.parametrize(
        ("image", "fault"),
        [(0, Reason.BLACK_IMAGE), (255, Reason.SATURATED_IMAGE), (None, Reason.FROZEN_IMAGE)],
        ids=["black", "saturated", "frozen"],
    )
    def test_junk_loses_the_landmarks_and_reaches_no_tracker(
        self, frames: list[Frame], image: int | None, fault: Reason
    ) -> None:
        model = FixedTemplate()
        made = self.started(frames, model)
        for i in range(3):
            made.update(replace(frames[1], stamp_ns=frames[1].stamp_ns + i))
        before = model.updates
        pixels = frames[1].image if image is None else np.full_like(frames[1].image, image)
        found = made.update(replace(frames[2], image=pixels))
        assert model.updates == before
        assert (found.stamp_ns, found.model, found.faults) == (frames[2].stamp_ns, "template", fault)
        assert [(e.id, e.status, e.radius_mm) for e in found.estimates] == [
            (name, Status.LOST, np.inf) for name in model.landmark_ids
        ]
        good = made.update(frames[3])
        assert good.faults == 0
        assert_near_truth(good, truth(frames[3], frames[0]))

    @pytest.mark.parametrize(
        ("change", "fault"),
        [
            (lambda f: replace(f, geometry=None), Reason.GEOMETRY_MISSING),
            (lambda f: replace(f, image=f.image[:-2]), Reason.GEOMETRY_CHANGED),
            (lambda f: replace(f, image=f.image.astype(np.uint16)), Reason.GEOMETRY_CHANGED),
            (lambda f: replace(f, image=f.image[:0, :0]), Reason.GEOMETRY_CHANGED),
            (
                lambda f: replace(f, geometry=replace(f.geometry, spacing_mm=(9.0, 9.0, 0.0))),
                Reason.GEOMETRY_CHANGED,
            ),
        ],
        ids=["missing", "resized", "re-encoded", "unreadable", "moved"],
    )
    def test_other_geometry_leaves_nothing_to_say(
        self, frames: list[Frame], change: Callable[[Frame], Frame], fault: Reason
    ) -> None:
        model = FixedTemplate()
        made = self.started(frames, model)
        found = made.update(change(frames[1]))
        assert (found.stamp_ns, found.model) == (frames[1].stamp_ns, "template")
        assert (found.faults, found.estimates, found.marking, found.session) == (fault, (), 1, 7)
        assert model.updates == 0
        assert made.update(frames[2]).faults == 0
        changed = change(frames[3])
        if changed.geometry and changed.image.size:
            made.initialize(changed, marks(frames[0]))
            assert made.update(changed).faults == 0, "marked anew on such a frame, it is the usual one"

    def test_estimate_outside_the_image(self, frames: list[Frame]) -> None:
        model = Oracle()
        model.error_px = (500.0, 0.0)
        found = follower(model, None).update(frames[0])
        assert found.faults == Reason.OUTSIDE_IMAGE
        assert found.estimates[0].uv_px[0] > 500

    def test_refused_marks_change_nothing(self, frames: list[Frame]) -> None:
        """Whether the frame, the model or the second tracker refuses them."""
        made = self.started(frames)
        resized = replace(frames[1], image=np.zeros((50, 50), np.uint8))
        with pytest.raises(UserError, match="without contrast"):
            made.initialize(resized, [Landmark("new", (20.0, 20.0))])
        with pytest.raises(UserError, match="not this one"):
            made.initialize(frames[1], [Landmark("refused", (100.0, 100.0))])
        with pytest.raises(UserError, match="outside the image"):
            made.initialize(frames[1], [Landmark("new", (900.0, 100.0))])
        found = made.update(frames[1])
        assert found.marking == 1
        assert_near_truth(found, truth(frames[1], frames[0]))

    def test_no_landmarks_no_estimates(self, frames: list[Frame]) -> None:
        assert follower(FixedTemplate(), None).landmark_ids == ()


class TestSection:
    """How a configuration asks for it."""

    @pytest.fixture(autouse=True)
    def register(self, monkeypatch: pytest.MonkeyPatch) -> None:
        others = {
            "oracle": (f"{__name__}:Oracle", f"{__name__}:OracleParameters"),
            "broken": ("no_such_module:Tracker", "no_such_module:Parameters"),
        }
        monkeypatch.setattr(trackers, "_BUILT_IN", {**trackers._BUILT_IN, **others})

    def test_tracker_cannot_agree_with_itself(self) -> None:
        with pytest.raises(UserError, match="would agree with itself"):
            build(TrackerParameters, {"second_opinion": True}, "tracker")

    def test_second_tracker_has_its_own_group(self, frames: list[Frame]) -> None:
        section = {
            "tracker": "oracle",
            "second_opinion": True,
            "frozen_frames": 0,
            "correlation": {"patch_half_width_px": 12},
            "broken": {"anything": 1},
        }
        settings, own = read_section(section)
        assert (settings.used_trackers, own) == (("oracle", "correlation"), {})
        made = create_follower(settings, read_groups(section), 3)
        for i in range(4):
            found = made.update(replace(frames[0], stamp_ns=frames[0].stamp_ns + i))
            assert (found.faults, found.session, found.marking) == (0, 3, 0)
            assert_near_truth(found, truth(frames[0], frames[0]))
        bad = {**section, "correlation": {"patch_half_width": 12}}
        with pytest.raises(UserError, match="Did you mean 'patch_half_width_px'"):
            create_follower(settings, read_groups(bad), 3)

    def test_none_unless_asked_for(self, frames: list[Frame]) -> None:
        settings, _ = read_section({"tracker": "oracle"})
        assert settings.used_trackers == ("oracle",)
        found = create_follower(settings, {}, 1).update(frames[0])
        assert {e.second_opinion_mm for e in found.estimates} == {None}

"""Each node alone, over real DDS, with a probe beside it."""

import array
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import matched
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from lmtrack_ros import interface, trackers
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import ImageGeometry, Modality, Mount
from lmtrack_ros.core.records import (
    NS_PER_MS,
    NS_PER_S,
    CouchMode,
    CouchShift,
    Estimate,
    Frame,
    GateState,
    LandmarkSet,
    Reason,
    Status,
)
from lmtrack_ros.nodes.couch_simulator import CouchSimulatorNode
from lmtrack_ros.nodes.gating import GatingNode
from lmtrack_ros.nodes.image_source import ImageSource
from lmtrack_ros.nodes.recorder import RecorderNode
from lmtrack_ros.nodes.tracker import TrackerNode
from lmtrack_ros.phantoms import open_phantom
from lmtrack_ros.phantoms.phantom import PhantomParameters
from lmtrack_ros.recording import Recording
from lmtrack_ros.ros.convert import make, message_class
from lmtrack_ros.ros.image import read_image
from lmtrack_ros.trackers.correlation import CorrelationTracker

MODALITY = Modality.ULTRASOUND
LONG_AGO = make("builtin_interfaces/msg/Time", sec=0, nanosec=5)
INITIALIZE = message_class("lmtrack_ros/srv/InitializeLandmarks")


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return list(islice(open_phantom("ultrasound", PhantomParameters(preset="demo")), 12))


def image(frame: Frame, stamp_ns: int | None = None) -> Any:
    return interface.image(make, frame.image, stamp_ns or frame.stamp_ns, "imager")


def geometry(frame: Frame, stamp_ns: int = 1) -> Any:
    assert frame.geometry is not None
    return interface.image_geometry(make, frame.geometry, stamp_ns, "imager")


class TestTracker:
    """The tracker node."""

    def request(self, **fields: Any) -> Any:
        return INITIALIZE.Request(**fields)

    def start(self, ros: Any, frames: list[Frame], **parameters: Any) -> tuple[Any, list[Any], Any]:
        node = ros.add(TrackerNode, **parameters)
        landmarks = ros.listen("landmarks")
        images, geometries = ros.publisher("image"), ros.publisher("image_geometry")
        ros.spin_until(lambda: matched((images, geometries)))
        geometries.publish(geometry(frames[0]))
        ros.spin_until(lambda: node._geometry is not None)
        return node, landmarks, images

    def test_follows_what_the_service_marks(self, ros: Any, frames: list[Frame]) -> None:
        """Landmarks marked on a past frame are followed in the next ones, in isocenter."""
        node, landmarks, images = self.start(ros, frames)
        for frame in frames[:3]:
            images.publish(image(frame))
            ros.spin_until(lambda stamp=frame.stamp_ns: stamp in node._buffer)
        assert not landmarks, "nothing was asked for yet"
        truth = open_phantom("ultrasound", PhantomParameters(preset="demo")).truth(
            1, (frames[1].stamp_ns - frames[0].stamp_ns) / NS_PER_S
        )
        sec, nanosec = divmod(frames[1].stamp_ns, NS_PER_S)
        response = ros.call(
            INITIALIZE,
            "initialize_landmarks",
            self.request(
                stamp=make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec),
                ids=[e.id for e in truth.estimates],
                pixels=[v for e in truth.estimates for v in e.uv_px],
            ),
        )
        assert response.accepted, response.message
        images.publish(image(frames[3]))
        ros.spin_until(lambda: bool(landmarks))
        found = interface.read_landmark_array(landmarks[-1])
        assert found.stamp_ns == frames[3].stamp_ns
        assert found.frame_id == "isocenter"
        assert found.stamps.acquired_ns == frames[3].stamp_ns
        assert 0 < found.stamps.received_ns <= found.stamps.tracked_ns
        expected = open_phantom("ultrasound", PhantomParameters(preset="demo")).truth(
            1, (frames[3].stamp_ns - frames[0].stamp_ns) / NS_PER_S
        )
        for estimate, true in zip(found.estimates, expected.estimates, strict=True):
            assert estimate.status is Status.TRACKED
            assert estimate.observed == (False, True, True)
            np.testing.assert_allclose(estimate.position_mm[1:], true.position_mm[1:], atol=0.3)

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"ids": ["a"], "pixels": [900.0, 10.0]}, "outside the image"),
            ({"ids": ["a"], "pixels": [float("nan"), 10.0]}, "outside the image"),
            ({"ids": ["a", "b"], "pixels": [1.0, 2.0, 3.0]}, "pixels needs"),
            ({"ids": [], "pixels": []}, "pixels needs"),
            ({"ids": ["a"], "pixels": [9.0, 9.0], "axes": [True]}, "axes needs"),
            (
                {
                    "stamp": make("builtin_interfaces/msg/Time", sec=0, nanosec=5),
                    "ids": ["a"],
                    "pixels": [9.0, 9.0],
                },
                "not among the last",
            ),
        ],
        ids=["outside", "nan", "short", "empty", "axes", "unknown-frame"],
    )
    def test_refuses_with_a_reason(
        self, ros: Any, frames: list[Frame], fields: dict[str, Any], reason: str
    ) -> None:
        node, _, images = self.start(ros, frames)
        images.publish(image(frames[0]))
        ros.spin_until(lambda: bool(node._buffer))
        response = ros.call(
            INITIALIZE,
            "initialize_landmarks",
            self.request(**fields),
        )
        assert not response.accepted
        assert reason in response.message

    def test_survives_malformed_images(self, ros: Any, frames: list[Frame]) -> None:
        node, landmarks, images = self.start(ros, frames, landmarks=["vein"], pixels=[178.0, 124.0])
        short = image(frames[0])
        short.data = array.array("B", b"123")
        odd = image(frames[0])
        odd.encoding = "yuv422"
        for broken in (short, odd, message_class("sensor_msgs/msg/Image")()):
            images.publish(broken)
        ros.spin(0.3)
        assert not node._buffer
        images.publish(image(frames[0]))
        ros.spin_until(lambda: bool(landmarks))

    def test_waits_for_the_geometry_and_starts_from_the_marked_frame(
        self, ros: Any, frames: list[Frame]
    ) -> None:
        """Without geometry nothing is said, so the gate holds; then the frames before it count too."""
        node = ros.add(TrackerNode, landmarks=["vein"], pixels=[178.0, 124.0])
        landmarks, images = ros.listen("landmarks"), ros.publisher("image")
        geometries = ros.publisher("image_geometry")
        ros.spin_until(lambda: matched((images, geometries)))
        images.publish(image(frames[0]))
        ros.spin(0.3)
        assert not landmarks
        geometries.publish(geometry(frames[0]))
        ros.spin_until(lambda: node._geometry is not None)
        images.publish(image(frames[1]))
        ros.spin_until(lambda: bool(landmarks))
        (estimate,) = interface.read_landmark_array(landmarks[0]).estimates
        assert estimate.status is Status.TRACKED
        assert np.isfinite(estimate.position_mm).all()

    def test_moving_imager_needs_the_geometry_of_each_frame(self, ros: Any, frames: list[Frame]) -> None:
        ros.add(TrackerNode, moving_imager=True, landmarks=["vein"], pixels=[178.0, 124.0])
        landmarks = ros.listen("landmarks")
        images = ros.publisher("image")
        geometries = ros.probe.create_publisher(
            message_class("lmtrack_ros/msg/ImageGeometry"), "image_geometry", 10
        )
        ros.spin_until(lambda: matched((images, geometries)))
        moved = ImageGeometry(MODALITY, (0.5, 0.5, 0.0), Mount.PATIENT, frames[0].geometry.pose)
        for frame in frames[:4]:
            images.publish(image(frame))
            if frame is not frames[1]:
                message = interface.image_geometry(make, moved, frame.stamp_ns, "imager")
                if frame is frames[3]:
                    message.spacing = [0.0, 0.0, 0.0]
                geometries.publish(message)
                followed = len(landmarks)
                ros.spin_until(lambda followed=followed: len(landmarks) > followed)
        ros.spin(0.2)
        answers = [(interface.stamp_ns(m.header.stamp), m.faults) for m in landmarks]
        missing = Reason.GEOMETRY_MISSING
        assert answers == [(frames[0].stamp_ns, 0), (frames[2].stamp_ns, 0), (frames[3].stamp_ns, missing)]

    def test_answers_every_frame_once_landmarks_are_marked(self, ros: Any, frames: list[Frame]) -> None:
        """With what is wrong with it, at its stamp; the tracker goes on as if it had not been."""
        node = ros.add(TrackerNode, landmarks=["vein"], pixels=[178.0, 124.0])
        landmarks, images = ros.listen("landmarks"), ros.publisher("image")
        geometries = ros.publisher("image_geometry")
        ros.spin_until(lambda: matched((images, geometries)))
        geometries.publish(geometry(frames[0]))
        ros.spin_until(lambda: node._geometry is not None)
        stamps_ns = iter(range(NS_PER_S, 100 * NS_PER_S, 33 * NS_PER_MS))

        def answer(pixels: np.ndarray, **header: Any) -> LandmarkSet:
            stamp_ns = next(stamps_ns)
            message = interface.image(make, pixels, stamp_ns, "imager")
            for field, value in header.items():
                setattr(message, field, value)
            images.publish(message)
            ros.spin_until(lambda: landmarks and interface.stamp_ns(landmarks[-1].header.stamp) == stamp_ns)
            found = interface.read_landmark_array(landmarks[-1])
            assert (found.model, found.marking) == ("correlation", 1)
            assert 0 < found.stamps.received_ns <= found.stamps.tracked_ns
            return found

        def assert_good(frame: Frame) -> None:
            found = answer(frame.image)
            assert found.faults == 0
            assert [e.status for e in found.estimates] == [Status.TRACKED]

        assert_good(frames[0])
        junk = {
            Reason.BLACK_IMAGE: np.zeros_like(frames[1].image),
            Reason.SATURATED_IMAGE: np.full_like(frames[1].image, 255),
            Reason.FROZEN_IMAGE: frames[1].image,
        }
        assert_good(frames[1])
        answer(frames[1].image)
        for fault, pixels in reversed(junk.items()):
            found = answer(pixels)
            assert found.faults == fault
            assert [(e.id, e.status) for e in found.estimates] == [("vein", Status.LOST)]
        assert_good(frames[2])
        for pixels, header in (
            (frames[3].image[:100], {}),
            (frames[3].image.astype(np.uint16), {}),
            (frames[3].image, {"encoding": "yuv422"}),
            (frames[3].image, {"data": array.array("B", b"123")}),
        ):
            found = answer(pixels, **header)
            assert (found.faults, found.estimates) == (Reason.GEOMETRY_CHANGED, ())
        assert_good(frames[4])

        unusable = geometry(frames[0])
        unusable.spacing = [0.0, 0.0, 0.0]
        geometries.publish(unusable)
        ros.spin_until(lambda: node._geometry is None)
        found = answer(frames[5].image)
        assert (found.faults, found.estimates) == (Reason.GEOMETRY_MISSING, ())
        assert frames[0].geometry is not None
        moved = replace(frames[0].geometry, spacing_mm=(0.6, 0.5, 0.0))
        for i, (offered, fault) in enumerate(((moved, Reason.GEOMETRY_CHANGED), (frames[0].geometry, 0)), 6):
            before = node._geometry
            geometries.publish(interface.image_geometry(make, offered, 1, "imager"))
            ros.spin_until(lambda before=before: node._geometry is not before)
            assert answer(frames[i].image).faults == fault
        (session,) = {m.session for m in landmarks}
        assert session != 0

    def test_marks_that_are_refused_leave_what_was_followed(self, ros: Any, frames: list[Frame]) -> None:
        """Here because the next frame, on which they are to be marked, is black."""
        _, landmarks, images = self.start(ros, frames, landmarks=["vein"], pixels=[178.0, 124.0])
        images.publish(image(frames[0]))
        ros.spin_until(lambda: bool(landmarks))
        request = self.request(ids=["other"], pixels=[100.0, 100.0])
        assert ros.call(INITIALIZE, "initialize_landmarks", request).accepted
        images.publish(image(replace(frames[1], image=np.zeros_like(frames[1].image))))
        ros.spin_until(lambda: len(landmarks) > 1)
        assert landmarks[-1].faults == Reason.BLACK_IMAGE
        assert [e.id for e in landmarks[-1].estimates] == ["vein"]
        assert ros.call(INITIALIZE, "initialize_landmarks", request).accepted
        images.publish(image(frames[2]))
        ros.spin_until(lambda: len(landmarks) > 2)
        assert [e.id for e in landmarks[-1].estimates] == ["other"]
        assert [m.marking for m in landmarks] == [1, 1, 2]
        assert len({m.session for m in landmarks}) == 1

    def test_second_publisher_of_images_is_a_fault(self, ros: Any, frames: list[Frame]) -> None:
        """One that was started again is none."""
        _, landmarks, images = self.start(ros, frames, landmarks=["vein"], pixels=[178.0, 124.0])
        other = ros.publisher("image")
        ros.spin_until(lambda: matched((other,)))

        def faults(publisher: Any, frame: Frame) -> int:
            publisher.publish(image(frame))
            ros.spin_until(
                lambda: landmarks and interface.stamp_ns(landmarks[-1].header.stamp) == frame.stamp_ns
            )
            return int(landmarks[-1].faults)

        restarted = [faults(images if i < 2 else other, frames[i]) for i in range(4)]
        assert restarted == [0, 0, 0, 0]
        mixed = [faults((images, other)[i % 2], frames[i]) for i in range(4, 8)]
        assert mixed[-1] == Reason.SECOND_PUBLISHER

    def test_only_the_trackers_that_run_are_imported(
        self, ros: Any, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The parameters of the others may stand in the configuration, but not beside their groups."""
        _, parameters = trackers._BUILT_IN["correlation"]
        absent = {"absent": ("no_such_module:Tracker", parameters)}
        monkeypatch.setattr(trackers, "_BUILT_IN", {**trackers._BUILT_IN, **absent})
        ros.add(TrackerNode, absent__gain=1.0)
        with pytest.raises(UserError, match=r"Did you mean 'correlation\.nearness'"):
            ros.add(TrackerNode, correlation__neerness=1.0)
        with pytest.raises(UserError, match="would agree with itself"):
            ros.add(TrackerNode, second_opinion=True)

    def test_second_opinion_stands_beside_the_first(
        self, ros: Any, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, parameters = trackers._BUILT_IN["correlation"]
        renamed = {"renamed": (f"{__name__}:Renamed", parameters)}
        monkeypatch.setattr(trackers, "_BUILT_IN", {**trackers._BUILT_IN, **renamed})
        _, landmarks, images = self.start(
            ros,
            frames,
            tracker="renamed",
            second_opinion=True,
            correlation__patch_half_width_px=16,
            landmarks=["vein"],
            pixels=[178.0, 124.0],
        )
        for frame in frames[:3]:
            images.publish(image(frame))
            ros.spin_until(
                lambda: landmarks and interface.stamp_ns(landmarks[-1].header.stamp) == frame.stamp_ns  # noqa: B023
            )
        found = interface.read_landmark_array(landmarks[-1])
        assert found.model == "renamed"
        (estimate,) = found.estimates
        assert estimate.second_opinion_mm is not None
        apart_mm = estimate.second_opinion_mm - estimate.position_mm
        assert 0 < np.linalg.norm(apart_mm) < 0.5, "another patch, nearly the same place"

    def test_can_be_stopped_and_started_again(self, ros: Any, frames: list[Frame]) -> None:
        node, landmarks, images = self.start(ros, frames, landmarks=["vein"], pixels=[178.0, 124.0])
        node.trigger_deactivate()
        node.trigger_cleanup()
        assert node.start(), node.failure
        ros.spin_until(lambda: matched((images,)))
        images.publish(image(frames[0]))
        ros.spin_until(lambda: bool(landmarks))


class Renamed(CorrelationTracker):
    """Stands for a model: the second opinion comes from the same method with another patch."""

    name = "renamed"

    def update(self, frame: Frame) -> LandmarkSet:
        """Return what correlation finds, under another name."""
        return replace(super().update(frame), model=self.name)


def test_unknown_parameters_and_trackers_are_named(ros: Any) -> None:
    with pytest.raises(UserError, match="Did you mean 'tracker'"):
        ros.add(TrackerNode, trackr="correlation")
    with pytest.raises(UserError, match="Did you mean 'correlation'"):
        ros.add(TrackerNode, tracker="corelation")
    with pytest.raises(UserError, match="max_age_ms"):
        ros.add(GatingNode, max_age_ms=-5.0)


class TestGating:
    """The gating node."""

    def start(self, ros: Any) -> tuple[Any, list[Any], list[Any], Any]:
        node = ros.add(
            GatingNode,
            landmarks=["vein"],
            references_mm=[0.0, 0.0, 0.0],
            window_lower_mm=[0.0, -5.0, -5.0],
            window_upper_mm=[0.0, 5.0, 5.0],
            window_axes=[False, True, True],
            couch__axes=[False, True, False],
        )
        decisions, shifts = ros.listen("gate"), ros.listen("couch_shift")
        publisher = ros.publisher("landmarks")
        ros.spin_until(lambda: matched((publisher,)) and bool(decisions))
        return node, decisions, shifts, publisher

    def feed(self, ros: Any, publisher: Any, decisions: list[Any], y_mm: float = 1.0) -> Any:
        stamp_ns = time.time_ns()
        estimate = Estimate(
            "vein",
            Status.TRACKED,
            (1.0, 1.0),
            np.array([0.0, y_mm, 0.0]),
            np.diag([np.inf, 0.1, 0.1]),
            (False, True, True),
            confidence=0.9,
            radius_mm=0.5,
        )
        publisher.publish(interface.landmark_array(make, LandmarkSet(stamp_ns, (estimate,))))
        ros.spin_until(lambda: any(interface.stamp_ns(m.header.stamp) == stamp_ns for m in decisions))
        return interface.read_gate_decision(
            next(m for m in decisions if interface.stamp_ns(m.header.stamp) == stamp_ns)
        )

    def test_holds_from_the_start_and_until_armed(self, ros: Any) -> None:
        _, decisions, _, publisher = self.start(ros)
        assert interface.read_gate_decision(decisions[0]).state is GateState.HOLD
        assert self.feed(ros, publisher, decisions).reasons == Reason.NOT_ARMED
        assert ros.call(Trigger, "arm", Trigger.Request()).success
        opened = [self.feed(ros, publisher, decisions).state for _ in range(4)]
        assert opened == [GateState.HOLD, GateState.HOLD, GateState.BEAM_ON, GateState.BEAM_ON]
        assert Reason.OUTSIDE_WINDOW in self.feed(ros, publisher, decisions, y_mm=4.8).reasons

    def test_operator_hold_and_disarm(self, ros: Any) -> None:
        _, decisions, _, publisher = self.start(ros)
        ros.call(Trigger, "arm", Trigger.Request())
        for _ in range(3):
            decision = self.feed(ros, publisher, decisions)
        assert decision.state is GateState.BEAM_ON
        ros.call(SetBool, "hold", SetBool.Request(data=True))
        assert Reason.OPERATOR_HOLD in self.feed(ros, publisher, decisions).reasons
        ros.call(SetBool, "hold", SetBool.Request(data=False))
        assert self.feed(ros, publisher, decisions).reasons == Reason.DWELL
        ros.call(Trigger, "disarm", Trigger.Request())
        assert Reason.NOT_ARMED in self.feed(ros, publisher, decisions).reasons

    def test_latched_reason_is_acknowledged_and_every_call_is_on_record(self, ros: Any) -> None:
        _, decisions, _, publisher = self.start(ros)
        audit = ros.listen("audit")
        ros.spin_until(lambda: ros.probe.count_publishers("audit") == 1)
        ros.call(Trigger, "arm", Trigger.Request())
        for _ in range(3):
            decision = self.feed(ros, publisher, decisions)
        assert decision.state is GateState.BEAM_ON
        frozen = LandmarkSet(time.time_ns(), faults=Reason.FROZEN_IMAGE)
        publisher.publish(interface.landmark_array(make, frozen))
        ros.spin_until(lambda: decisions[-1].reasons & Reason.FROZEN_IMAGE)
        assert Reason.FROZEN_IMAGE in self.feed(ros, publisher, decisions).reasons
        refused = ros.call(Trigger, "arm", Trigger.Request())
        assert not refused.success
        assert refused.message == "acknowledge first: FROZEN_IMAGE"
        assert ros.call(Trigger, "acknowledge", Trigger.Request()).message == "acknowledged FROZEN_IMAGE"
        assert [self.feed(ros, publisher, decisions).reasons for _ in range(3)][-1] == Reason(0)
        ros.spin_until(lambda: len(audit) == 3)
        entries = [interface.read_audit_entry(m) for m in audit]
        assert [(e.action, e.accepted) for e in entries] == [
            ("arm", True),
            ("arm", False),
            ("acknowledge", True),
        ]
        assert entries[1].reasons == Reason.FROZEN_IMAGE

    def test_latencies_are_on_diagnostics(self, ros: Any) -> None:
        _, decisions, _, publisher = self.start(ros)
        diagnostics = ros.listen("diagnostics")
        for _ in range(3):
            self.feed(ros, publisher, decisions)
        ros.spin_until(lambda: any(m.status[0].values for m in diagnostics))
        values = {v.key: float(v.value) for v in diagnostics[-1].status[0].values}
        assert 0 <= values["total_p50_ms"] <= values["total_p95_ms"] <= values["total_max_ms"] < 1000

    def test_calls_reach_a_recorder_that_comes_late(self, ros: Any) -> None:
        self.start(ros)
        ros.call(Trigger, "arm", Trigger.Request())
        ros.spin(0.2)
        audit = ros.listen("audit")
        ros.spin_until(lambda: bool(audit))
        assert interface.read_audit_entry(audit[0]).action == "arm"

    def test_setup_shift_is_not_confirmed_by_a_wrong_number(self, ros: Any) -> None:
        self.start(ros)
        service = message_class("lmtrack_ros/srv/ConfirmCouchShift")
        answer = ros.call(service, "confirm_setup", service.Request(session=1, sequence=2))
        assert not answer.accepted
        assert answer.message == "arm first: the couch is moved only while the gate is armed"
        ros.call(Trigger, "arm", Trigger.Request())
        assert "more good frames" in ros.call(Trigger, "propose_setup", Trigger.Request()).message
        answer = ros.call(service, "confirm_setup", service.Request(session=1, sequence=2))
        assert "no set-up shift waits" in answer.message

    def test_couch_moves_only_when_asked_and_known(self, ros: Any) -> None:
        _, decisions, shifts, publisher = self.start(ros)
        statuses = ros.publisher("couch_status")
        ros.spin_until(lambda: matched((statuses,)))
        ros.call(Trigger, "arm", Trigger.Request())
        self.feed(ros, publisher, decisions)
        ros.call(SetBool, "couch_tracking", SetBool.Request(data=True))
        self.feed(ros, publisher, decisions)
        assert {m.mode for m in shifts} == {CouchMode.NONE}, "nobody knows where the couch is"
        for _ in range(3):
            assert {m.mode for m in shifts} == {CouchMode.NONE}, "too few good frames"
            status = interface.CouchStatus(time.time_ns(), np.array([0.0, 2.0, 0.0]))
            statuses.publish(interface.couch_status(make, status))
            ros.spin(0.03)
            self.feed(ros, publisher, decisions, y_mm=1.5)
        ros.spin_until(lambda: shifts[-1].mode == CouchMode.TRACKING, timeout_s=5.0)
        until = time.monotonic() + 10.0
        # on a busy machine a report may come late, and the couch stands still for a moment
        while not (shifts[-1].mode == CouchMode.TRACKING and shifts[-1].translation.y < 0.6e-3):
            assert time.monotonic() < until
            heard = interface.read_couch_shift(shifts[-1])
            status = replace(
                status,
                stamp_ns=time.time_ns(),
                acknowledged_session=heard.session,
                acknowledged_sequence=heard.sequence,
            )
            statuses.publish(interface.couch_status(make, status))
            ros.spin(0.03)
            self.feed(ros, publisher, decisions, y_mm=1.5)
        shift = interface.read_couch_shift(shifts[-1])
        np.testing.assert_allclose(shift.target_mm, [0.0, 0.5, 0.0], atol=0.1)
        np.testing.assert_allclose(shift.delta_mm, [0.0, -1.5, 0.0], atol=0.1)

        ros.call(Trigger, "disarm", Trigger.Request())
        ros.spin_until(lambda: shifts[-1].mode == CouchMode.NONE)
        ros.call(Trigger, "arm", Trigger.Request())
        for _ in range(4):
            self.feed(ros, publisher, decisions, y_mm=1.5)
        assert shifts[-1].mode == CouchMode.NONE, "nobody asked the couch to follow again"

    @pytest.mark.parametrize("transition", ["trigger_shutdown", "trigger_deactivate"])
    def test_says_hold_and_no_more_when_it_stops(self, ros: Any, transition: str) -> None:
        node, decisions, shifts, publisher = self.start(ros)
        ros.call(Trigger, "arm", Trigger.Request())
        for _ in range(4):
            decision = self.feed(ros, publisher, decisions)
        assert decision.state is GateState.BEAM_ON
        getattr(node, transition)()
        ros.spin_until(lambda: Reason.SHUTDOWN in interface.read_gate_decision(decisions[-1]).reasons)
        last = decisions[-1].sequence
        ros.spin(0.4)
        assert decisions[-1].sequence == last
        assert shifts[-1].mode == CouchMode.NONE

    def test_clock_that_stands_still_holds(self, ros: Any) -> None:
        """With simulated time whose source has died, the gate goes on to say HOLD."""
        node = ros.add(GatingNode, use_sim_time=True)
        decisions = ros.listen("gate")
        ros.spin_until(lambda: len(decisions) > 5)
        assert Reason.TRACKER_SILENT in interface.read_gate_decision(decisions[-1]).reasons
        assert node.now_ns() == 0

    def test_each_start_is_a_new_session_that_begins_disarmed(self, ros: Any) -> None:
        node, decisions, _, publisher = self.start(ros)
        ros.call(Trigger, "arm", Trigger.Request())
        first = self.feed(ros, publisher, decisions).session
        node.trigger_deactivate()
        ros.spin_until(lambda: Reason.SHUTDOWN in interface.read_gate_decision(decisions[-1]).reasons)
        node.trigger_cleanup()
        assert node.start(), node.failure
        ros.spin_until(lambda: matched((publisher,)))
        again = self.feed(ros, publisher, decisions)
        assert again.session not in (0, first)
        assert Reason.NOT_ARMED in again.reasons


def test_couch_simulator_goes_where_it_is_sent(ros: Any) -> None:
    ros.add(CouchSimulatorNode, dead_time_ms=20.0, speed_mm_s=50.0)
    statuses, shifts = ros.listen("couch_status"), ros.publisher("couch_shift")
    ros.spin_until(lambda: matched((shifts,)) and bool(statuses))
    now_ns = time.time_ns()
    shift = CouchShift(
        now_ns,
        session=7,
        sequence=1,
        mode=CouchMode.TRACKING,
        target_mm=np.array([0.0, 3.0, 0.0]),
        axes=(False, True, False),
        speed_limit_mm_s=50.0,
        valid_until_ns=now_ns + 2 * NS_PER_S,
    )
    shifts.publish(interface.couch_shift(make, shift))
    ros.spin_until(lambda: abs(interface.read_couch_status(statuses[-1]).position_mm[1] - 3.0) < 1e-6)
    last = interface.read_couch_status(statuses[-1])
    assert (last.acknowledged_session, last.acknowledged_sequence) == (7, 1)
    ros.spin_until(lambda: not statuses[-1].moving)


class TestImageSource:
    """The image source node."""

    def test_plays_a_folder_once_restamped_with_its_landmarks(self, ros: Any, tmp_path: Path) -> None:
        import cv2

        for index in range(6):
            picture = np.full((40, 50), 20 * index, np.uint8)
            cv2.imwrite(str(tmp_path / f"{index}.png"), picture)
        (tmp_path / "sequence.yaml").write_text(
            "modality: mr\nimages: '*.png'\nspacing_mm: [1.5, 2.0]\nrate_hz: 20.0\n"
        )
        (tmp_path / "landmarks.csv").write_text(
            "frame,landmark,x_px,y_px,certain,spread_px,axes\n0,dome,20,10,1,0,y\n"
        )
        images, geometries = ros.listen("image"), ros.listen("image_geometry")
        initial = ros.listen("initial_landmarks")
        started_ns = time.time_ns()
        node = ros.add(ImageSource, uri=str(tmp_path))
        ros.spin_until(node.finished.is_set)
        ros.spin_until(lambda: len(images) == 6 and bool(geometries) and bool(initial))
        stamps = [interface.stamp_ns(m.header.stamp) for m in images]
        assert started_ns <= stamps[0]
        np.testing.assert_allclose(np.diff(stamps) / NS_PER_MS, 50.0, atol=0.01)
        assert [int(read_image(m)[0, 0]) for m in images] == [0, 20, 40, 60, 80, 100]
        assert interface.read_image_geometry(geometries[0]).spacing_mm[:2] == pytest.approx((1.5, 2.0))
        marked = interface.read_initial_landmarks(initial[0])
        assert marked.stamp_ns == stamps[0]
        assert marked.landmarks[0].axes == (False, True)

    def test_missing_source_is_one_line(self, ros: Any, tmp_path: Path) -> None:
        with pytest.raises(AssertionError, match="nowhere does not exist"):
            ros.add(ImageSource, uri=str(tmp_path / "nowhere"))

    def test_phantom_moves_with_the_couch(self, ros: Any) -> None:
        """Truth follows the couch that reports, at the frame's exposure."""
        truth, images = ros.listen("truth"), ros.listen("image")
        statuses = ros.publisher("couch_status")
        ros.add(
            ImageSource,
            imaging_latency_ms=60.0,
            phantom__preset="demo",
            phantom__rate_hz=10.0,
            phantom__motion__kind="breathing",
            phantom__motion__peak_to_peak_mm=0.0,
            phantom__motion__anterior_mm=0.0,
        )
        ros.spin_until(lambda: len(truth) >= 2 and matched((statuses,)))
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            status = interface.CouchStatus(time.time_ns(), np.array([0.0, 4.0, -2.0]))
            statuses.publish(interface.couch_status(make, status))
            ros.spin(0.02)
        first, last = (interface.read_landmark_array(truth[i]).estimates[0].position_mm for i in (0, -1))
        np.testing.assert_allclose(last - first, [0.0, 4.0, -2.0], atol=1e-6)
        assert len(images) >= len(truth) - 1

    @pytest.mark.parametrize(
        ("modality", "preset"),
        [
            ("fluoroscopy", "lung_small"),
            ("mr", "liver"),
            ("portal", "mv_0"),
            ("volume_ultrasound", "fetal_head_small"),
        ],
    )
    def test_every_phantom_plays(self, ros: Any, modality: str, preset: str) -> None:
        """Pictures or volumes come with their geometry, their truth and what to follow."""
        images = ros.listen("volume" if modality == "volume_ultrasound" else "image")
        truth, initial, geometries = (ros.listen(t) for t in ("truth", "initial_landmarks", "image_geometry"))
        ros.add(ImageSource, uri=f"phantom:{modality}", phantom__preset=preset, phantom__rate_hz=4.0)
        ros.spin_until(lambda: min(map(len, (images, truth, initial, geometries))) > 0)
        phantom = open_phantom(modality, PhantomParameters(preset=preset, rate_hz=4.0))
        geometry = interface.read_image_geometry(geometries[0])
        np.testing.assert_allclose(geometry.pose, phantom.geometry.pose, atol=1e-6)
        marked = interface.read_initial_landmarks(initial[0]).landmarks
        first = phantom.landmarks(0.0)
        assert [landmark.id for landmark in marked] == [landmark.id for landmark in first]
        assert [landmark.axes for landmark in marked] == [landmark.axes for landmark in first]


def test_recorder_takes_any_topic_and_completes(ros: Any, tmp_path: Path, frames: list[Frame]) -> None:
    node = ros.add(RecorderNode, path=str(tmp_path / "rec"))
    texts = ros.probe.create_publisher(String, "remarks", 10)
    images = ros.publisher("image")
    ros.spin_until(lambda: matched((images, texts)))
    for index, frame in enumerate(frames[:4]):
        images.publish(image(frame))
        texts.publish(String(data=f"remark {index}"))
    ros.spin(0.5)
    node.trigger_deactivate()
    node.trigger_cleanup()
    with Recording(tmp_path / "rec") as recording:
        recorded = list(recording.frames())
        remarks = [m.data for _, m, _ in recording.messages(["remarks"])]
    assert [f.stamp_ns for f in recorded] == [f.stamp_ns for f in frames[:4]]
    np.testing.assert_array_equal(recorded[3].image, frames[3].image)
    assert remarks == [f"remark {i}" for i in range(4)]


def test_recorder_refuses_to_overwrite(ros: Any, tmp_path: Path) -> None:
    (tmp_path / "rec").mkdir()
    with pytest.raises(AssertionError, match="exists and is not overwritten"):
        ros.add(RecorderNode, path=str(tmp_path / "rec"))


def test_incompatible_quality_of_service_is_said(ros: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """A best-effort publisher of landmarks cannot feed the gate, and the log says so."""
    ros.add(GatingNode)
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    ros.probe.create_publisher(message_class("lmtrack_ros/msg/LandmarkArray"), "landmarks", best_effort)
    ros.spin(1.5)
    said = [line for line in capfd.readouterr().err.splitlines() if "incompatible QoS" in line]
    assert said
    assert all("landmarks" in line and "RELIABILITY" in line for line in said)

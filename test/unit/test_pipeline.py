"""The lock-step pipeline: the same decisions from the same frames, and different ones from others."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lmtrack_ros.core.geometry import ISOCENTER
from lmtrack_ros.core.records import (
    NS_PER_MS,
    NS_PER_S,
    AuditEntry,
    CouchMode,
    CouchStatus,
    Frame,
    GateDecision,
    GateState,
    Landmark,
    LandmarkSet,
    LatencyStamps,
    MarkedLandmarks,
    Reason,
)
from lmtrack_ros.gating.couch_controller import CouchParameters
from lmtrack_ros.gating.parameters import GatingParameters
from lmtrack_ros.gating.session import Session
from lmtrack_ros.phantoms.couch import CouchSimulator, CouchSimulatorParameters
from lmtrack_ros.phantoms.motion import MotionParameters
from lmtrack_ros.phantoms.phantom import PhantomParameters
from lmtrack_ros.phantoms.ultrasound import UltrasoundPhantom
from lmtrack_ros.pipeline import Digest, Pipeline, Step, Timing
from lmtrack_ros.recording import RecordingWriter
from lmtrack_ros.replay import read_material
from lmtrack_ros.trackers import create_tracker
from lmtrack_ros.trackers.follower import Follower

LATENCY_NS = 60 * NS_PER_MS
LIVE = Timing(LATENCY_NS)
VESSEL = "portal_vein"
GATING = GatingParameters(
    landmarks=(VESSEL,),
    window_lower_mm=(0.0, -5.0, -5.0),
    window_upper_mm=(0.0, 5.0, 5.0),
    window_axes=(False, True, True),
    resume_frames=3,
    couch=CouchParameters(tracking=True, axes=(False, True, True)),
)


@pytest.fixture(scope="module")
def phantom() -> UltrasoundPhantom:
    return UltrasoundPhantom(
        PhantomParameters(
            preset="demo",
            motion=MotionParameters(kind="breathing", peak_to_peak_mm=6.0, anterior_mm=1.0, period_s=4.0),
        )
    )


@pytest.fixture(scope="module")
def frames(phantom: UltrasoundPhantom) -> tuple[Frame, ...]:
    return tuple(frame for frame, _ in zip(phantom, range(10), strict=False))


@pytest.fixture(scope="module")
def marked(phantom: UltrasoundPhantom) -> MarkedLandmarks:
    uv_px = {e.id: e.uv_px for e in phantom.truth(1, 0.0).estimates}[VESSEL]
    return MarkedLandmarks((Landmark(VESSEL, uv_px),))


def still_couch(frames: Iterable[Frame], y_mm: float = 0.0) -> list[CouchStatus]:
    return [CouchStatus(f.stamp_ns, np.array([0.0, y_mm, 0.0])) for f in frames]


def run(
    frames: Iterable[Frame],
    marked: MarkedLandmarks,
    *,
    timing: Timing = LIVE,
    couch: Iterable[CouchStatus] = (),
) -> list[Step]:
    session = Session(GATING, 1)
    session.gate.arm()
    follower = Follower(create_tracker("correlation"), frozen_frames=2)
    pipeline = Pipeline(follower, marked, session, timing)
    return list(pipeline.run(frames, couch))


def digest(steps: Iterable[Step]) -> str:
    result = Digest()
    for step in steps:
        result.add_step(step)
    return result.hexdigest()


def test_vessel_is_followed_and_the_gate_opens(
    phantom: UltrasoundPhantom, frames: tuple[Frame, ...], marked: MarkedLandmarks
) -> None:
    steps = run(frames, marked, couch=still_couch(frames))
    states = [step.decision.state for step in steps]
    assert states == [GateState.HOLD] * 2 + [GateState.BEAM_ON] * 8
    for index, step in enumerate(steps):
        truth = phantom.truth(1, index / 30).estimates[0]
        np.testing.assert_allclose(step.landmarks.estimates[0].uv_px, truth.uv_px, atol=1.5)
        assert step.decision.stamp_ns == step.frame.stamp_ns == frames[index].stamp_ns


def test_same_frames_give_the_same_digest(frames: tuple[Frame, ...], marked: MarkedLandmarks) -> None:
    couch = still_couch(frames)
    assert digest(run(frames, marked, couch=couch)) == digest(run(frames, marked, couch=couch))


def test_any_change_changes_the_digest(frames: tuple[Frame, ...], marked: MarkedLandmarks) -> None:
    """A picture, a frame that is missing, and the couch each leave their mark."""
    couch = still_couch(frames)
    moved = (*frames[:6], replace(frames[6], image=np.roll(frames[6].image, 1, axis=0)), *frames[7:])
    digests = [
        digest(run(frames, marked, couch=couch)),
        digest(run(moved, marked, couch=couch)),
        digest(run(frames[:-1], marked, couch=couch)),
        digest(run((*frames[:4], *frames[5:]), marked, couch=couch)),
        digest(run(frames, marked, couch=still_couch(frames, 1.0))),
        digest(run(frames, marked)),
    ]
    assert len(set(digests)) == len(digests)


def test_digest_of_nothing_is_not_that_of_something(
    frames: tuple[Frame, ...], marked: MarkedLandmarks
) -> None:
    assert digest([]) != digest(run(frames[:1], marked))


def test_virtual_latency_is_the_time_of_the_decision(
    frames: tuple[Frame, ...], marked: MarkedLandmarks
) -> None:
    (step,) = run(frames[:1], marked)
    at_ns = frames[0].stamp_ns + LATENCY_NS
    assert step.decision.stamps == LatencyStamps(frames[0].stamp_ns, at_ns, at_ns, at_ns)
    assert step.frame.received_ns == at_ns


def test_latency_beyond_the_age_limit_holds(frames: tuple[Frame, ...], marked: MarkedLandmarks) -> None:
    steps = run(frames, marked, timing=Timing(201 * NS_PER_MS))
    assert all(Reason.STALE_FRAME in step.decision.reasons for step in steps)


def test_only_frames_that_the_recorded_run_decided_on_are_decided_on(
    frames: tuple[Frame, ...], marked: MarkedLandmarks
) -> None:
    """At the recorded times, and with the first frame to start from even where none was decided on it."""
    kept = (frames[2], frames[3], frames[7])
    recorded = {
        f.stamp_ns: LatencyStamps(f.stamp_ns, f.stamp_ns + 1, f.stamp_ns + 2, f.stamp_ns + 3) for f in kept
    }
    steps = run(frames, marked, timing=Timing(LATENCY_NS, recorded))
    assert [s.decision.stamp_ns for s in steps] == [f.stamp_ns for f in kept]
    assert [s.decision.stamps for s in steps] == list(recorded.values())
    assert all(s.landmarks.estimates[0].uv_px for s in steps)


def test_frames_before_the_marked_one_do_not_count(
    phantom: UltrasoundPhantom, frames: tuple[Frame, ...]
) -> None:
    uv_px = phantom.truth(1, 4 / 30).estimates[0].uv_px
    later = MarkedLandmarks((Landmark(VESSEL, uv_px),), frames[4].stamp_ns)
    steps = run(frames, later)
    assert [s.frame.stamp_ns for s in steps] == [f.stamp_ns for f in frames[4:]]
    np.testing.assert_allclose(steps[0].landmarks.estimates[0].uv_px, uv_px, atol=0.1)


def test_couch_is_known_from_its_stamp_on(frames: tuple[Frame, ...], marked: MarkedLandmarks) -> None:
    """A status that is newer than a decision cannot have been known to it."""
    late = frames[5].stamp_ns
    statuses = [CouchStatus(late + i * 20 * NS_PER_MS) for i in range(40)]
    steps = run(frames, marked, couch=statuses)
    silent = [Reason.COUCH_SILENT in step.decision.reasons for step in steps]
    assert silent == [frame.stamp_ns < late for frame in frames]
    # the couch follows once enough frames in a row were good
    following = [step.shift.mode is CouchMode.TRACKING for step in steps]
    assert following == [False] * 7 + [True] * 3


def test_recorded_calls_arm_and_disarm(frames: tuple[Frame, ...], marked: MarkedLandmarks) -> None:
    """A call that was refused changes nothing; the others take effect at their time."""

    def call(index: int, action: str, accepted: bool = True) -> AuditEntry:
        return AuditEntry(frames[index].stamp_ns + LIVE.virtual_latency_ns - 1, 1, action, accepted)

    calls = (call(2, "arm"), call(7, "disarm"), call(8, "arm", accepted=False))
    session = Session(GATING, 1)
    follower = Follower(create_tracker("correlation"), frozen_frames=2)
    steps = Pipeline(follower, marked, session, LIVE).run(frames, still_couch(frames), calls)
    states = [step.decision.state is GateState.BEAM_ON for step in steps]
    assert states == [False] * 4 + [True] * 3 + [False] * 3


def test_fault_of_the_couch_holds_from_then_on(frames: tuple[Frame, ...], marked: MarkedLandmarks) -> None:
    couch = still_couch(frames)
    couch[6] = replace(couch[6], fault="motor")
    faults = [Reason.COUCH_FAULT in s.decision.reasons for s in run(frames, marked, couch=couch)]
    # the status of frame 6 is there before the decision on frame 5, a latency of almost two frames later
    assert faults == [False] * 5 + [True] * 5


def test_replay_sends_what_the_couch_acknowledged(
    tmp_path: Path, frames: tuple[Frame, ...], marked: MarkedLandmarks
) -> None:
    """The couch was there before the gate: the replay's ticks hold already, which the live gate's did not."""
    slow = [replace(f, stamp_ns=f.stamp_ns + (10 + i) * NS_PER_S // 2) for i, f in enumerate(frames)]
    gating = replace(GATING, max_age_ms=1200.0, couch=replace(GATING.couch, validity_ms=1500.0))
    session = Session(gating, 1)
    session.gate.arm()
    couch = CouchSimulator(CouchSimulatorParameters(), slow[0].stamp_ns - 4 * NS_PER_S)
    path = tmp_path / "slow.mcap"
    follower = Follower(create_tracker("correlation"), frozen_frames=2)
    follower.initialize(slow[0], marked.landmarks)
    now_ns = slow[0].stamp_ns - 4 * NS_PER_S
    live = []
    with RecordingWriter(path) as writer:

        def report(until_ns: int) -> None:
            nonlocal now_ns
            while now_ns < until_ns:
                status = couch.advance(now_ns)
                writer.write_record("couch_status", status, now_ns)
                if now_ns > slow[0].stamp_ns - NS_PER_S // 10:
                    session.couch(status, now_ns)
                now_ns += 20 * NS_PER_MS

        for frame in slow:
            at_ns = frame.stamp_ns + LATENCY_NS
            report(at_ns)
            writer.write_frame(frame)
            landmarks = follower.update(replace(frame, received_ns=at_ns))
            landmarks = replace(landmarks, stamps=LatencyStamps(frame.stamp_ns, at_ns, at_ns, 0))
            answer = session.landmarks(landmarks, at_ns)
            couch.command(answer.shift, at_ns)
            writer.write_record("landmarks", landmarks, at_ns)
            writer.write_record("gate", answer.decision, at_ns)
            writer.write_record("couch_shift", answer.shift, at_ns)
            live.append(answer)
    material = read_material(path)
    assert list(material.shift_sequences.values()) == [answer.shift.sequence for answer in live]

    again = Session(gating, 1)
    again.gate.arm()
    follower = Follower(create_tracker("correlation"), frozen_frames=2)
    timing = Timing(0, material.recorded, material.shift_sequences)
    with closing(material.source) as source:
        steps = list(Pipeline(follower, marked, again, timing).run(source, material.couch))
    assert [step.decision.reasons for step in steps] == [answer.decision.reasons for answer in live]
    assert [step.shift.mode for step in steps] == [answer.shift.mode for answer in live]
    assert steps[-1].shift.mode is CouchMode.TRACKING


def test_answer_of_a_late_tracker_is_decided_on_with_the_frame_that_it_answered(
    tmp_path: Path, frames: tuple[Frame, ...]
) -> None:
    """Its stamp is that of an older frame; the times are those of the newest one that it knew."""
    older, newest = frames[0], frames[5]
    received_ns = newest.stamp_ns + NS_PER_MS
    passed = LatencyStamps(newest.stamp_ns, received_ns, received_ns, 0)
    # the answer to the frame before, too, was about that older one
    before = LatencyStamps(frames[4].stamp_ns, received_ns - NS_PER_MS, received_ns, 0)
    found = [LandmarkSet(older.stamp_ns, (), ISOCENTER, "late", one) for one in (before, passed)]
    decisions = [
        GateDecision(older.stamp_ns, 1, 1, stamps=replace(one, acquired_ns=older.stamp_ns, decided_ns=at_ns))
        for one, at_ns in ((before, received_ns), (passed, received_ns + NS_PER_MS))
    ]
    path = tmp_path / "late.mcap"
    with RecordingWriter(path) as writer:
        for frame in frames:
            writer.write_frame(frame)
        for answer, decision in zip(found, decisions, strict=True):
            writer.write_record("landmarks", answer, answer.stamps.received_ns)
            writer.write_record("gate", decision, decision.stamps.decided_ns)
    material = read_material(path)
    material.source.close()
    assert material.recorded == {
        frames[4].stamp_ns: decisions[0].stamps,
        newest.stamp_ns: decisions[1].stamps,
    }

"""Source → tracker → gate → couch in lock-step, without ROS and without a clock of its own."""

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from heapq import merge
from types import MappingProxyType

from lmtrack_ros import interface
from lmtrack_ros.core.records import (
    AuditEntry,
    CouchShift,
    CouchStatus,
    Frame,
    GateDecision,
    LandmarkSet,
    LatencyStamps,
    MarkedLandmarks,
)
from lmtrack_ros.gating.session import Session
from lmtrack_ros.trackers.follower import Follower
from lmtrack_ros.trackers.pair_follower import PairFollower


@dataclass(frozen=True, eq=False)
class Step:
    """What followed from one frame."""

    frame: Frame
    landmarks: LandmarkSet
    decision: GateDecision
    shift: CouchShift


@dataclass(frozen=True)
class Timing:
    """When each frame passes the stages.

    Attributes:
        virtual_latency_ns: from mid-exposure to the decision; reception and tracking count at its end.
        recorded: stamps of a live run by the frame's stamp. Where given, only the frames that the
            run decided on are decided on again, at its times.
        shift_sequences: numbers of the couch shifts that a live run sent, by the frame's stamp: the couch
            acknowledged them by these. Between its frames more or fewer may have been sent than here.
    """

    virtual_latency_ns: int
    recorded: Mapping[int, LatencyStamps] = field(default_factory=lambda: MappingProxyType({}))
    shift_sequences: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))

    def stamps(self, frame_ns: int) -> LatencyStamps | None:
        """Return the stamps of one frame, or None where it was skipped."""
        if self.recorded:
            return self.recorded.get(frame_ns)
        at_ns = frame_ns + self.virtual_latency_ns
        return LatencyStamps(frame_ns, at_ns, at_ns, at_ns)


class Pipeline:
    """Feeds frames in order of time.

    Args:
        follower: of the landmarks.
        marked: where they are in one frame, from which on frames count; ignored by a tracker that
            needs none.
        session: decides on beam and couch; armed by the caller, or by the calls, where it is to open.
        timing: when each frame is decided on.
    """

    def __init__(
        self,
        follower: Follower | PairFollower,
        marked: MarkedLandmarks,
        session: Session,
        timing: Timing,
    ) -> None:
        self._follower = follower
        self._marked = marked
        self._session = session
        self._timing = timing
        self._shift_sequence: int | None = None

    def run(
        self,
        frames: Iterable[Frame],
        couch: Iterable[CouchStatus] = (),
        calls: Iterable[AuditEntry] = (),
    ) -> Iterator[Step]:
        """Yield what follows from each frame that is answered.

        Args:
            frames: in order of time.
            couch: where the couch was, in order of time; each is known to the gate once a decision
                is made at or after its stamp.
            calls: of the operator, in order of time; those that were refused are left out.

        Raises:
            UserError: a marked landmark does not lie in its frame.
        """
        events = merge(couch, (call for call in calls if call.accepted), key=lambda event: event.stamp_ns)
        event = next(events, None)
        started = not self._follower.needs_initialization
        for frame in frames:
            if not started:
                if frame.stamp_ns < self._marked.stamp_ns:
                    continue
                self._follower.initialize(frame, self._marked.landmarks)
                started = True
            stamps = self._timing.stamps(frame.stamp_ns)
            if stamps is None:
                self._follower.pass_by(frame)
                continue
            while event is not None and event.stamp_ns <= stamps.decided_ns:
                self._take_up(event)
                event = next(events, None)
            step = self._step(replace(frame, received_ns=stamps.received_ns), stamps)
            if step is not None:
                yield step

    def _take_up(self, event: CouchStatus | AuditEntry) -> None:
        """Let the session know, at the time that it happened, what ticks have seen by then."""
        self._session.tick(event.stamp_ns)
        if isinstance(event, CouchStatus):
            self._session.couch(event, event.stamp_ns)
        else:
            self._session.operate(event.action, event.stamp_ns)

    def _step(self, frame: Frame, stamps: LatencyStamps) -> Step | None:
        found = self._follower.update(frame)
        if found is None:
            return None
        tracked = replace(found, stamps=replace(stamps, decided_ns=0))
        # the live gate gets metres in a message: only what went that way agrees with it to the bit
        landmarks = interface.read_landmark_array(interface.landmark_array(interface.make_plain, tracked))
        # a frame that the live run did not decide on sends nothing that its couch has yet to acknowledge
        self._shift_sequence = self._timing.shift_sequences.get(frame.stamp_ns, self._shift_sequence)
        answer = self._session.landmarks(landmarks, stamps.decided_ns, self._shift_sequence)
        assert answer.decision is not None
        return Step(frame, landmarks, answer.decision, answer.shift)


class Digest:
    """A fingerprint of decisions: states, reasons, margins and targets, to the bit of their messages."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add_step(self, step: Step) -> None:
        """Take up what followed from one frame."""
        make = interface.make_plain
        self.add(interface.gate_decision(make, step.decision), interface.couch_shift(make, step.shift))

    def add(self, decision: interface.Message, shift: interface.Message) -> None:
        """Take up a GateDecision and the CouchShift of the same frame."""
        target, couch = decision.target, shift.translation
        self._hash.update(
            struct.pack(
                "<qBQddddBddd",
                interface.stamp_ns(decision.header.stamp),
                decision.state,
                decision.reasons,
                decision.margin,
                *(target.x, target.y, target.z),
                shift.mode,
                *(couch.x, couch.y, couch.z),
            )
        )

    def hexdigest(self) -> str:
        """Return the fingerprint so far."""
        return self._hash.hexdigest()

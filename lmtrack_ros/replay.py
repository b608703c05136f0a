"""What a replay is fed: frames, couch poses, landmarks and times, from a recording or any other source."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmtrack_ros import interface
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.parameters import build
from lmtrack_ros.core.records import (
    AuditEntry,
    CouchShift,
    CouchStatus,
    GateDecision,
    LatencyStamps,
    MarkedLandmarks,
)
from lmtrack_ros.gating.parameters import GatingParameters
from lmtrack_ros.gating.session import Session
from lmtrack_ros.pipeline import Pipeline, Timing
from lmtrack_ros.recording import Recording, is_recording
from lmtrack_ros.sources import Source, open_source
from lmtrack_ros.sources.landmarks import marked_landmarks
from lmtrack_ros.trackers.parameters import read_groups, read_section
from lmtrack_ros.trackers.selection import create_follower

# of a gate that no live run preceded: it has no consumers who could mistake it for another
_SESSION = 1


@dataclass(frozen=True, eq=False)
class Material:
    """Everything that decisions are a function of, beside the configuration.

    Attributes:
        source: of the frames; to be closed by the caller.
        couch: where the couch was, in order of time.
        calls: of the operator, in order of time.
        marked: the landmarks that come with the frames; none where nothing says where they are.
        recorded: latency stamps of a live run, by the stamp of the newest frame that it knew; empty where
            there was none.
        shift_sequences: of the couch shifts that the live run sent, likewise.
        session: that of the live run's gate, to which the couch's acknowledgements refer.
    """

    source: Source
    couch: tuple[CouchStatus, ...]
    calls: tuple[AuditEntry, ...]
    marked: MarkedLandmarks
    recorded: Mapping[int, LatencyStamps]
    shift_sequences: Mapping[int, int]
    session: int = _SESSION


def read_material(path: Path) -> Material:
    """Open a recording, or any other source that ends, for replay.

    Raises:
        UserError: it cannot be opened.
    """
    marked = marked_landmarks(path)
    if not is_recording(path):
        return Material(open_source(path), (), (), marked, {}, {})
    with Recording(path) as recording:
        couch = [interface.read_couch_status(m) for m in _messages(recording, "couch_status")]
        calls = [interface.read_audit_entry(m) for m in _messages(recording, "audit")]
        decisions = [interface.read_gate_decision(m) for m in _messages(recording, "gate")]
        shifts = [interface.read_couch_shift(m) for m in _messages(recording, "couch_shift")]
        # of a tracker whose output is late, an answer to one frame is about an older one
        newest = {
            interface.stamp_ns(m.stamps.received): newest_ns
            for m in _messages(recording, "landmarks")
            if (newest_ns := interface.stamp_ns(m.stamps.acquired))
        }
    # a tick's decision follows from no frame: it has no time of receipt
    decided = {newest.get(d.stamps.received_ns, d.stamp_ns): d for d in decisions if d.stamps.received_ns}
    return Material(
        open_source(path),
        tuple(sorted(couch, key=lambda status: status.stamp_ns)),
        tuple(sorted(calls, key=lambda call: call.stamp_ns)),
        marked,
        {frame_ns: decision.stamps for frame_ns, decision in decided.items()},
        _shift_sequences(decided, shifts),
        decisions[0].session if decisions else _SESSION,
    )


def make_pipeline(
    parameters: Mapping[str, Mapping[str, Any]],
    marked: MarkedLandmarks,
    timing: Timing,
    *,
    arm: bool = True,
    session: int = _SESSION,
) -> Pipeline:
    """Return the pipeline of a configuration.

    Args:
        parameters: of the nodes ``tracker`` and ``gating``, as in a configuration file.
        marked: the landmarks that come with the frames; those of the configuration win.
        timing: when each frame is decided on.
        arm: whether the gate is armed from the first frame on; otherwise the operator's calls arm it.
        session: of the gate.

    Raises:
        UserError: a section is missing, a parameter is wrong, or nothing says where the landmarks are.
    """
    for node in ("tracker", "gating"):
        if node not in parameters:
            raise UserError(f"the configuration has no section '{node}'")
    settings, _ = read_section(parameters["tracker"])
    follower = create_follower(settings, read_groups(parameters["tracker"]), _SESSION)
    marked = settings.marked or marked
    if follower.needs_initialization and not marked.landmarks:
        raise UserError(
            "nothing says where the landmarks are: give landmarks and pixels in the configuration's tracker "
            "section, or a recording with initial_landmarks"
        )
    decides = Session(build(GatingParameters, parameters["gating"], "gating"), session)
    if arm:
        decides.gate.arm()
    return Pipeline(follower, marked, decides, timing)


def _shift_sequences(decided: Mapping[int, GateDecision], shifts: Iterable[CouchShift]) -> Mapping[int, int]:
    """Return the numbers of the shifts that were sent with decisions, by the same keys."""
    sent: dict[int, deque[int]] = defaultdict(deque)
    for shift in shifts:
        # one that is proposed bears the stamp of a frame, too, but has lapsed when it is sent
        if shift.valid_until_ns > shift.stamp_ns:
            sent[shift.stamp_ns].append(shift.sequence)
    return {
        frame_ns: sent[decision.stamp_ns].popleft()
        for frame_ns, decision in decided.items()
        if sent[decision.stamp_ns]
    }


def _messages(recording: Recording, topic: str) -> Iterator[Any]:
    return (m for _, m, _ in recording.messages([topic])) if recording.has(topic) else iter(())

"""What a replay is fed: frames, couch poses, landmarks and times, from a recording or any other source."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmtrack_ros import interface
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.parameters import build
from lmtrack_ros.core.records import CouchStatus, Landmark, LatencyStamps, MarkedLandmarks
from lmtrack_ros.gating.couch_controller import CouchController, CouchParameters
from lmtrack_ros.gating.gate import Gate, GateParameters
from lmtrack_ros.pipeline import Pipeline, Timing
from lmtrack_ros.recording import Recording, is_recording
from lmtrack_ros.sources import Source, open_source
from lmtrack_ros.sources.landmarks import marked_landmarks
from lmtrack_ros.trackers import create_tracker

# a replayed gate has no consumers who could mistake it for another
_SESSION = 1


@dataclass(frozen=True, eq=False)
class Material:
    """Everything that decisions are a function of, beside the configuration.

    Attributes:
        source: of the frames; to be closed by the caller.
        couch: where the couch was, in order of time.
        marked: the landmarks that come with the frames; none where nothing says where they are.
        recorded: latency stamps of a live run, by the frame's stamp; empty where there was none.
    """

    source: Source
    couch: tuple[CouchStatus, ...]
    marked: MarkedLandmarks
    recorded: Mapping[int, LatencyStamps]


def read_material(path: Path) -> Material:
    """Open a recording, or any other source that ends, for replay.

    Raises:
        UserError: it cannot be opened.
    """
    marked = marked_landmarks(path)
    if not is_recording(path):
        return Material(open_source(path), (), marked, {})
    with Recording(path) as recording:
        couch = [interface.read_couch_status(m) for m in _messages(recording, "couch_status")]
        decisions = [interface.read_gate_decision(m) for m in _messages(recording, "gate")]
    return Material(
        open_source(path),
        tuple(sorted(couch, key=lambda status: status.stamp_ns)),
        marked,
        # a tick's decision follows from no frame: it has no time of receipt
        {d.stamp_ns: d.stamps for d in decisions if d.stamps.received_ns},
    )


def make_pipeline(
    parameters: Mapping[str, Mapping[str, Any]], marked: MarkedLandmarks, timing: Timing
) -> Pipeline:
    """Return the pipeline of a configuration, armed from the first frame on.

    Args:
        parameters: of the nodes ``tracker`` and ``gating``, as in a configuration file.
        marked: the landmarks that come with the frames; those of the configuration win.
        timing: when each frame is decided on.

    Raises:
        UserError: a section is missing, a parameter is wrong, or nothing says where the landmarks are.
    """
    for node in ("tracker", "gating"):
        if node not in parameters:
            raise UserError(f"the configuration has no section '{node}'")
    name = parameters["tracker"].get("tracker", "correlation")
    tracker = create_tracker(name, parameters["tracker"].get(name))
    marked = _configured_landmarks(parameters["tracker"]) or marked
    if tracker.needs_initialization and not marked.landmarks:
        raise UserError(
            "nothing says where the landmarks are: give landmarks and pixels in the configuration's tracker "
            "section, or a recording with initial_landmarks"
        )
    gating = dict(parameters["gating"])
    couch = build(CouchParameters, gating.pop("couch", {}), "gating: couch")
    gating.pop("tick_ms", None)
    gate = Gate(build(GateParameters, gating, "gating"), _SESSION)
    gate.arm()
    return Pipeline(tracker, marked, gate, CouchController(couch, _SESSION), timing)


def _configured_landmarks(tracker: Mapping[str, Any]) -> MarkedLandmarks | None:
    names, pixels = tracker.get("landmarks", ()), tracker.get("pixels", ())
    if not names:
        return None
    if len(pixels) != 2 * len(names):
        raise UserError("tracker: pixels needs column and row for each name in landmarks")
    pairs = zip(pixels[::2], pixels[1::2], strict=True)
    return MarkedLandmarks(
        tuple(Landmark(n, (float(u), float(v))) for n, (u, v) in zip(names, pairs, strict=True))
    )


def _messages(recording: Recording, topic: str) -> Iterator[Any]:
    return (m for _, m, _ in recording.messages([topic])) if recording.has(topic) else iter(())

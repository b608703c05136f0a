"""What a live run decided, decided again from its recording."""

from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from lmtrack_ros.core.records import GateDecision, Reason
from lmtrack_ros.pipeline import Step, Timing
from lmtrack_ros.replay import make_pipeline, read_material


def replayed(path: Path, parameters: Mapping[str, Mapping[str, Any]]) -> list[Step]:
    """Decide on a recording again, with the calls of its operator."""
    material = read_material(path)
    timing = Timing(0, material.recorded, material.shift_sequences)
    pipeline = make_pipeline(parameters, material.marked, timing, arm=False, session=material.session)
    with closing(material.source) as source:
        return list(pipeline.run(source, material.couch, material.calls))


def assert_decided_alike(steps: Iterable[Step], decisions: Iterable[GateDecision]) -> None:
    """See that a replay decided as the live run did, from its arming on.

    Before, the live tracker may not have heard of the geometry yet, which a replay knows from the start.
    """
    live = {d.stamp_ns: (d.state, d.reasons) for d in decisions if d.stamps.received_ns}
    since_armed = [s.decision for s in steps if not live[s.decision.stamp_ns][1] & Reason.NOT_ARMED]
    assert since_armed
    assert [(d.state, d.reasons) for d in since_armed] == [live[d.stamp_ns] for d in since_armed]

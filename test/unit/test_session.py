"""Gate and couch controller of one session agree, live and in replay."""

from itertools import islice

import pytest

from lmtrack_ros.core.records import NS_PER_MS, Landmark, MarkedLandmarks, Reason
from lmtrack_ros.phantoms import open_phantom
from lmtrack_ros.pipeline import Timing
from lmtrack_ros.replay import make_pipeline


@pytest.mark.parametrize("tracking", [False, True])
def test_replayed_couch_that_follows_must_say_where_it_is(tracking: bool) -> None:
    """Asserts that without couch poses a configuration whose couch follows from the start holds."""
    phantom = open_phantom("ultrasound")
    frames = list(islice(phantom, 2))
    truth = phantom.truth(frames[0].stamp_ns, 0.0)
    marked = MarkedLandmarks(tuple(Landmark(e.id, e.uv_px) for e in truth.estimates), frames[0].stamp_ns)
    parameters = {
        "tracker": {},
        "gating": {"window_axes": [False, True, True], "couch": {"tracking": tracking}},
    }
    for step in make_pipeline(parameters, marked, Timing(50 * NS_PER_MS)).run(frames):
        assert (Reason.COUCH_SILENT in step.decision.reasons) is tracking

"""A lung tumour that is found without a mark, live, by the weights that come along."""

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")

from test_lock_step import LATENCY_NS, live_digest, record

from lmtrack_ros import interface
from lmtrack_ros.configuration import find_config, load
from lmtrack_ros.core.records import (
    NS_PER_S,
    CouchMode,
    Estimate,
    Frame,
    GateDecision,
    GateState,
    Reason,
    Status,
)
from lmtrack_ros.evaluation.excerpt import Excerpt
from lmtrack_ros.graph import describe
from lmtrack_ros.phantoms import PhantomParameters, open_phantom
from lmtrack_ros.phantoms.insertion import insert
from lmtrack_ros.phantoms.motion import MotionParameters, MotionRange, open_motion
from lmtrack_ros.phantoms.target_appearance import TargetParameters
from lmtrack_ros.pipeline import Digest, Step, Timing
from lmtrack_ros.recording import Recording
from lmtrack_ros.replay import make_pipeline, read_material
from lmtrack_ros.ros.operator import Operator
from lmtrack_ros.ros.processes import Processes
from lmtrack_ros.sources import open_source

XRAY_CHEST = Path(__file__).parents[3] / "shared/data/xray_chest"
INFERENCE = {"backend": "eager", "device": "cpu"}
"""The same everywhere."""
SEED = 9001
"""Of a patient on whom nothing was trained or calibrated."""
FRAMES = 96
RATE_HZ = 8.0
LIVE_HZ = 4.0
"""Rendering and tracking together, what two cores can do with time to spare."""
AGE_MS = 800.0
"""Of a frame that is acted on: at this rate, a third of a second passes until the next is decided on."""
BREATH_S = 4.0
STILL_S, FOLLOWED = 9.0, 5
"""Two breaths and more with the couch still; breaths in which it follows, in the first of which it learns."""
FOLLOWS = 0.5
"""Of the motion with the couch still, what may be left in most breaths: the network may hesitate in one."""
ATTEMPTS = 3
"""On a busy machine frames come late, and the couch with them."""


@pytest.fixture
def parameters() -> dict[str, Any]:
    """The configuration for fluoroscopy as it comes, but for what runs the network."""
    sections = load(find_config("lung_fluoroscopy"))
    assert sections["tracker"]["tracker"] == "coarse_to_fine_unet"
    sections["tracker"]["coarse_to_fine_unet"]["inference"] = INFERENCE
    return sections


def phantom_recording(path: Path) -> list[Frame]:
    return record(path, list(islice(open_phantom("fluoroscopy", PhantomParameters(seed=SEED)), FRAMES)), ())


def inserted_recording(path: Path) -> list[Frame]:
    if not XRAY_CHEST.is_dir():
        pytest.skip("the real recordings are not beside the checkout")
    motion = MotionParameters(kind="breathing", peak_to_peak_mm=12.0, anterior_mm=0.0, period_s=4.0)
    tumour = TargetParameters(diameters_mm=(30.0, 28.0, 28.0))
    shown = insert(
        Excerpt.of(open_source(XRAY_CHEST)), (250.0, 430.0), tumour, open_motion(motion, MotionRange(), 0)
    )
    return record(path, [sample.frame for sample in islice(shown, FRAMES)], ())


def replayed(path: Path, frames: list[Frame], parameters: dict[str, Any]) -> Iterator[Step]:
    material = read_material(path)
    material.source.close()
    return make_pipeline(parameters, material.marked, Timing(LATENCY_NS)).run(frames)


@pytest.mark.parametrize(
    "recorded", [phantom_recording, inserted_recording], ids=["phantom", "inserted into xray_chest"]
)
def test_live_nodes_decide_as_the_replay(
    ros: Any, tmp_path: Path, parameters: dict[str, Any], recorded: Any
) -> None:
    frames = recorded(tmp_path / "recording")
    expected, opened = Digest(), 0
    for step in replayed(tmp_path / "recording", frames, parameters):
        expected.add_step(step)
        opened += step.decision.state is GateState.BEAM_ON
    # it opens, and it holds: at first, and whenever the tumour leaves the window
    assert 0 < opened < FRAMES
    assert live_digest(ros, frames, parameters, ()) == (expected.hexdigest(), opened)


BREATHING = {"kind": "breathing", "peak_to_peak_mm": 16.0, "anterior_mm": 1.0, "period_s": BREATH_S}


def run_live(folder: Path, parameters: dict[str, Any]) -> Path:
    """Run all nodes on a breathing phantom, the couch still at first; returns the recording."""
    couch = {
        **parameters["gating"]["couch"],
        "response_ms": 50.0,
        "speed_limit_mm_s": 20.0,
        "validity_ms": AGE_MS,
    }
    overrides = {
        "image_source": {
            "uri": "phantom:fluoroscopy",
            "phantom": {"seed": SEED, "rate_hz": LIVE_HZ, "motion": BREATHING},
            "imaging_latency_ms": 50.0,
        },
        "tracker": parameters["tracker"],
        "gating": {**parameters["gating"], "max_age_ms": AGE_MS, "latency_budget_ms": AGE_MS, "couch": couch},
        "couch_simulator": {"dead_time_ms": 50.0, "speed_mm_s": 20.0},
        "recorder": {"path": str(folder / "recording")},
    }
    nodes = describe(find_config("lung_fluoroscopy"), overrides)
    with Processes(nodes, log_directory=folder / "log") as processes, Operator() as operator:

        def spin(seconds: float) -> None:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                processes.check()
                operator.spin_once()

        until = time.monotonic() + 60.0
        while not _tracks(operator):
            assert time.monotonic() < until, "never TRACKED"
            spin(0.1)
        operator.arm(10.0)
        spin(STILL_S)
        operator.set_couch_tracking(True, 10.0)
        spin(FOLLOWED * BREATH_S)
    return folder / "recording"


def _tracks(operator: Operator) -> bool:
    # without a geometry yet, there is nothing to say of the tumour
    said = operator.landmarks.estimates if operator.landmarks is not None else ()
    return any(one.status is Status.TRACKED for one in said)


class Loop(NamedTuple):
    """What a recording holds, of the tumour in the isocentre plane, since the gate was armed.

    Attributes:
        truth_mm: (2,) true position by stamp.
        found: as said, by stamp.
        decisions: of the gate.
        following_ns: when the couch began to follow.
    """

    truth_mm: dict[int, Any]
    found: dict[int, Estimate]
    decisions: list[GateDecision]
    following_ns: int

    def along_mm(self, after_s: float, before_s: float) -> NDArray[np.float64]:
        """Return the true positions along the body, by the time since the couch began to follow."""
        begin, end = (self.following_ns + round(at_s * NS_PER_S) for at_s in (after_s, before_s))
        return np.array([at[1] for ns, at in self.truth_mm.items() if begin <= ns < end])


def read_loop(path: Path) -> Loop:
    phantom = open_phantom("fluoroscopy", PhantomParameters(seed=SEED))

    def in_plane_mm(position_mm: Any) -> Any:
        return phantom.geometry.position_mm(phantom.pixel(position_mm))[:2]

    with Recording(path) as recording:

        def every(topic: str, read: Any) -> list[Any]:
            return [read(message) for _, message, _ in recording.messages([topic])]

        truth = every("truth", interface.read_landmark_array)
        found = every("landmarks", interface.read_landmark_array)
        decisions = every("gate", interface.read_gate_decision)
        shifts = every("couch_shift", interface.read_couch_shift)
    armed = [d for d in decisions if not d.reasons & (Reason.NOT_ARMED | Reason.SHUTDOWN)]
    return Loop(
        {t.stamp_ns: in_plane_mm(e.position_mm) for t in truth for e in t.estimates if e.id == "tumor"},
        {f.stamp_ns: f.estimates[0] for f in found},
        armed,
        next(shift.stamp_ns for shift in shifts if shift.mode is CouchMode.TRACKING),
    )


def test_gate_and_couch_follow_a_breathing_phantom(
    domain: int, tmp_path: Path, parameters: dict[str, Any]
) -> None:
    for attempt in range(ATTEMPTS):
        loop = read_loop(run_live(tmp_path / str(attempt), parameters))
        still_mm = loop.along_mm(-STILL_S, 0.0).std()
        breaths = [loop.along_mm(n * BREATH_S, (n + 1) * BREATH_S) for n in range(1, FOLLOWED)]
        left = np.median([breath.std() for breath in breaths]) / still_mm
        if left < FOLLOWS:
            break
    assert left < FOLLOWS
    assert {decision.state for decision in loop.decisions} == {GateState.BEAM_ON, GateState.HOLD}
    known = {ns: e for ns, e in loop.found.items() if e.status is Status.TRACKED and ns in loop.truth_mm}
    assert len(known) > 0.5 * len(loop.found)
    error_mm = np.array([np.linalg.norm(e.position_mm[:2] - loop.truth_mm[ns]) for ns, e in known.items()])
    assert np.median(error_mm) < 3.0
    assert np.mean(error_mm <= [e.radius_mm for e in known.values()]) > 0.9

"""Landmarks in ultrasound live, by the weights that come along: breaths, a cough, a real recording."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from test_lock_step import LATENCY_NS, kidney_recording, live_digest, record

from lmtrack_ros import interface
from lmtrack_ros.configuration import find_config, load
from lmtrack_ros.core.records import Frame, GateState, Landmark
from lmtrack_ros.phantoms import PhantomParameters, open_phantom
from lmtrack_ros.phantoms.motion import MotionParameters
from lmtrack_ros.pipeline import Digest, Step, Timing
from lmtrack_ros.replay import make_pipeline, read_material
from lmtrack_ros.ros.convert import make

COUGH_S = 3.0
COUGHING = open_phantom(
    "ultrasound",
    PhantomParameters(
        "liver",
        seed=3,
        motion=MotionParameters(
            kind="breathing", peak_to_peak_mm=2.0, anterior_mm=0.5, events=(f"cough@{COUGH_S}",)
        ),
    ),
)


def coughing_recording(path: Path) -> list[Frame]:
    return record(path, list(islice(COUGHING, 120)), COUGHING.landmarks(0.0))


@pytest.fixture
def parameters() -> dict[str, Any]:
    """The configuration for ultrasound as it comes, but for what runs the network: the same everywhere."""
    sections = load(find_config("liver_ultrasound"))
    assert sections["tracker"]["tracker"] == "attention_mask_rcnn"
    sections["tracker"]["attention_mask_rcnn"]["inference"] = {"backend": "eager", "device": "cpu"}
    return sections


def replayed(
    path: Path, frames: Sequence[Frame], parameters: dict[str, Any]
) -> tuple[list[Step], tuple[Landmark, ...]]:
    """Return what follows from frames, and the landmarks that were marked."""
    material = read_material(path)
    material.source.close()
    assert frames[0].geometry is not None
    # a message may round the pose of the imager in its last bit
    message = interface.image_geometry(make, frames[0].geometry, 1, "imager")
    received = [replace(frame, geometry=interface.read_image_geometry(message)) for frame in frames]
    pipeline = make_pipeline(parameters, material.marked, Timing(LATENCY_NS))
    return list(pipeline.run(received)), material.marked.landmarks


def digest(steps: Sequence[Step]) -> tuple[str, int]:
    found = Digest()
    for step in steps:
        found.add_step(step)
    return found.hexdigest(), sum(step.decision.state is GateState.BEAM_ON for step in steps)


@pytest.mark.parametrize("recorded", [coughing_recording, kidney_recording], ids=["phantom", "us_kidney"])
def test_live_nodes_decide_as_the_replay(
    ros: Any, tmp_path: Path, parameters: dict[str, Any], recorded: Any
) -> None:
    frames = recorded(tmp_path / "recording")
    steps, landmarks = replayed(tmp_path / "recording", frames, parameters)
    expected = digest(steps)
    assert 0 < expected[1] < len(frames)
    assert live_digest(ros, frames, parameters, landmarks) == expected


def test_gate_holds_in_a_cough_and_resumes_after(tmp_path: Path, parameters: dict[str, Any]) -> None:
    frames = coughing_recording(tmp_path / "recording")
    steps, _ = replayed(tmp_path / "recording", frames, parameters)
    start_mm = centre_mm(0.0)
    away_mm = np.array(
        [np.abs(centre_mm(i / COUGHING.info.rate_hz) - start_mm)[1:].max() for i in range(120)]
    )
    time_s = np.arange(120) / COUGHING.info.rate_hz
    is_on = np.array([step.decision.state is GateState.BEAM_ON for step in steps])
    in_cough = (time_s > COUGH_S - 0.2) & (away_mm > 3.5)
    assert in_cough.sum() >= 2, "the phantom does not cough out of the window"
    assert not is_on[in_cough].any()
    assert is_on[(time_s > 0.5) & (time_s < COUGH_S - 0.3)].mean() > 0.9
    assert is_on[time_s > COUGH_S + 2.0].mean() > 0.9


def centre_mm(time_s: float) -> Any:
    return np.mean(list(COUGHING.positions_mm(time_s).values()), axis=0)

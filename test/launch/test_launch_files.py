"""The launch files start for real, where launch is installed."""

import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

pytest.importorskip("launch_ros", reason="launch is not installed: it has no wheel")
pytest.importorskip("domain_coordinator")

from domain_coordinator import domain_id

from lmtrack_ros import interface
from lmtrack_ros.core.records import NS_PER_S, MarkedLandmarks
from lmtrack_ros.phantoms import open_phantom
from lmtrack_ros.phantoms.phantom import PhantomParameters
from lmtrack_ros.recording import Recording, RecordingWriter

LAUNCH = Path(__file__).parents[2] / "launch"

SCRIPT = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription, Shutdown, TimerAction
from launch.launch_description_sources import PythonLaunchDescriptionSource

path, seconds, *arguments = sys.argv[1:]
service = LaunchService()
service.include_launch_description(LaunchDescription([
    IncludeLaunchDescription(
        PythonLaunchDescriptionSource(path),
        launch_arguments=[argument.split(":=", 1) for argument in arguments],
    ),
    TimerAction(period=float(seconds), actions=[Shutdown()]),
]))
sys.exit(service.run())
"""


def launch(name: str, seconds: float, monkeypatch: pytest.MonkeyPatch, **arguments: object) -> None:
    with domain_id() as number:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
        monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        given = [f"{key}:={value}" for key, value in arguments.items()]
        command = [sys.executable, "-c", SCRIPT, str(LAUNCH / f"{name}.launch.py"), str(seconds), *given]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "process has died" not in result.stdout + result.stderr


def states(path: Path) -> Counter[str]:
    with Recording(path) as recording:
        decisions = [interface.read_gate_decision(m) for _, m, _ in recording.messages(["gate"])]
    assert decisions[-1].state.name == "HOLD"
    return Counter(d.state.name for d in decisions)


def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launch("demo", 12, monkeypatch, record=tmp_path / "rec")
    assert states(tmp_path / "rec")["BEAM_ON"] > 20


def test_replay_on_the_time_of_the_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phantom = open_phantom("ultrasound", PhantomParameters(preset="demo"))
    frames = list(islice(phantom, 120))
    truth = phantom.truth(frames[0].stamp_ns, 0.0)
    marked = MarkedLandmarks(
        tuple(interface.Landmark(e.id, e.uv_px) for e in truth.estimates), frames[0].stamp_ns
    )
    with RecordingWriter(tmp_path / "bag") as writer:
        message = interface.initial_landmarks(writer.make, marked, "imager")
        writer.write("initial_landmarks", message, frames[0].stamp_ns)
        for frame in frames:
            writer.write_frame(frame)
    launch("replay", 12, monkeypatch, bag=tmp_path / "bag", rate=1.0, config="demo", record=tmp_path / "rec")
    assert states(tmp_path / "rec")["BEAM_ON"] > 0
    with Recording(tmp_path / "rec") as recording:
        stamps = [interface.stamp_ns(m.header.stamp) for _, m, _ in recording.messages(["image"])]
        assert recording.has("clock")
    assert set(stamps) <= {f.stamp_ns for f in frames}
    assert stamps[-1] < 10 * NS_PER_S


def test_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an operator the gate holds."""
    launch("live", 6, monkeypatch, config="demo", record=tmp_path / "rec", namespace="room1")
    assert states(tmp_path / "rec")["BEAM_ON"] == 0

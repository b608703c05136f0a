"""The template matching tracker live: made ready before the first frame, and replayed to the bit.

The network is small and not trained: it says that everything is where it was marked, and refinement finds it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("torch")

from conftest import matched
from template_matching_example import write_run
from test_lock_step import INITIALIZE, LATENCY_NS, live_digest, marking, record

from lmtrack_ros import interface
from lmtrack_ros.configuration import find_config, load
from lmtrack_ros.core.records import Frame, GateState, Landmark, Status
from lmtrack_ros.nodes.tracker import TrackerNode
from lmtrack_ros.phantoms import PhantomParameters, open_phantom
from lmtrack_ros.pipeline import Digest, Timing
from lmtrack_ros.recording import Recording
from lmtrack_ros.replay import make_pipeline, read_material
from lmtrack_ros.ros.convert import make

ROOT = Path(__file__).parents[2]
CINE_LIVER = ROOT.parent / "shared/data/cine_liver"
LMTRACK = [sys.executable, "-m", "lmtrack_ros.cli.main"]
EAGER = {"backend": "eager", "device": "cpu"}
PHANTOM = open_phantom("mr", PhantomParameters())
SURE_MM = 100.0
"""With which a network that was not trained counts as sure."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return list(islice(PHANTOM, 40))


@pytest.fixture
def configuration(tmp_path: Path, weights: str) -> Path:
    """The configuration for MR, with this tracker and these weights."""
    return written(tmp_path, weights=weights, inference=EAGER, sure_mm=SURE_MM)


def written(folder: Path, **parameters: Any) -> Path:
    sections = load(find_config("liver_mr"))
    sections["tracker"] |= {"tracker": "template_matching", "template_matching": parameters}
    path = folder / "mr.yaml"
    path.write_text(yaml.safe_dump({name: {"ros__parameters": p} for name, p in sections.items()}))
    return path


def phantom_recording(path: Path) -> list[Frame]:
    return record(path, list(islice(PHANTOM, 40)), PHANTOM.landmarks(0.0))


def cine_liver_bag(path: Path) -> list[Frame]:
    if not CINE_LIVER.is_dir():
        pytest.skip("the real recordings are not beside the checkout")
    done = subprocess.run([*LMTRACK, "convert", CINE_LIVER, "--out", path], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    with Recording(path) as recording:
        return list(islice(recording.frames(), 60))


@pytest.mark.parametrize("recorded", [phantom_recording, cine_liver_bag], ids=["phantom", "cine_liver"])
def test_live_nodes_decide_as_the_replay(
    ros: Any, tmp_path: Path, configuration: Path, recorded: Any
) -> None:
    frames = recorded(tmp_path / "recording")
    material = read_material(tmp_path / "recording")
    material.source.close()
    landmarks = material.marked.landmarks
    parameters = load(configuration)
    # an edge shows one axis only, which the gate cannot do with
    parameters["gating"]["landmarks"] = [m.id for m in landmarks if all(m.axes)]
    assert frames[0].geometry is not None
    # a message may round the pose of the imager in its last bit
    message = interface.image_geometry(make, frames[0].geometry, 1, "imager")
    received = [replace(frame, geometry=interface.read_image_geometry(message)) for frame in frames]
    replayed, opened = Digest(), 0
    for step in make_pipeline(parameters, material.marked, Timing(LATENCY_NS)).run(received):
        replayed.add_step(step)
        opened += step.decision.state is GateState.BEAM_ON
    assert 0 < opened < len(frames)

    live = live_digest(ros, frames, parameters, landmarks)
    assert live == (replayed.hexdigest(), opened)


def test_node_follows_what_the_service_marks(ros: Any, weights: str, frames: list[Frame]) -> None:
    """Ready before the first frame; where it says the veins are, they are."""
    node = ros.add(
        TrackerNode,
        tracker="template_matching",
        template_matching__weights=weights,
        template_matching__inference__backend="eager",
        template_matching__sure_mm=SURE_MM,
    )
    landmarks, images = ros.listen("landmarks"), ros.publisher("image")
    geometries = ros.publisher("image_geometry")
    ros.spin_until(lambda: matched((images, geometries)))
    assert frames[0].geometry is not None
    geometries.publish(interface.image_geometry(make, frames[0].geometry, 1, "imager"))
    ros.spin_until(lambda: node._geometry is not None)
    veins = [m for m in PHANTOM.landmarks(0.0) if all(m.axes)]
    outside = marking(frames[0], [Landmark("far", (5000.0, 1.0))])
    images.publish(interface.image(make, frames[0].image, frames[0].stamp_ns, "imager"))
    ros.spin_until(lambda: bool(node._buffer))
    assert not ros.call(INITIALIZE, "initialize_landmarks", outside).accepted
    assert ros.call(INITIALIZE, "initialize_landmarks", marking(frames[0], veins)).accepted
    for index in range(1, 6):
        stamp_ns = frames[index].stamp_ns
        images.publish(interface.image(make, frames[index].image, stamp_ns, "imager"))
        ros.spin_until(
            lambda now=stamp_ns: landmarks and interface.stamp_ns(landmarks[-1].header.stamp) == now
        )
        found = interface.read_landmark_array(landmarks[-1])
        truth = PHANTOM.truth(stamp_ns, index / PHANTOM.info.rate_hz)
        places_mm = {e.id: e.position_mm for e in truth.estimates}
        assert (found.model, found.marking, found.faults) == ("template_matching", 1, 0)
        assert [e.id for e in found.estimates] == [m.id for m in veins]
        for estimate in found.estimates:
            assert estimate.status is Status.TRACKED
            assert abs(estimate.position_mm - places_mm[estimate.id])[1:].max() < 1.5


@pytest.fixture
def running(domain: int, tmp_path: Path) -> Iterator[Any]:
    """Start ``lmtrack run``; its log is what it says on standard error."""
    log = tmp_path / "log"
    started: list[subprocess.Popen[bytes]] = []

    def start(configuration: Path, *import_first: Path) -> tuple[subprocess.Popen[bytes], Path]:
        path = os.pathsep.join(map(str, (*import_first, ROOT)))
        environment = {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache")}
        with log.open("wb") as output:
            command = [*LMTRACK, "run", str(configuration), "--uri", "phantom:mr"]
            started.append(subprocess.Popen(command, env=environment, stdout=output, stderr=output))
        return started[-1], log

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(30)


def test_log_says_how_the_network_was_made_ready(running: Any, configuration: Path) -> None:
    process, log = running(configuration)
    until = time.monotonic() + 60
    while "waiting for frames" not in log.read_text():
        assert time.monotonic() < until, log.read_text()
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    said = [line for line in log.read_text().splitlines() if "[tracker]" in line]
    (ready,) = (i for i, line in enumerate(said) if "ready, by eager on cpu in fp32" in line)
    (waiting,) = (i for i, line in enumerate(said) if "waiting for frames" in line)
    assert ready < waiting
    assert all("[INFO]" in line for line in said[: waiting + 1])


def test_warning_of_the_engine_is_one_of_the_node(running: Any, tmp_path: Path, weights: str) -> None:
    """Here because the library that is asked for is not there."""
    hidden = tmp_path / "hidden"
    (hidden / "openvino").mkdir(parents=True)
    (hidden / "openvino" / "__init__.py").write_text("raise ImportError('hidden', name='openvino')\n")
    configuration = written(tmp_path, weights=weights, inference={"backend": "openvino"})
    process, log = running(configuration, hidden)
    until = time.monotonic() + 60
    while "waiting for frames" not in log.read_text():
        assert time.monotonic() < until, log.read_text()
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    (warning,) = (line for line in log.read_text().splitlines() if "[WARN]" in line and "[tracker]" in line)
    assert "runs by eager on cpu in fp32: openvino is not installed" in warning


def assert_ends_in_one_line(process: Any, log: Path, *words: str) -> None:
    assert process.wait(60) == 2
    said = log.read_text()
    assert "Traceback" not in said
    (error,) = {line for line in said.splitlines() if line.startswith("error: ") and "node" not in line[:12]}
    for word in words:
        assert word in error


def test_weights_that_are_not_there_end_in_one_line(running: Any, tmp_path: Path) -> None:
    process, log = running(written(tmp_path, weights="nowhere"))
    assert_ends_in_one_line(process, log, "unknown weights of template_matching 'nowhere'")


def test_without_torch_it_ends_in_one_line(running: Any, tmp_path: Path, weights: str) -> None:
    hidden = tmp_path / "hidden"
    (hidden / "torch").mkdir(parents=True)
    (hidden / "torch" / "__init__.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n"
    )
    process, log = running(written(tmp_path, weights=weights), hidden)
    assert_ends_in_one_line(process, log, "needs torch", "requirements/models.txt")


def test_node_by_correlation_does_not_load_torch(domain: int) -> None:
    code = """
import sys
import rclpy
from lmtrack_ros.nodes.tracker import TrackerNode
rclpy.init()
node = TrackerNode()
assert node.start(), node.failure
loaded = [name for name in ("torch", "openvino") if name in sys.modules]
node.finish()
sys.exit(f"loaded: {loaded}" if loaded else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr

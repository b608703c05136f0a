"""The live graph and the replay decide alike, to the bit, on the same frames and stamps."""

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from rosgraph_msgs.msg import Clock
from std_srvs.srv import Trigger

from lmtrack_ros import interface
from lmtrack_ros.configuration import find_config, load
from lmtrack_ros.core.records import NS_PER_MS, Frame, GateState
from lmtrack_ros.nodes.gating import GatingNode
from lmtrack_ros.nodes.tracker import TrackerNode
from lmtrack_ros.phantoms import open_phantom
from lmtrack_ros.phantoms.phantom import PhantomParameters
from lmtrack_ros.pipeline import Digest, Timing
from lmtrack_ros.recording import Recording, RecordingWriter
from lmtrack_ros.replay import make_pipeline, read_material
from lmtrack_ros.ros.convert import make, message_class
from lmtrack_ros.sources import open_source
from lmtrack_ros.sources.landmarks import first_frame_landmarks

KIDNEY = Path(__file__).parents[3] / "shared/data/us_kidney"
LATENCY_NS = 60 * NS_PER_MS
INITIALIZE = message_class("lmtrack_ros/srv/InitializeLandmarks")


def record(path: Path, frames: list[Frame], landmarks: Any) -> list[Frame]:
    """Write frames and return them as the recording gives them back."""
    with RecordingWriter(path) as writer:
        for frame in frames:
            writer.write_frame(frame)
        marked = interface.MarkedLandmarks(tuple(landmarks), frames[0].stamp_ns)
        writer.write(
            "initial_landmarks",
            interface.initial_landmarks(writer.make, marked, "imager"),
            frames[0].stamp_ns,
        )
    with Recording(path) as recording:
        return list(recording.frames())


def phantom_recording(path: Path) -> list[Frame]:
    phantom = open_phantom("ultrasound", PhantomParameters(preset="demo"))
    frames = list(islice(phantom, 90))
    truth = phantom.truth(frames[0].stamp_ns, 0.0)
    return record(path, frames, [interface.Landmark(e.id, e.uv_px) for e in truth.estimates])


def kidney_recording(path: Path) -> list[Frame]:
    if not KIDNEY.is_dir():
        pytest.skip("the real recordings are not beside the checkout")
    with open_source(KIDNEY, view="longitudinal") as source:
        return record(path, list(islice(source, 80)), first_frame_landmarks(KIDNEY))


def live_digest(ros: Any, frames: list[Frame], parameters: dict[str, Any], landmarks: Any) -> tuple[str, int]:
    """Feed the live nodes frame by frame; returns the digest and how many decisions opened the beam.

    Args:
        ros: where the nodes live.
        frames: to feed.
        parameters: of a configuration.
        landmarks: marked on the first frame, by the service; none for a tracker that needs none.
    """
    tracker = ros.add(TrackerNode, use_sim_time=True, **flat(parameters["tracker"]))
    gating = ros.add(GatingNode, use_sim_time=True, max_clock_jump_ms=0.0, **flat(parameters["gating"]))
    decisions, shifts = ros.listen("gate"), ros.listen("couch_shift")
    image, geometry = ros.publisher("image"), ros.publisher("image_geometry")
    clock = ros.probe.create_publisher(Clock, "/clock", 10)
    ros.spin_until(
        lambda: (
            all(p.get_subscription_count() for p in (image, geometry)) and clock.get_subscription_count() >= 2
        )
    )
    assert frames[0].geometry is not None
    geometry.publish(interface.image_geometry(make, frames[0].geometry, frames[0].stamp_ns, "imager"))
    ros.spin_until(lambda: tracker._geometry is not None)
    assert ros.call(Trigger, "arm", Trigger.Request()).success
    if landmarks:
        assert ros.call(INITIALIZE, "initialize_landmarks", marking(frames[0], landmarks)).accepted

    digest = Digest()
    opened = 0
    for frame in frames:
        decided_ns = frame.stamp_ns + LATENCY_NS
        sec, nanosec = divmod(decided_ns, 1_000_000_000)
        clock.publish(Clock(clock=make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)))
        ros.spin_until(lambda now=decided_ns: tracker.now_ns() == gating.now_ns() == now)
        image.publish(interface.image(make, frame.image, frame.stamp_ns, "imager"))

        def of_frame(messages: list[Any], stamp_ns: int = frame.stamp_ns) -> list[Any]:
            return [m for m in messages if interface.stamp_ns(m.header.stamp) == stamp_ns]

        ros.spin_until(lambda: bool(of_frame(decisions) and of_frame(shifts)))
        (decision,), (shift,) = of_frame(decisions), of_frame(shifts)
        digest.add(decision, shift)
        opened += decision.state == GateState.BEAM_ON
    return digest.hexdigest(), opened


def marking(frame: Frame, landmarks: Any) -> Any:
    """Return the request that marks landmarks on a frame."""
    sec, nanosec = divmod(frame.stamp_ns, 1_000_000_000)
    return INITIALIZE.Request(
        stamp=make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec),
        ids=[m.id for m in landmarks],
        pixels=[v for m in landmarks for v in m.uv_px],
        axes=[v for m in landmarks for v in m.axes],
    )


def flat(parameters: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested parameters with ``__`` between the levels."""
    result: dict[str, Any] = {}
    for name, value in parameters.items():
        if isinstance(value, dict):
            result |= flat(value, f"{prefix}{name}__")
        else:
            result[prefix + name] = value
    return result


@pytest.mark.parametrize(
    ("config", "recorded"),
    [("demo", phantom_recording), ("liver_ultrasound", kidney_recording)],
    ids=["phantom", "us_kidney"],
)
def test_live_nodes_decide_as_the_replay(ros: Any, tmp_path: Path, config: str, recorded: Any) -> None:
    frames = recorded(tmp_path / "recording")
    parameters = load(find_config(config))
    parameters["tracker"]["tracker"] = "correlation"
    material = read_material(tmp_path / "recording")
    replayed, opened = Digest(), 0
    for step in make_pipeline(parameters, material.marked, Timing(LATENCY_NS)).run(frames):
        replayed.add_step(step)
        opened += step.decision.state is GateState.BEAM_ON
    assert 0 < opened < len(frames)

    live = live_digest(ros, frames, parameters, material.marked.landmarks)
    assert live == (replayed.hexdigest(), opened)

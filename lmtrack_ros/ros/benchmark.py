"""Latency and loss of full-size frames through the live graph, beside plain rclpy in the same run."""

import multiprocessing
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import yaml
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from lmtrack_ros import graph, interface
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import ImageGeometry, Modality
from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S, Frame
from lmtrack_ros.gating.latency import percentiles
from lmtrack_ros.recording import RecordingWriter
from lmtrack_ros.ros import environment, qos
from lmtrack_ros.ros.convert import make, message_class
from lmtrack_ros.ros.operator import Operator
from lmtrack_ros.ros.processes import Processes

SIZE_PX = 1024
_START_TIMEOUT_S = 30.0
_SILENCE_S = 3.0
_READY = "ready"
_LANDMARK_PX = (512.0, 512.0)


def measure(frames: int, rate_hz: float, directory: Path) -> dict[str, Any]:
    """Send the same frames through plain rclpy and through the graph, one after the other.

    Args:
        frames: how many.
        rate_hz: at which rate.
        directory: scratch space for about 1 MiB per frame.

    Returns:
        For each, frames sent and received and latency in ms; ratios of the graph's to plain's.
    """
    environment.prepare()
    picture = _texture()
    plain = _plain(picture, frames, rate_hz)
    live = _graph(picture, frames, rate_hz, directory)
    ratios = {name: live["latency_ms"][name] / plain["latency_ms"][name] for name in ("p50", "p99")}
    return {
        "image": f"{SIZE_PX}x{SIZE_PX} mono8",
        "rate_hz": rate_hz,
        "plain_rclpy": plain,
        "acquisition_to_decision_without_tracker": live,
        "ratio": ratios,
    }


def _texture() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (SIZE_PX, SIZE_PX), dtype=np.uint8)


# plain rclpy -------------------------------------------------------------------------------------


def _plain(picture: NDArray[np.uint8], frames: int, rate_hz: float) -> dict[str, Any]:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    listener = multiprocessing.get_context("spawn").Process(target=_listen, args=(theirs, frames))
    listener.start()
    theirs.close()  # so that the listener's end is noticed
    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        node = Node("bench_publisher", context=context)
        publisher = node.create_publisher(message_class("sensor_msgs/msg/Image"), "bench_image", qos.IMAGES)
        if not ours.poll(_START_TIMEOUT_S) or ours.recv() != _READY:
            raise UserError("the benchmark's listener does not start")
        until = time.monotonic() + _START_TIMEOUT_S
        while not publisher.get_subscription_count() and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.5)
        start_ns = time.time_ns()
        for index in range(frames):
            due_ns = start_ns + round(index * NS_PER_S / rate_hz)
            time.sleep(max(0.0, (due_ns - time.time_ns()) / NS_PER_S))
            publisher.publish(interface.image(make, picture, time.time_ns(), "bench"))
        if not ours.poll(_START_TIMEOUT_S):
            raise UserError("the benchmark's listener does not answer")
        latency_ns = ours.recv()
        node.destroy_node()
    except EOFError as error:
        raise UserError("the benchmark's listener has died") from error
    finally:
        rclpy.try_shutdown(context=context)
        listener.terminate()
        listener.join()
    if not len(latency_ns):
        raise UserError("no frame came through plain rclpy")
    return {"sent": frames, "received": len(latency_ns), "latency_ms": percentiles(latency_ns / NS_PER_MS)}


def _listen(connection: Connection, frames: int) -> None:
    environment.prepare()
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node("bench_listener", context=context)
    latency_ns: list[int] = []
    node.create_subscription(
        message_class("sensor_msgs/msg/Image"),
        "bench_image",
        lambda msg: latency_ns.append(time.time_ns() - interface.stamp_ns(msg.header.stamp)),
        qos.IMAGES,
    )
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    connection.send(_READY)
    heard, silent_since = 0, time.monotonic() + _START_TIMEOUT_S
    while len(latency_ns) < frames and time.monotonic() < silent_since + _SILENCE_S:
        executor.spin_once(timeout_sec=0.05)
        if len(latency_ns) > heard:
            heard, silent_since = len(latency_ns), time.monotonic()
    connection.send(np.array(latency_ns, dtype=np.int64))
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown(context=context)


# the graph ---------------------------------------------------------------------------------------


def _graph(picture: NDArray[np.uint8], frames: int, rate_hz: float, directory: Path) -> dict[str, Any]:
    recording = directory / "frames"
    geometry = ImageGeometry(Modality.FLUOROSCOPY, (0.4, 0.4, 0.0))
    with RecordingWriter(recording) as writer:
        for index in range(frames):
            stamp_ns = NS_PER_S + round(index * NS_PER_S / rate_hz)
            writer.write_frame(Frame(stamp_ns, picture, geometry, received_ns=stamp_ns))
    config = directory / "bench.yaml"
    config.write_text(yaml.safe_dump(_configuration(str(recording))))

    decisions: list[Any] = []
    counts: dict[str, int] = {}
    with (
        Processes(graph.live(config), log_directory=directory / "log") as processes,
        Operator() as operator,
    ):
        operator.listen("gate", decisions.append)
        operator.listen("diagnostics", lambda msg: counts.update(_counts(msg)))
        until = time.monotonic() + _START_TIMEOUT_S + frames / rate_hz
        while counts.get("frames_published", 0) < frames and time.monotonic() < until:
            processes.check()
            operator.spin_once()
        operator.spin(1.5)
    decided = [interface.read_gate_decision(msg) for msg in decisions]
    stamps = [d.stamps for d in decided if d.stamps.received_ns]
    if not stamps or "frames_received" not in counts:
        raise UserError("no frame came through the graph")
    to_tracker_ns = np.array([s.received_ns - s.acquired_ns for s in stamps])
    to_gate_ns = np.array([s.decided_ns - s.tracked_ns for s in stamps])
    return {
        "sent": counts["frames_published"],
        "received": counts["frames_received"],
        "decided": len(stamps),
        "latency_ms": percentiles((to_tracker_ns + to_gate_ns) / NS_PER_MS),
        "acquired_to_received_ms": percentiles(to_tracker_ns / NS_PER_MS),
        "tracked_to_decided_ms": percentiles(to_gate_ns / NS_PER_MS),
    }


def _configuration(uri: str) -> dict[str, Any]:
    sections: Mapping[str, Any] = {
        "image_source": {"uri": uri},
        "tracker": {"landmarks": ["texture"], "pixels": list(_LANDMARK_PX)},
        "gating": {"window_axes": [True, True, False]},
    }
    return {node: {"ros__parameters": parameters} for node, parameters in sections.items()}


def _counts(msg: Any) -> dict[str, int]:
    """Return the counts among a node's figures; the gate's are latencies."""
    pairs = (pair for status in msg.status for pair in status.values)
    return {pair.key: int(pair.value) for pair in pairs if pair.value.isdigit()}

"""How fast the template matching network runs and follows landmarks, by every backend that is there."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import cv2
import numpy as np

from lmtrack_ros.core.records import Frame, Landmark
from lmtrack_ros.inference import InferenceParameters
from lmtrack_ros.models import find_model
from lmtrack_ros.models.description import shipped_weights
from lmtrack_ros.phantoms import PhantomParameters, open_phantom
from lmtrack_ros.trackers import create_tracker

WEIGHTS = "mr"
LANDMARK_COUNTS = (1, 5, 10)
_MODEL = "template_matching"
_SIDE_PX, _SPACING_MM = 224, (1.4, 1.4, 5.0)
_FRAMES = 20
_SECONDS = 1.0
_LEAST_FRAMES = 10
_BACKENDS = {"cuda": ("eager", "tensorrt", "compile"), "cpu": ("eager", "openvino", "compile")}


def measure_tracking(weights: str = WEIGHTS) -> dict[str, Any]:
    """Time the tracker on frames of 224 × 224 px, and its network alone, copies to a card and back included.

    Args:
        weights: of the network, as the tracker's parameter names them.

    Returns:
        For each device, backend and number of landmarks: median and 99th percentile, ms, of a whole update
        and of the network alone; frames per second; how many times as fast as eager on that device the
        update is; how many frames were timed. ``missing`` says in one line why there is nothing to time.
    """
    if weights == WEIGHTS and WEIGHTS not in shipped_weights(find_model(_MODEL)):
        return {"missing": f"the weights '{WEIGHTS}' do not come with this installation", "runs": []}
    try:
        import torch
    except ImportError as error:
        return {"missing": f"{error}: pip install -r requirements/models.txt", "runs": []}
    frames = _frames()
    runs: list[dict[str, Any]] = []
    for device in ("cuda", "cpu") if torch.cuda.is_available() else ("cpu",):
        eager: dict[int, float] = {}
        for backend in _BACKENDS[device]:
            for run in _by_backend(frames, weights, device, backend):
                p50_ms = run["update_ms"]["p50"]
                times = eager.setdefault(run["landmarks"], p50_ms) / p50_ms
                runs.append({"device": device, "backend": backend, **run, "times_eager": times})
    return {"missing": "", "weights": weights, "size_px": _SIDE_PX, "runs": runs}


def _by_backend(frames: Sequence[Frame], weights: str, device: str, backend: str) -> list[dict[str, Any]]:
    """Return the figures for each number of landmarks; none where the backend cannot run here."""
    # loads torch
    from lmtrack_ros.models.template_matching.matcher import Matcher

    matcher = Matcher(weights, InferenceParameters(device=device, backend=backend))
    if matcher.runs_by != f"{backend} {device} fp32":
        return []
    inference = {"device": device, "backend": backend}
    tracker = create_tracker(_MODEL, {"weights": weights, "inference": inference})
    side_px, middle = matcher.configuration.image_px, np.array([[matcher.configuration.image_px / 2] * 2])
    view = np.random.default_rng(0).random((side_px, side_px), dtype=np.float32)
    encoded = matcher.encode([view], middle)[:, None]
    runs = []
    for count in LANDMARK_COUNTS:
        tracker.initialize(frames[0], _landmarks(count))
        endless = cycle(frames)
        update_ms = _times_ms(lambda: tracker.update(next(endless)))  # noqa: B023
        views, patches = [view] * count, np.repeat(encoded, count, axis=0)
        network_ms = _times_ms(lambda: matcher.find(views, patches))  # noqa: B023
        runs.append(
            {
                "landmarks": count,
                "update_ms": _percentiles(update_ms),
                "network_ms": _percentiles(network_ms),
                "frames_per_s": 1e3 / float(np.median(update_ms)),
                "frames": len(update_ms),
            }
        )
    return runs


def _frames() -> list[Frame]:
    """Return pictures as a tracker gets them, on a square of the network's size."""
    phantom = open_phantom("mr", PhantomParameters())
    geometry = replace(phantom.geometry, spacing_mm=_SPACING_MM)
    return [
        replace(frame, image=cv2.resize(np.asarray(frame.image), (_SIDE_PX, _SIDE_PX)), geometry=geometry)
        for frame in islice(phantom, _FRAMES)
    ]


def _landmarks(count: int) -> list[Landmark]:
    around = 2 * np.pi * np.arange(count) / count
    places = _SIDE_PX / 2 + 40 * np.column_stack([np.cos(around), np.sin(around)])
    return [Landmark(f"landmark{i}", (float(x), float(y))) for i, (x, y) in enumerate(places)]


def _times_ms(work: Callable[[], object]) -> list[float]:
    work()
    taken: list[float] = []
    end_s = time.perf_counter() + _SECONDS
    while time.perf_counter() < end_s or len(taken) < _LEAST_FRAMES:
        began_ns = time.perf_counter_ns()
        work()
        taken.append((time.perf_counter_ns() - began_ns) / 1e6)
    return taken


def _percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    p50, p99 = np.percentile(milliseconds, (50, 99)).tolist()
    return {"p50": p50, "p99": p99}

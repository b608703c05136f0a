"""How fast the models' trackers follow landmarks, by every backend that is there."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, cast

import numpy as np

from lmtrack_ros.core.records import Frame, Landmark
from lmtrack_ros.models import find_model
from lmtrack_ros.models.description import shipped_weights
from lmtrack_ros.phantoms import PhantomParameters, open_phantom
from lmtrack_ros.trackers import create_tracker

_FRAMES = 20
_SECONDS = 1.0
_LEAST_FRAMES = 10
_BACKENDS = {"cuda": ("eager", "tensorrt", "compile"), "cpu": ("eager", "openvino", "compile")}


@dataclass(frozen=True)
class Setting:
    """What a model's tracker is timed with.

    Attributes:
        weights: that come with the package.
        modality: of the phantom.
        preset: likewise.
        counts: numbers of landmarks; a model that finds its own by itself has as many as it has.
    """

    weights: str
    modality: str
    preset: str
    counts: tuple[int, ...]


SETTINGS = {
    "attention_mask_rcnn": Setting("ultrasound", "ultrasound", "liver", (1, 5)),
    "coarse_to_fine_unet": Setting("lung", "fluoroscopy", "lung", (1,)),
    "landmark_net": Setting("chest", "portal", "mv_90", (8,)),
    "patch_iterative": Setting("prostate", "prostate", "prostate", (7,)),
    "template_matching": Setting("mr", "mr", "thorax", (1, 5, 10)),
}
"""By model."""


def measure_tracking(model: str, weights: str = "") -> dict[str, Any]:
    """Time a model's tracker on frames of a phantom, copies to a card and back included.

    Args:
        model: one of :data:`SETTINGS`.
        weights: of the network, as the tracker's parameter names them; empty: those of its setting.

    Returns:
        For each device, backend and number of landmarks: median and 99th percentile, ms, of a whole update
        and of finding alone, without refinement, where there is any; frames per second; how many times as
        fast as eager on that device the update is; how many frames were timed. ``missing`` says in one line
        why there is nothing to time.
    """
    setting = SETTINGS[model]
    if not weights and setting.weights not in shipped_weights(find_model(model)):
        missing = f"the weights '{setting.weights}' do not come with this installation"
        return {"missing": missing, "runs": []}
    try:
        import torch
    except ImportError as error:
        return {"missing": f"{error}: pip install -r requirements/models.txt", "runs": []}
    phantom = open_phantom(setting.modality, PhantomParameters(setting.preset))
    frames = list(islice(phantom, _FRAMES))
    used = weights or setting.weights
    runs: list[dict[str, Any]] = []
    for device in ("cuda", "cpu") if torch.cuda.is_available() else ("cpu",):
        eager: dict[int, float] = {}
        for backend in _BACKENDS[device]:
            parameters = {"weights": used, "inference": {"device": device, "backend": backend}}
            for run in _by_backend(model, parameters, frames, setting.counts):
                p50_ms = run["update_ms"]["p50"]
                times = eager.setdefault(run["landmarks"], p50_ms) / p50_ms
                runs.append({"device": device, "backend": backend, **run, "times_eager": times})
    return {"missing": "", "weights": used, "size_px": list(frames[0].image.shape[::-1]), "runs": runs}


def _by_backend(
    model: str, parameters: dict[str, Any], frames: Sequence[Frame], counts: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Yield the figures for each number of landmarks; none where the backend cannot run here."""
    # they load torch
    from lmtrack_ros.models.grey import scaled
    from lmtrack_ros.models.model_tracker import ModelTracker

    tracker = create_tracker(model, parameters)
    inference = parameters["inference"]
    if cast(Any, tracker).runs_by != f"{inference['backend']} {inference['device']} fp32":
        return
    grey = scaled(frames[0].image)
    for count in counts:
        if tracker.needs_initialization:
            tracker.initialize(frames[0], _landmarks(count, frames[0]))
        endless = cycle(frames)
        update_ms = _times_ms(lambda: tracker.update(next(endless)))  # noqa: B023
        finding = {}
        if isinstance(tracker, ModelTracker):
            finding["finding_ms"] = _percentiles(_times_ms(lambda: list(tracker.find(grey))))
        yield {
            "landmarks": count,
            "update_ms": _percentiles(update_ms),
            **finding,
            "frames_per_s": 1e3 / float(np.median(update_ms)),
            "frames": len(update_ms),
        }


def _landmarks(count: int, frame: Frame) -> list[Landmark]:
    around = 2 * np.pi * np.arange(count) / count
    height, width = frame.image.shape
    away = min(height, width) / 6 * np.column_stack([np.cos(around), np.sin(around)])
    places = np.array([width, height]) / 2 + away
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

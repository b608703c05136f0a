"""How fast landmarks are found in a full-size volume, and where the time goes."""

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.ndimage import map_coordinates

_WEIGHTS = "fetal_head"
_SHAPE = (279, 207, 324)
_SPACING_MM = (0.5, 0.5, 0.5)
_RUNS = 9
_PATCH_PX, _PATCHES = 33, 180


def measure_volumes() -> dict[str, Any]:
    """Time the patch-based iterative network on volumes of the size of its paper's.

    Returns:
        ``missing``, why there is nothing to time, and for each device: the backend of the networks, median
        times, ms, of a whole search from the mean shape, of one that goes on from the last volume, and of the
        parts of the former: upload with both levels, all gathers, all runs of the networks; and how many
        times as fast the gathers are as scipy's interpolation of as many points in patches, which takes one
        thread.
    """
    try:
        import torch
    except ImportError as error:
        return {"missing": f"{error}: pip install -r requirements/models.txt", "devices": []}
    # they load torch
    from lmtrack_ros.inference.parameters import InferenceParameters
    from lmtrack_ros.models.patch_iterative.finder import Finder

    volume = np.random.default_rng(0).integers(0, 256, _SHAPE, dtype=np.uint8)
    devices = []
    for device in ("cuda", "cpu") if torch.cuda.is_available() else ("cpu",):
        finder = Finder(_WEIGHTS, InferenceParameters(device=device))
        solution = finder.find(volume, _SPACING_MM)
        last = None if solution is None else solution.b
        stages = {name: _median_ms(work) for name, work in finder.stages(volume, _SPACING_MM).items()}
        devices.append(
            {
                "device": device,
                "runs_by": finder.runs_by,
                "landmarks": len(finder.configuration.landmarks),
                "search_ms": _median_ms(lambda: finder.find(volume, _SPACING_MM)),  # noqa: B023
                "going_on_ms": _median_ms(lambda: finder.find(volume, _SPACING_MM, last)),  # noqa: B023
                "stages_ms": stages,
                "times_scipy": _scipy_ms(finder.gathered_points) / stages["gather"],
            }
        )
    return {"missing": "", "size_px": list(_SHAPE[::-1]), "cores": os.cpu_count(), "devices": devices}


def _scipy_ms(points: int) -> float:
    rng = np.random.default_rng(0)
    level = rng.random([size // 2 for size in _SHAPE], dtype=np.float32)
    along = np.arange(_PATCH_PX, dtype=np.float32)
    plane = np.stack(np.meshgrid([0.0], along, along, indexing="ij")).reshape(3, -1).astype(np.float32)
    corners = rng.uniform(0, np.array(level.shape) - 1 - _PATCH_PX, (_PATCHES, 3)).astype(np.float32)
    at = (corners[:, :, None] + plane).transpose(1, 0, 2).reshape(3, -1)
    return _median_ms(lambda: map_coordinates(level, at, order=1)) * points / at.shape[1]


def _median_ms(work: Callable[[], object]) -> float:
    work()
    taken = []
    for _ in range(_RUNS):
        begun_ns = time.perf_counter_ns()
        work()
        taken.append((time.perf_counter_ns() - begun_ns) / 1e6)
    return float(np.median(taken))

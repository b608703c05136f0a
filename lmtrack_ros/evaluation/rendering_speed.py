"""How fast phantoms render, beside the least that any of them must do: to warp one picture of that size."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from scipy import ndimage

from lmtrack_ros.phantoms import PhantomParameters, open_phantom

_SECONDS = 1.0
_LEAST_FRAMES = 3


@dataclass(frozen=True)
class Setting:
    """What is rendered, and how many frames a second it should reach.

    Attributes:
        modality: name of the phantom.
        preset: of the phantom.
        goal_hz: 0 where there is none.
    """

    modality: str
    preset: str
    goal_hz: float = 0.0


SETTINGS: Sequence[Setting] = (
    Setting("ultrasound", "demo", 60.0),
    Setting("ultrasound", "kidney"),
    Setting("fluoroscopy", "lung_small", 10.0),
    Setting("fluoroscopy", "lung", 3.0),
    Setting("mr", "liver", 60.0),
    Setting("mr", "thorax", 60.0),
)


def measure_rendering() -> dict[str, Any]:
    """Time frames of a few settings, and of plain ray sampling.

    Returns:
        For each setting the picture's size, the median time of a frame in ms, frames per second, the goal
        and the ratio to a warp; the time of plain ray sampling, ms.
    """
    return {
        "settings": [_measured(setting) for setting in SETTINGS],
        "plain_ray_sampling_128_ms": _median_ms(_ray_sampling(128), 1.0),
    }


def _measured(setting: Setting) -> dict[str, Any]:
    phantom = open_phantom(setting.modality, PhantomParameters(preset=setting.preset))
    height, width = phantom.render(1, 0.0).image.shape
    index = 0

    def render() -> None:
        nonlocal index
        index += 1
        phantom.render(1, index / phantom.info.rate_hz)

    frame_ms = _median_ms(render, _SECONDS)
    return {
        "phantom": f"{setting.modality} {setting.preset}",
        "size_px": [width, height],
        "frame_ms": frame_ms,
        "frames_per_s": 1e3 / frame_ms,
        "goal_per_s": setting.goal_hz,
        "warps": frame_ms / _median_ms(_warp(width, height), 0.3),
    }


def _median_ms(work: Callable[[], object], seconds: float) -> float:
    taken: list[float] = []
    end_s = time.perf_counter() + seconds
    while time.perf_counter() < end_s or len(taken) < _LEAST_FRAMES:
        began_ns = time.perf_counter_ns()
        work()
        taken.append((time.perf_counter_ns() - began_ns) / 1e6)
    return float(np.median(taken))


def _warp(width: int, height: int) -> Callable[[], object]:
    picture = np.random.default_rng(0).random((height, width), dtype=np.float32)
    rows, columns = np.indices((height, width), dtype=np.float32)
    rows += 0.3
    columns += 0.4
    return lambda: cv2.remap(picture, columns, rows, cv2.INTER_LINEAR)


def _ray_sampling(side_px: int) -> Callable[[], object]:
    """Return what a projection costs that samples a 160³ volume at every millimetre of every ray."""
    volume = np.random.default_rng(0).random((160, 160, 160), dtype=np.float32)
    depth, row, column = np.indices((160, side_px, side_px), dtype=np.float32)
    spread = 0.8 + 0.4 * depth / 160
    middle = (side_px - 1) / 2
    points = (depth, 79.5 + (row - middle) * spread, 79.5 + (column - middle) * spread)
    return lambda: ndimage.map_coordinates(volume, points, order=1).sum(axis=0)

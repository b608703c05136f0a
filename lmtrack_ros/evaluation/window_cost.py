"""What a stream saves: a new frame's cost along a stream, beside that of a whole window of frames."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

_SIDES_PX = (128, 256)
_FRAMES = 10
"""Of the paper's window."""
_RUNS = 5


def measure_window() -> dict[str, Any]:
    """Count and time what the coarse-to-fine U-Net's realtime preset does for a new frame.

    Its weights do not matter for that.

    Returns:
        ``missing``, why there is nothing to measure, and for each side of the square that the network sees:
        multiplications and additions of a window and along a stream, by torch's counter, with those of the
        convolutional LSTMs; how many times fewer the latter are; median times of both with eager torch on the
        CPU, ms, and how many times as fast the stream is.
    """
    try:
        import torch
        from torch.utils.flop_counter import FlopCounterMode
    except ImportError as error:
        return {"missing": f"{error}: pip install -r requirements/models.txt", "sizes": []}
    # they load torch
    from lmtrack_ros.models.coarse_to_fine_unet.configuration import REALTIME
    from lmtrack_ros.models.coarse_to_fine_unet.generator import Generator, triples
    from lmtrack_ros.models.coarse_to_fine_unet.stream import advanced, nothing_yet

    sizes = []
    for side in _SIDES_PX:
        generator = Generator(replace(REALTIME, image_px=side)).eval()
        frames = torch.rand(1, _FRAMES, side, side)
        with torch.inference_mode():
            _, seen = advanced(generator, nothing_yet(frames[:, 0]), frames[:, 0])

            def window() -> object:
                return generator(triples(frames))  # noqa: B023

            def stream() -> object:
                return advanced(generator, seen, frames[:, 1])  # noqa: B023

            operations, median_ms = {}, {}
            for name, work in (("window", window), ("stream", stream)):
                with FlopCounterMode(display=False) as counter:
                    work()
                operations[name] = counter.get_total_flops()
                median_ms[name] = _median_ms(work)
        sizes.append(
            {
                "side_px": side,
                "frames": _FRAMES,
                "operations": operations,
                "times_fewer": operations["window"] / operations["stream"],
                "median_ms": median_ms,
                "times_as_fast": median_ms["window"] / median_ms["stream"],
            }
        )
    return {"missing": "", "sizes": sizes}


def _median_ms(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(_RUNS):
        began_ns = time.perf_counter_ns()
        work()
        taken.append((time.perf_counter_ns() - began_ns) / 1e6)
    return float(np.median(taken))

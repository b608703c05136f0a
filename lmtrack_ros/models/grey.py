"""Grey values as networks see them: most of an image between 0 and 1, whatever its own range."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_DARK, _BRIGHT = 1.0, 99.5
"""Percentiles of an image that become 0 and 1."""
_SAMPLES = 16384
"""About how many pixels they are taken from."""
BRIGHTEST = 1.5
"""What brighter values are cut to."""
_BYTES = 170.0
"""Of 8 bits, what stands for 1: grey values reach 1.5."""


def scaled(image: NDArray[Any]) -> NDArray[np.float32]:
    """Return (H, W) grey values, most of them between 0 and 1; what is not finite is 0."""
    dark, bright = dark_and_bright(image)
    values = (image.astype(np.float32) - np.float32(dark)) / np.float32(max(bright - dark, 1e-6))
    np.nan_to_num(values, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(values, 0.0, BRIGHTEST, out=values)


def dark_and_bright(image: NDArray[Any]) -> tuple[float, float]:
    """Return the grey values of an (H, W) image or a (D, H, W) volume that become 0 and 1."""
    step = max(1, round((image.size / _SAMPLES) ** (1 / image.ndim)))
    sample = image[(slice(step // 2, None, step),) * image.ndim].astype(np.float64)
    sample = sample[np.isfinite(sample)]
    dark, bright = np.percentile(sample, (_DARK, _BRIGHT)).tolist() if sample.size else (0.0, 1.0)
    return dark, bright


def to_bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return grey values in 8 bits, to be kept."""
    return np.asarray(np.rint(values * _BYTES), dtype=np.uint8)


def from_bytes(kept: Tensor) -> Tensor:
    """Return what :func:`to_bytes` was given, nearly."""
    return kept.float() / _BYTES

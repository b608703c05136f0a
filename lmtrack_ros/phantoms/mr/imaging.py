"""How a cine-MR scanner shows a slice: coils, limited k-space, ghosts, Rician noise, counts."""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import DTypeLike, NDArray
from scipy.ndimage import gaussian_filter

from lmtrack_ros.core.frames import Array

_Image = NDArray[np.float32]

_RESIDUAL_PX = 1.2  # width of the residual's grains


@dataclass(frozen=True)
class Scanner:
    """What a picture suffers on its way to the user.

    Attributes:
        coil_reach_mm: over which the back coil's sensitivity falls to 1/e; the front coil's likewise.
        front_coil: sensitivity of the front coil beside that of the back coil.
        resolution: part of k-space that is measured, of what the pixels could show, along (columns, rows).
        apodisation_px: standard deviation of the blur by the filter that tames ringing.
        noise: standard deviation of real and imaginary part in the picture, of the signal 1 at full
            sensitivity.
        g_factor: how much the noise rises to the middle of the picture by parallel imaging.
        floor: what the noise of all coils adds up to where there is no signal, after a sum of squares.
        ghost: strength of the ghosts at a speed of 20 mm/s.
        ghost_shift: how far along the phase direction (columns) they lie, of the picture.
        scale: counts of the signal 1.
        black: counts that are taken off.
        residual: standard deviation, as of the noise, of what unfolding leaves of other places; it stays.
        dtype: of the picture.
        border_px: how far the picture's unwarping leaves its edges black.
    """

    coil_reach_mm: float
    front_coil: float
    resolution: tuple[float, float]
    apodisation_px: float
    noise: float
    g_factor: float
    floor: float
    ghost: float
    scale: float
    dtype: DTypeLike
    black: float = 0.0
    residual: float = 0.0
    ghost_shift: float = 0.29
    border_px: float = 0.0


class Imaging:
    """A scanner whose fields are laid out for one picture.

    Args:
        scanner: what it does.
        back_mm: (H, W) how far each pixel is from the back of the field of view.
        rng: chance of the recording.
    """

    def __init__(self, scanner: Scanner, back_mm: Array, rng: np.random.Generator) -> None:
        self._scanner = scanner
        shape = back_mm.shape
        rows, columns = (np.linspace(-1.0, 1.0, n) for n in shape)
        radial = rows[:, None] ** 2, columns[None, :] ** 2
        depth_mm = float(back_mm.max())
        back = np.exp(-back_mm / scanner.coil_reach_mm)
        front = scanner.front_coil * np.exp(-(depth_mm - back_mm) / scanner.coil_reach_mm)
        self._coil = (np.hypot(back, front) * (1 - 0.15 * radial[0])).astype(np.float32)
        middle = np.exp(-2.2 * (radial[0] + radial[1]))
        self._row_filter, self._column_filter = (
            _low_pass(n, part, scanner.apodisation_px)
            for n, part in zip(shape, scanner.resolution[::-1], strict=True)
        )
        kept = np.sqrt(np.mean(self._row_filter**2) * np.mean(self._column_filter**2))
        g_factor = 1 + scanner.g_factor * middle
        self._noise = (scanner.noise / kept * g_factor).astype(np.float32)
        residual = gaussian_filter(rng.standard_normal((*shape, 2)), (_RESIDUAL_PX, _RESIDUAL_PX, 0))
        residual *= scanner.residual / residual.std() * g_factor[..., None]
        self._residual = residual.astype(np.float32)
        self._seen = _inside_border(shape, scanner.border_px)

    def picture(self, signal: _Image, speed_mm_s: float, rng: np.random.Generator) -> NDArray[np.generic]:
        """Return the (H, W) picture of an (H, W) signal.

        Args:
            signal: of the slice, real.
            speed_mm_s: of the anatomy, which makes the ghosts.
            rng: chance of the moment.
        """
        scanner = self._scanner
        parts = rng.standard_normal((*signal.shape, 2), dtype=np.float32)
        parts *= self._noise[..., None]
        parts += self._residual
        parts[..., 0] += signal * self._coil
        k_space = scipy.fft.fft2(parts.view(np.complex64)[..., 0], overwrite_x=True)
        columns = np.arange(signal.shape[1])
        turns = round(scanner.ghost_shift * len(columns)) / len(columns)
        wave = np.cos(2 * np.pi * turns * columns + rng.uniform(0, 2 * np.pi))
        amplitude = scanner.ghost * min(abs(speed_mm_s) / 20.0, 2.0)
        k_space *= self._row_filter[:, None]
        k_space *= (self._column_filter * (1 + amplitude * wave)).astype(np.float32)
        seen = scipy.fft.ifft2(k_space, overwrite_x=True)
        magnitude = np.sqrt(seen.real**2 + seen.imag**2 + scanner.floor**2)
        counts = np.rint(magnitude * (scanner.scale * self._seen) - scanner.black)
        return np.asarray(np.clip(counts, 0, np.iinfo(scanner.dtype).max), dtype=scanner.dtype)


def _low_pass(size: int, part: float, blur_px: float) -> _Image:
    """Return the filter of one axis of k-space, in the order of the FFT: cut off, and apodised."""
    frequency = scipy.fft.fftfreq(size)
    kept = np.clip((0.5 * part - np.abs(frequency)) * size + 0.5, 0.0, 1.0)
    return np.asarray(kept * np.exp(-2 * (np.pi * blur_px * frequency) ** 2), dtype=np.float32)


def _inside_border(shape: tuple[int, ...], border_px: float) -> _Image:
    """Return 1 where the unwarped picture has values: its edges are bent inwards at the corners."""
    if border_px == 0.0:
        return np.ones(shape, np.float32)
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in shape)
    half_rows, half_columns = shape[0] / 2, shape[1] / 2
    bent_rows = half_rows - border_px * (0.4 + 1.0 * (columns[None, :] / half_columns) ** 4)
    bent_columns = half_columns - border_px * (0.5 + 0.6 * (rows[:, None] / half_rows) ** 2)
    seen = (np.abs(rows)[:, None] < bent_rows) & (np.abs(columns)[None, :] < bent_columns)
    return np.asarray(seen, dtype=np.float32)

"""From echoes to a picture: beams, point-spread function, receiver, log compression, scan conversion."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from lmtrack_ros.core.frames import Array
from lmtrack_ros.phantoms.ultrasound.scatterers import Echoes, Floats, seen_share

SOUND_MM_US = 1.54
"""Speed of sound in tissue, mm/µs."""

_GUARD_BEAMS = 16  # so that what leaves the field on one side does not come in at the other
_RECOVERY_MM = 3.0  # of the receiver, after the burst that it sends
_LEAST_POWER = 1e-12


@dataclass(frozen=True)
class Probe:
    """A curved or a linear array with its receiver.

    Attributes:
        frequency_mhz: centre of the band.
        depth_mm: of the field.
        radius_mm: of a curved array's face; 0 of a linear array.
        half_angle_deg: of a curved array's sector, from its axis to its edge.
        half_width_mm: of a linear array's field.
        beams: how many.
        row_mm: distance of samples along a beam.
        pulse_mm: standard deviation of the echo's amplitude along the beam.
        beam_mm: standard deviation of the amplitude across the beams, at the focus.
        focus_mm: depth of the focus.
        spread: how fast beams widen away from the focus, mm per mm.
        slice_mm: half thickness of the plane, where its sensitivity is 0.
        dynamic_range_db: from black to white.
        white_db: what is white, above the mean power of tissue with reflectivity 1.
        fall_db: how much echoes fade from the face to the far end, after time-gain compensation.
        noise_db: of the receiver at the face, against the same tissue.
        noise_rise_db: by which time-gain compensation lifts the noise to the far end.
        clutter_db: haze that stays with the probe, at the face.
        clutter_mm: depth over which it fades.
        smoothing: standard deviation of speckle reduction, in samples across and along the beams.
    """

    frequency_mhz: float
    depth_mm: float
    radius_mm: float = 60.0
    half_angle_deg: float = 29.5
    half_width_mm: float = 0.0
    beams: int = 256
    row_mm: float = 0.25
    pulse_mm: float = 0.21
    beam_mm: float = 0.45
    focus_mm: float = 80.0
    spread: float = 0.009
    slice_mm: float = 2.1
    dynamic_range_db: float = 75.0
    white_db: float = 44.0
    fall_db: float = 3.0
    noise_db: float = -50.0
    noise_rise_db: float = 18.0
    clutter_db: float = 8.0
    clutter_mm: float = 1.5
    smoothing: tuple[float, float] = (1.5, 1.0)

    @property
    def rows(self) -> int:
        """How many samples a beam has."""
        return round(self.depth_mm / self.row_mm) + 1

    @property
    def pitch(self) -> float:
        """Distance of neighbouring beams: an angle, rad, of a curved array; mm of a linear one."""
        half = np.radians(self.half_angle_deg) if self.radius_mm else self.half_width_mm
        return float(2 * half / (self.beams - 1))

    def cell_mm(self) -> Array:
        """Return the (rows,) distance of neighbouring beams in mm."""
        depth_mm = np.arange(self.rows) * self.row_mm
        cell_mm = self.pitch * (self.radius_mm + depth_mm) if self.radius_mm else 0.0 * depth_mm + self.pitch
        return np.asarray(cell_mm, dtype=float)

    def polar(self, across_mm: Floats, below_mm: Floats) -> tuple[Floats, Floats]:
        """Return depth, mm, and beam, in beams from the first one, of points.

        Args:
            across_mm: (...,) from the probe's axis, along the image's columns.
            below_mm: (...,) from the middle of the probe's face, along the image's rows.
        """
        middle = (self.beams - 1) / 2
        if not self.radius_mm:
            return below_mm, across_mm / np.float32(self.pitch) + np.float32(middle)
        from_apex = np.maximum(below_mm + np.float32(self.radius_mm), np.float32(1))
        depth_mm = np.sqrt(across_mm * across_mm + from_apex * from_apex) - np.float32(self.radius_mm)
        angle = np.arctan(across_mm / from_apex)
        return depth_mm, angle / np.float32(self.pitch) + np.float32(middle)


class Beamformer:
    """The coherent sum of echoes, as a picture.

    The baseband signal is s(r, b) = sum a_i h(r - r_i, b - b_i; r) exp(-j 2 k r_i) with a separable
    Gaussian point-spread function h whose width across the beams depends on the depth (the linear model
    of Meunier and Bertrand 1995, IEEE Trans. Biomed. Eng. 42(12)).

    Args:
        probe: its settings.
        density_mm2: scatterers of reflectivity 1 per area of the plane, over the whole slab.
        face_px: (column, row) of the middle of the probe's face.
        size_px: (width, height) of the picture.
        spacing_mm: of its square pixels.
        background: grey level outside the field.
        rng: of the clutter.
    """

    def __init__(
        self,
        probe: Probe,
        density_mm2: float,
        face_px: tuple[float, float],
        size_px: tuple[int, int],
        spacing_mm: float,
        background: int,
        rng: np.random.Generator,
    ) -> None:
        self.probe = probe
        self._background = background
        rows = probe.rows
        self._length = fft.next_fast_len(probe.beams + 2 * _GUARD_BEAMS)
        depth_mm = np.asarray(np.arange(rows) * probe.row_mm, dtype=float)
        pulse_rows = probe.pulse_mm / probe.row_mm
        pulse = np.asarray(cv2.getGaussianKernel(2 * round(4 * pulse_rows) + 1, pulse_rows), dtype=np.float32)
        self._pulse = pulse / np.linalg.norm(pulse)
        across = np.hypot(probe.beam_mm, probe.spread * (depth_mm - probe.focus_mm)) / probe.cell_mm()
        transfer = np.exp(-2 * (np.pi * across[:, None] * fft.fftfreq(self._length)) ** 2)
        transfer /= np.sqrt(np.mean(transfer**2, axis=1, keepdims=True))
        # of echoes per sample, so that tissue of reflectivity 1 has power 1 everywhere
        echoes = density_mm2 * probe.cell_mm() * probe.row_mm * seen_share(probe.slice_mm)
        fade = 10.0 ** (-probe.fall_db / 20.0 * depth_mm / probe.depth_mm)
        fade *= 1.0 - np.exp(-depth_mm / _RECOVERY_MM)
        self._transfer = (transfer * (fade / np.sqrt(echoes))[:, None]).astype(np.float32)
        noise_db = probe.noise_db + probe.noise_rise_db * depth_mm / probe.depth_mm
        self._noise = (10.0 ** (noise_db / 20.0) / np.sqrt(2.0)).astype(np.float32)[:, None]
        self._clutter = self._drawn_clutter(rng, depth_mm)
        columns, pixel_rows = np.meshgrid(
            (np.arange(size_px[0]) - face_px[0]) * spacing_mm,
            (np.arange(size_px[1]) - face_px[1]) * spacing_mm,
        )
        depth, beam = probe.polar(columns.astype(np.float32), pixel_rows.astype(np.float32))
        self.outside = (depth < 0) | (depth > probe.depth_mm) | (beam < 0) | (beam > probe.beams - 1)
        self._maps = cv2.convertMaps(beam, depth / np.float32(probe.row_mm), cv2.CV_16SC2)

    def picture(
        self, echoes: Echoes, face_yz_mm: tuple[float, float], gain: Floats, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """Return the picture of echoes.

        Args:
            echoes: in isocenter.
            face_yz_mm: (y, z) of the middle of the probe's face; columns run to -y, rows to -z.
            gain: of the echoes, (rows, beams), or (1, beams) where it is the same at all depths.
            rng: of the receiver's noise.
        """
        probe = self.probe
        seen = slice(_GUARD_BEAMS, _GUARD_BEAMS + probe.beams)
        signal = self._splat(echoes, face_yz_mm, gain)
        signal = fft.ifft(fft.fft(signal, axis=1) * self._transfer, axis=1)
        parts = (signal[:, seen] + self._clutter).view(np.float32)
        parts += self._noise * rng.standard_normal(parts.shape, dtype=np.float32)
        parts = cv2.sepFilter2D(parts, -1, np.ones(1, np.float32), self._pulse)
        both = np.asarray(parts[:, ::2] ** 2 + parts[:, 1::2] ** 2)
        power = cv2.GaussianBlur(both, (9, 7), probe.smoothing[0], sigmaY=probe.smoothing[1])
        scale = np.float32(255.0 / probe.dynamic_range_db)
        grey = np.log(power + np.float32(_LEAST_POWER)) * (scale * np.float32(10 / np.log(10)))
        grey += np.float32(255.0) - scale * np.float32(probe.white_db)
        polar = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
        image = cv2.remap(polar, *self._maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        np.copyto(image, np.uint8(self._background), where=self.outside)
        return np.asarray(image)

    def _splat(self, echoes: Echoes, face_yz_mm: tuple[float, float], gain: Floats) -> NDArray[np.complex64]:
        """Return the (rows, length) sum of echoes as points, each shared by the four samples round it."""
        probe, length = self.probe, self._length
        depth_mm, beam = probe.polar(
            np.float32(face_yz_mm[0]) - echoes.y_mm, np.float32(face_yz_mm[1]) - echoes.z_mm
        )
        # outside, all land in the guard beams or in a row that is cut off
        row = np.clip(depth_mm / np.float32(probe.row_mm), -1, probe.rows) + np.float32(1)
        beam = np.clip(beam + np.float32(_GUARD_BEAMS), 0, length - 2)
        whole_row, whole_beam = row.astype(np.int64), beam.astype(np.int64)
        v, u = row - whole_row, beam - whole_beam
        first = whole_row * length + whole_beam
        phase = depth_mm * np.float32(4 * np.pi * probe.frequency_mhz / SOUND_MM_US)
        # of the scatterer, not of the beam, so that a slope of the gain shifts no echo
        amplitude = (
            echoes.amplitude
            * gain[
                np.clip(whole_row - 1, 0, len(gain) - 1),
                np.clip(whole_beam - _GUARD_BEAMS, 0, probe.beams - 1),
            ]
        )
        below, above = amplitude * v, amplitude * (1 - v)
        shares = (above * (1 - u), above * u, below * (1 - u), below * u)
        size = (probe.rows + 3) * length
        total = np.zeros(size, np.complex64)
        for part, carrier in ((total.real, np.cos(phase)), (total.imag, -np.sin(phase))):
            for offset, share in zip((0, 1, length, length + 1), shares, strict=True):
                part[offset:] += np.bincount(first, share * carrier, size)[: size - offset]
        return total.reshape(-1, length)[1 : 1 + probe.rows]

    def _drawn_clutter(self, rng: np.random.Generator, depth_mm: Array) -> NDArray[np.complex64]:
        """Return the (rows, beams) haze of the probe itself, alike along the face."""
        probe = self.probe
        drawn = rng.standard_normal((2, len(depth_mm), probe.beams))
        smooth = np.stack([cv2.GaussianBlur(d, (0, 0), 14.0, sigmaY=0.3) for d in drawn])
        smooth /= smooth.std() * np.sqrt(2.0)
        level = 10.0 ** (probe.clutter_db / 20.0) * np.exp(-depth_mm / probe.clutter_mm)
        return np.asarray((smooth[0] + 1j * smooth[1]) * level[:, None], dtype=np.complex64)

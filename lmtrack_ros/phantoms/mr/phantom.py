"""A breathing chest and upper abdomen in cine-MR, sagittal and coronal."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from lmtrack_ros.core import frames
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.geometry import ImageGeometry, Modality, Mount
from lmtrack_ros.phantoms.deformation import BodyState, Deformation
from lmtrack_ros.phantoms.mr.anatomy import HEART_MM, Anatomy, Layers
from lmtrack_ros.phantoms.mr.grid import CubicSpline, SliceGrid, sampled
from lmtrack_ros.phantoms.mr.imaging import Imaging
from lmtrack_ros.phantoms.mr.presets import PRESETS
from lmtrack_ros.phantoms.mr.vessels import inside
from lmtrack_ros.phantoms.phantom import Phantom, PhantomParameters, preset_of

_MARGIN_MM = 45.0  # how far the anatomy reaches beyond the picture
_PLANES = 17
_PLANE_SPACING_MM = 3.0
_FWHM_PER_SIGMA = 2.355
_COARSE_MM = 12.0  # pitch of the points whose displacement is computed
_FRAME_S = 0.1  # of acquisition
_HEARTBEAT_MM = 5.0
_LEAST_OVERSAMPLING = 1.5  # points of the anatomy per pixel
_FINEST_MM = 0.9
_INFLOW = 0.3  # how much brighter blood is at inhale than at exhale
_PULSE = 0.12  # and in systole


class MrPhantom(Phantom):
    """Chest and upper abdomen that breathe behind a wall they slide along, in one slice of cine-MR.

    The anatomy is a stack of planes across the slice, at mean breath, blurred by the slice's profile.
    Each pixel shows the point that :class:`Deformation` has brought there, in the slice or through it:
    vessels come, fade and go. The landmarks are on vessels that run straight through the slice, so
    their place in it does not depend on how far they have moved across; the stack reaches 24 mm to
    either side and repeats its last plane beyond.

    Args:
        parameters: of patient, picture and motion.

    Raises:
        UserError: the preset is unknown or the trace cannot be read.
    """

    edges = frozenset({"dome"})

    def __init__(self, parameters: PhantomParameters) -> None:
        preset = preset_of(parameters, PRESETS)
        self._preset = preset
        height, width = preset.shape
        pose = frames.isocenter_from_image(preset.view)
        middle_px = np.array([width - 1, height - 1, 0.0]) / 2
        pose[:3, 3] = -pose[:3, :3] @ (middle_px * preset.spacing_mm)
        geometry = ImageGeometry(
            Modality.MR,
            (preset.spacing_mm, preset.spacing_mm, preset.thickness_mm),
            mount=Mount(parameters.mount),
            pose=pose,
        )
        super().__init__("mr", geometry, preset, parameters)
        rng = np.random.default_rng((parameters.seed, 20))
        axes = pose[:3, :3]
        self._isocenter_mm = np.array(preset.build.isocenter_mm)
        self._anatomy = Anatomy(rng, preset.build, axes[:, 2])
        self._deformation = Deformation(
            above_mm=preset.above_mm,
            chest_mm=rng.uniform(*preset.chest_mm),
            heart_mm=HEART_MM,
            heartbeat_mm=_HEARTBEAT_MM,
        )
        self._points_mm, self._to_rows, self._to_columns = _coarse(preset.shape, pose, preset.spacing_mm)
        self._points_mm += self._isocenter_mm
        texture_mm = preset.spacing_mm / max(_LEAST_OVERSAMPLING, preset.spacing_mm / _FINEST_MM)
        rows, columns = (round((n * preset.spacing_mm + 2 * _MARGIN_MM) / texture_mm) for n in preset.shape)
        self._grid = SliceGrid(
            self._isocenter_mm, axes, (_PLANES, rows, columns), texture_mm, _PLANE_SPACING_MM
        )
        back_mm = np.arange(width)[::-1] * preset.spacing_mm * np.ones((height, 1))
        scanner = replace(
            preset.scanner,
            coil_reach_mm=preset.scanner.coil_reach_mm * rng.uniform(0.92, 1.08),
            noise=preset.scanner.noise * rng.uniform(0.85, 1.45),
            scale=preset.scanner.scale * rng.uniform(0.88, 1.12),
        )
        blood = preset.tissue.blood * rng.uniform(0.72, 1.08)
        self._tissue = preset.tissue._replace(blood=blood)
        self._imaging = Imaging(scanner, back_mm, rng)

    def positions_mm(self, time_s: float) -> Mapping[str, Array]:
        """Return the (3,) position of every landmark at one moment, the couch at zero, in isocenter, mm."""
        points_mm = np.array(list(self._anatomy.landmarks_mm.values()))
        moved = self._deformation.displaced_mm(points_mm, BodyState.at(self.motion, time_s))
        return dict(zip(self._anatomy.landmarks_mm, moved - self._isocenter_mm, strict=True))

    @cached_property
    def _layers(self) -> Layers:
        """The anatomy, blurred across the slice."""
        sigma = self._preset.thickness_mm / _FWHM_PER_SIGMA / _PLANE_SPACING_MM
        layers = self._anatomy.layers(self._grid, self._tissue)
        return Layers(*(gaussian_filter1d(layer, sigma, axis=0, mode="nearest") for layer in layers))

    def _image(self, time_s: float, couch_mm: Array) -> NDArray[np.generic]:
        state = BodyState.at(self.motion, time_s)
        organs = self._seen(self._layers.organs, state, couch_mm)
        wall = self._seen(self._layers.wall, _of_wall(state), couch_mm)
        inflow = _INFLOW * (state.inhaled - 0.5) + _PULSE * (state.contracted - 0.5)
        signal = wall[..., 0] + (1 - wall[..., 1]) * (organs[..., 0] + inflow * organs[..., 1])
        return self._imaging.picture(signal, self._speed_mm_s(time_s), self._noise(time_s))

    def _masks(self, time_s: float, couch_mm: Array) -> Mapping[str, NDArray[np.bool_]]:
        state = BodyState.at(self.motion, time_s)
        of_organs_mm = self._origin_mm(state, couch_mm)
        of_wall_mm = self._origin_mm(_of_wall(state), couch_mm)
        x, y, z = (self._interpolated(of_wall_mm[..., i]).astype(float) for i in range(3))
        in_cavity = self._anatomy.wall.inside_mm(x, y, z) < 0
        x, y, z = (self._interpolated(of_organs_mm[..., i]).astype(float) for i in range(3))
        masks = {"liver": (self._anatomy.liver_mm(x, y, z) < 0) & in_cavity}
        for name, tubes in self._anatomy.landmark_tubes.items():
            masks[name] = np.any([inside((x, y, z), tube) for tube in tubes], axis=0) & in_cavity
        return masks

    def _speed_mm_s(self, time_s: float) -> float:
        """Return how fast the diaphragm moves."""
        moved = self.motion.displacement_mm(time_s) - self.motion.displacement_mm(time_s - _FRAME_S)
        return float(np.linalg.norm(moved)) / _FRAME_S

    def _seen(self, stack: NDArray[np.float32], state: BodyState, couch_mm: Array) -> NDArray[np.float32]:
        """Return what of a (planes, rows, columns, 2) stack lies at the pixels in a state, (H, W, 2)."""
        coarse = self._grid.indices(self._origin_mm(state, couch_mm))
        column, row, plane = (self._interpolated(coarse[..., i]) for i in range(3))
        return sampled(stack, column, row, plane)

    def _origin_mm(self, state: BodyState, couch_mm: Array) -> Array:
        """Return the (h, w, 3) points of the body that lie at the coarse points in a state."""
        return self._deformation.origin_mm(self._points_mm - couch_mm, state)

    def _interpolated(self, coarse: Array) -> NDArray[np.float32]:
        """Return the (H, W) values between (h, w) values at the coarse points."""
        by_rows = self._to_rows.of(coarse.astype(np.float32))
        return np.ascontiguousarray(self._to_columns.of(by_rows.T).T)


def _of_wall(state: BodyState) -> BodyState:
    """Return the state as the wall takes part in it: it does not follow the diaphragm nor the heart."""
    return BodyState(np.zeros(3), state.inhaled, 0.0)


def _coarse(shape: tuple[int, int], pose: Array, spacing_mm: float) -> tuple[Array, CubicSpline, CubicSpline]:
    """Return (h, w, 3) points in isocenter of a coarse grid over a picture, and the splines between them."""
    counts = [int(n * spacing_mm / _COARSE_MM) + 2 for n in shape]
    knots = [np.linspace(0.0, n - 1.0, k).astype(float) for n, k in zip(shape, counts, strict=True)]
    rows, columns = np.meshgrid(*knots, indexing="ij")
    pixels_mm = np.stack([columns, rows, np.zeros_like(rows)], axis=-1) * spacing_mm
    to_rows, to_columns = (CubicSpline(k, n) for k, n in zip(knots, shape, strict=True))
    return frames.apply(pose, pixels_mm), to_rows, to_columns

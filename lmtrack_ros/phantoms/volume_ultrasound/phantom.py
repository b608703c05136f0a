"""A fetal head in utero under a mechanically swept 3-D ultrasound probe."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.signal import lfilter

from lmtrack_ros.core import frames
from lmtrack_ros.core.frames import Array, View
from lmtrack_ros.core.geometry import ImageGeometry, Modality, Mount
from lmtrack_ros.phantoms.motion import MotionRange
from lmtrack_ros.phantoms.phantom import Phantom, PhantomParameters, Preset, preset_of
from lmtrack_ros.phantoms.volume_ultrasound.display import Display
from lmtrack_ros.phantoms.volume_ultrasound.head import SCALP_MM, FetalHead
from lmtrack_ros.phantoms.volume_ultrasound.pose import FetalPose
from lmtrack_ros.phantoms.volume_ultrasound.swept_probe import ScanConverter, SweptProbe
from lmtrack_ros.phantoms.volume_ultrasound.tissue import Grid, HeadGrid, draw_tissue, speckle
from lmtrack_ros.phantoms.volume_ultrasound.uterus import Uterus


@dataclass(frozen=True)
class VolumePreset(Preset):
    """A fetal head at one resolution.

    Attributes:
        shape: (D, H, W) of the volume.
        spacing_mm: of its voxels.
        grid_mm: spacing of the anatomy, of the samples along a beam, and roughly of the beams far down.
    """

    shape: tuple[int, int, int]
    spacing_mm: float
    grid_mm: float


_BREATHING = MotionRange(
    peak_to_peak_mm=(2.0, 6.0),
    anterior_mm=(0.5, 2.5),
    left_mm=(-0.5, 0.5),
    period_s=(2.8, 4.5),
    baseline_mm=(0.1, 0.5),
    drift_mm_min=(-0.5, 0.5),
)

PRESETS = {
    "fetal_head": VolumePreset(
        "head of a fetus of 18 to 24 weeks, voxels of 1 mm", 3.0, _BREATHING, (140, 104, 162), 1.0, 0.7
    ),
    "fetal_head_full": VolumePreset(
        "the same, 324x207x279 voxels of 0.5 mm", 2.0, _BREATHING, (279, 207, 324), 0.5, 0.5
    ),
    "fetal_head_small": VolumePreset(
        "the same, voxels of 1.5 mm, quickly rendered", 4.0, _BREATHING, (93, 69, 108), 1.5, 0.9
    ),
}
"""The first is the default."""

_BONE_ECHO = 45.0
_WALL_ECHO = 4.5
_BONE_LOSS_PER_MM = 0.30
_REVERBERATED = (0.035, 0.012)
_BETWEEN_REVERBERATIONS_MM = 4.2
_VEIL = 0.05
_VEIL_REACH_MM = 9.0


class VolumeUltrasoundPhantom(Phantom):
    """A fetal head, drawn from a population, that moves as one with the breath and by itself.

    Everything is echoed in the probe's own beams: the anatomy is sampled along them, weakened by the bone
    that lies before it, smeared by the point spread, compressed, and only then brought to voxels. Bone and
    the walls along the midline echo where the beam meets them at a right angle; the skull next to
    the probe veils the near hemisphere with reverberation. The womb moves with the breath alone.

    Args:
        parameters: of picture and motion.

    Raises:
        UserError: the preset is unknown or the trace cannot be read.
    """

    def __init__(self, parameters: PhantomParameters) -> None:
        preset = preset_of(parameters, PRESETS)
        seed = parameters.seed
        axes = frames.isocenter_from_image(View.AXIAL)[:3, :3]
        centre_mm = (np.array(preset.shape[::-1]) - 1) / 2 * preset.spacing_mm
        geometry = ImageGeometry(
            Modality.ULTRASOUND_VOLUME,
            (preset.spacing_mm,) * 3,
            mount=Mount(parameters.mount),
            pose=frames.rigid(axes, -axes @ centre_mm),
        )
        super().__init__("volume_ultrasound", geometry, preset, parameters)
        rng = np.random.default_rng((seed, 3))
        self.head = FetalHead.draw(rng)
        self._probe = SweptProbe.at_resolution(preset.shape, preset.spacing_mm, preset.grid_mm)
        self._grid_mm = preset.grid_mm
        self._wall_mm = rng.uniform(14.0, 24.0)
        self._deep_mm = self._wall_mm + SCALP_MM + rng.uniform(4.0, 8.0) + self.head.half_width_mm
        head_mm = np.array([rng.uniform(-6, 6), rng.uniform(-5, 5), self._probe.depth_mm / 2 - self._deep_mm])
        neck_mm = np.array([0.0, -0.4 * self.head.half_length_mm, -self.head.base_mm])
        self._pose = FetalPose(rng, head_mm, neck_mm, seed)
        self._display = Display.draw(rng, self._probe)

    @property
    def half_turn(self) -> Array:
        """(3, 3) rotation in isocenter from the standard lie to the one that the fetus is nearest to."""
        return self._pose.half_turn

    @cached_property
    def _grid(self) -> HeadGrid:
        return draw_tissue(self.head, self._grid_mm, np.random.default_rng((self._seed, 4)))

    @cached_property
    def _womb(self) -> Uterus:
        rng = np.random.default_rng((self._seed, 6))
        return Uterus.draw(rng, self._probe, self._wall_mm, self._deep_mm, 1.5 * self._grid_mm)

    @cached_property
    def _clutter(self) -> NDArray[np.complex64]:
        """(P, R, B) reverberation between bone and probe; it stays with the probe."""
        rng = np.random.default_rng((self._seed, 7))
        return speckle(rng, self._points_mm.shape[1:], 0.6 * np.array(self._probe.psf))

    @cached_property
    def _points_mm(self) -> Grid:
        """(3, P, R, B) sampled points in isocenter."""
        return self._in_isocenter(self._probe.points_mm())

    @cached_property
    def _converter(self) -> ScanConverter:
        return ScanConverter(self._probe)

    def _in_isocenter(self, points_mm: Grid) -> Grid:
        """Return (3, ...) points of the probe in isocenter."""
        return np.asarray(np.tensordot(self.geometry.pose[:3, :3].astype(np.float32), points_mm, 1))

    def positions_mm(self, time_s: float) -> Mapping[str, Array]:
        """Return the (3,) position of every landmark at one moment, the couch at zero, in isocenter, mm."""
        pose = self._isocenter_from_head(time_s)
        return {name: frames.apply(pose, p) for name, p in self.head.landmarks_mm().items()}

    def _isocenter_from_head(self, time_s: float) -> Array:
        breath = frames.rigid(translation_mm=self.motion.displacement_mm(time_s))
        return np.asarray(breath @ self._pose.isocenter_from_head(time_s))

    def _image(self, time_s: float, couch_mm: Array) -> NDArray[np.uint8]:
        echo = self._echo(time_s, couch_mm)
        return self._converter.volume(self._display.shown(echo, self._probe, self._noise(time_s)))

    def _echo(self, time_s: float, couch_mm: Array) -> NDArray[np.complex64]:
        """Return the (P, R, B) echo along the beams, before the point spread."""
        grid = self._grid
        moved_mm = self.motion.displacement_mm(time_s) + couch_mm
        index = self._head_index(self._points_mm, time_s, couch_mm)
        depth_mm = _sampled(grid.depth_mm, index, outside=20.0)
        echo = self._womb.echo(self._points_mm, moved_mm)
        echo *= np.clip(0.5 + depth_mm / grid.spacing_mm, 0, 1)
        echo += _sampled(grid.echo, index)
        bone = _sampled(grid.bone, index)
        step_mm = self._probe.range_mm
        squarely = np.square(np.gradient(depth_mm, step_mm, axis=1))
        np.clip(squarely, 0, 1, out=squarely)
        bone_echo = bone * np.float32(_BONE_ECHO) * (np.float32(0.04) + squarely**2)
        echo += _sampled(grid.walls, index) * self._across_midline(time_s) * np.float32(_WALL_ECHO)
        echo += bone_echo
        loss = np.cumsum(bone, axis=1) - bone
        through = np.exp(loss * np.float32(-_BONE_LOSS_PER_MM * step_mm))
        echo *= through
        self._reverberate(echo, bone_echo * through)
        return echo

    def _reverberate(self, echo: NDArray[np.complex64], bone_echo: Grid) -> None:
        """Add what bone sends to and fro before it comes back: later copies of itself and a fading veil."""
        step_mm = self._probe.range_mm
        for times, share in enumerate(_REVERBERATED, start=1):
            later = round(times * _BETWEEN_REVERBERATIONS_MM / step_mm)
            echo[:, later:] += share * bone_echo[:, :-later]
        decay = np.float32(np.exp(-step_mm / _VEIL_REACH_MM))
        veil = lfilter([1 - decay], [1, -decay], bone_echo, axis=1).astype(np.float32)
        veil *= _VEIL * _VEIL_REACH_MM
        echo += veil * self._clutter

    def _across_midline(self, time_s: float) -> Grid:
        """Return (P, 1, B) how squarely each beam meets the midline, 0 to 1."""
        beams = self._points_mm[:, :, -1] - self._points_mm[:, :, 0]
        left = self._isocenter_from_head(time_s)[:3, 0].astype(np.float32)
        cosine = np.tensordot(left, beams, 1) / np.linalg.norm(beams, axis=0)
        return np.asarray(0.08 + 0.92 * cosine[:, None, :] ** 4, dtype=np.float32)

    def _head_index(self, points_mm: Grid, time_s: float, couch_mm: Array) -> Grid:
        """Return where in the head's grid (3, ...) points in isocenter lie."""
        head = frames.inverse(frames.rigid(translation_mm=couch_mm) @ self._isocenter_from_head(time_s))
        turned = np.tensordot((head[:3, :3] / self._grid.spacing_mm).astype(np.float32), points_mm, 1)
        offset = ((head[:3, 3] - self._grid.origin_mm) / self._grid.spacing_mm).astype(np.float32)
        return np.asarray(turned + offset.reshape(3, *(1,) * (points_mm.ndim - 1)))

    def _masks(self, time_s: float, couch_mm: Array) -> Mapping[str, NDArray[np.bool_]]:
        points_mm = self._in_isocenter(self._probe.voxels_mm(self._converter.seen))
        index = self._head_index(points_mm, time_s, couch_mm)
        masks = {}
        for name, structure in self._grid.structures.items():
            mask = np.zeros(self._probe.shape, dtype=bool)
            mask.reshape(-1)[self._converter.seen] = _sampled(structure, index) > 0.5
            masks[name] = mask
        return masks


def _sampled(grid: NDArray, index: Grid, outside: float = 0.0) -> NDArray:  # type: ignore[type-arg]
    return np.asarray(map_coordinates(grid, index, order=1, cval=outside, output=grid.dtype))

"""A prostate under a 3-D ultrasound probe at the perineum, swept by a motor, on the couch's base plate.

Columns run to the patient's left, rows away from the probe to the head, slices to the front. The gland
creeps as bladder and rectum fill, and gas in the rectum pushes it now and then for some seconds; breath
moves it hardly. What lies round it gives way.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation
from scipy.special import gamma

from lmtrack_ros.core import frames
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.geometry import ImageGeometry, Modality, Mount
from lmtrack_ros.phantoms.motion import MotionKind, MotionRange
from lmtrack_ros.phantoms.phantom import Phantom, PhantomParameters, Preset, preset_of
from lmtrack_ros.phantoms.volume_ultrasound.display import Display
from lmtrack_ros.phantoms.volume_ultrasound.swept_probe import ScanConverter, SweptProbe
from lmtrack_ros.phantoms.volume_ultrasound.tissue import Grid, ellipsoid, noise, speckle, step

LANDMARKS = ("center", "left", "right", "anterior", "posterior", "apex", "base")
"""The middle of the gland and its outermost points, as if it had no notch at the back; the apex is at the
probe, the base at the bladder."""


@dataclass(frozen=True)
class ProstatePreset(Preset):
    """A gland at one resolution.

    Attributes:
        shape: (D, H, W) of the volume.
        spacing_mm: of its voxels.
    """

    shape: tuple[int, int, int]
    spacing_mm: float


_STILL = (0.0, 0.0)
_BREATHING = MotionRange(
    peak_to_peak_mm=(0.1, 0.6),
    anterior_mm=(0.0, 0.3),
    left_mm=_STILL,
    baseline_mm=_STILL,
    drift_mm_min=_STILL,
)

PRESETS = {
    "prostate": ProstatePreset(
        "glands of 20 to 90 ml, voxels of 1 mm, two volumes a second", 2.0, _BREATHING, (72, 72, 96), 1.0
    ),
}
"""The first is the default."""

_GRID_MM = 1.0
_MARGIN_MM = 10.0
_BAND_LIMIT_MM = 0.65
_REACH_MM = 16.0
"""How far from the gland the tissue round it gives way with it."""
_CREEP_PERIODS_S = (90.0, 400.0)
_CREEP_MM = (0.4, 1.8, 1.2)
"""Greatest standard deviation to the left, the head and the front (Langen et al. 2008: mm within minutes)."""
_GAS_EVERY_S = 60.0
_GAS_MM = (0.0, 1.5, 4.0)
"""At most, to the left, the head and the front."""
_NO_GAS = 0.4
"""Share of the minutes without."""


@dataclass(frozen=True, eq=False)
class Gland:
    """The shape of one prostate, about its middle in isocenter.

    Attributes:
        half_mm: (3,) half axes to the left, the head and the front.
        turn: (3, 3) rotation.
        flat: exponent of the surface: 2 of an ellipsoid, more of a boxier one.
        notch_mm: how far the back is dented in the midline.
    """

    half_mm: Array
    turn: Array
    flat: float
    notch_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Gland":
        """Return a gland of 20 to 90 ml, wider than it is high."""
        volume_ml = np.exp(rng.uniform(np.log(20.0), np.log(90.0)))
        shape = np.array([1.25, 1.0, 0.85]) * np.exp(0.07 * rng.standard_normal(3))
        flat = rng.uniform(2.0, 2.5)
        # of the body with half axes of one
        body = 8 * gamma(1 + 1 / flat) ** 3 / gamma(1 + 3 / flat)
        half_mm = shape * (volume_ml * 1000 / (body * shape.prod())) ** (1 / 3)
        turned_rad = np.deg2rad([12.0, 4.0, 5.0]) * np.clip(rng.standard_normal(3), -2, 2)
        turn = Rotation.from_rotvec(turned_rad).as_matrix()
        return cls(half_mm, turn, flat, rng.uniform(0.5, 2.5))

    def outside_mm(self, points_mm: Grid) -> Grid:
        """Return about how far outside the surface (3, ...) points about the middle lie, mm."""
        own = np.tensordot(self.turn.T.astype(np.float32), points_mm, 1)
        half = self.half_mm.astype(np.float32).reshape(3, *(1,) * (points_mm.ndim - 1))
        radius = np.sum(np.abs(own / half) ** np.float32(self.flat), axis=0) ** np.float32(1 / self.flat)
        dent = np.float32(self.notch_mm) * np.exp(-0.5 * (own[0] / (0.25 * half[0])) ** 2) * (own[2] < 0)
        return np.asarray((radius - 1) * np.float32(self.half_mm.mean()) + dent, np.float32)

    def landmarks_mm(self) -> Array:
        """Return the (7, 3) LANDMARKS about the middle of the surface."""
        directions = np.concatenate([np.eye(3), -np.eye(3)])[[0, 3, 2, 5, 4, 1]]
        # where the surface is at a right angle to an axis of isocenter, by its dual norm
        dual = self.flat / (self.flat - 1)
        slope = (directions @ self.turn) * self.half_mm
        weight = np.sign(slope) * np.abs(slope) ** (dual - 1)
        reach = np.sum(np.abs(slope) ** dual, axis=1, keepdims=True) ** (1 / dual)
        outermost = (weight / reach ** (dual - 1) * self.half_mm) @ self.turn.T
        return np.concatenate([np.zeros((1, 3)), outermost])


class ProstatePhantom(Phantom):
    """See the module's text.

    Args:
        parameters: of picture and motion; a motion that is asked for replaces all of the gland's own.

    Raises:
        UserError: the preset is unknown or the trace cannot be read.
    """

    def __init__(self, parameters: PhantomParameters) -> None:
        preset = preset_of(parameters, PRESETS)
        centre_mm = (np.array(preset.shape[::-1]) - 1) / 2 * preset.spacing_mm
        geometry = ImageGeometry(
            Modality.ULTRASOUND_VOLUME,
            (preset.spacing_mm,) * 3,
            mount=Mount(parameters.mount),
            pose=frames.rigid(translation_mm=-centre_mm),
        )
        super().__init__("prostate", geometry, preset, parameters)
        rng = np.random.default_rng((self._seed, 3))
        self.gland = Gland.draw(rng)
        self._middle_mm = rng.uniform(-1.0, 1.0, 3) * (3.0, 4.0, 3.0)
        self._probe = SweptProbe.at_resolution(preset.shape, preset.spacing_mm, preset.spacing_mm)
        self._display = replace(Display.draw(rng, self._probe), white_db=rng.uniform(17.0, 22.0))
        self._wanders = parameters.motion.kind == MotionKind.PRESET
        self._periods_s = rng.uniform(*_CREEP_PERIODS_S, (3, 3))
        self._phases_rad = rng.uniform(0.0, 2 * np.pi, (3, 3))
        self._creep_mm = rng.uniform(0.3, 1.0) * np.array(_CREEP_MM)

    def positions_mm(self, time_s: float) -> Mapping[str, Array]:
        """Return the (3,) position of every landmark at one moment, the couch at zero, in isocenter, mm."""
        places_mm = self.gland.landmarks_mm() + self._middle_mm + self._displacement_mm(time_s)
        return dict(zip(LANDMARKS, places_mm, strict=True))

    def _displacement_mm(self, time_s: float) -> Array:
        """Return the (3,) displacement of the gland from where it was at first, mm."""
        breath = self.motion.displacement_mm(time_s)
        if not self._wanders:
            return breath
        crept = np.sin(2 * np.pi * time_s / self._periods_s + self._phases_rad) - np.sin(self._phases_rad)
        return np.asarray(breath + self._creep_mm * crept.sum(axis=0) * (2 / 3) ** 0.5 + self._gas_mm(time_s))

    def _gas_mm(self, time_s: float) -> Array:
        """Return where gas in the rectum pushes the gland: some minutes not at all."""
        number = int(time_s // _GAS_EVERY_S)
        rng = np.random.default_rng((self._seed, 5, number))
        lasts_s, share = rng.uniform(8.0, 25.0), rng.uniform(0.0, 1.0)
        starts_s = number * _GAS_EVERY_S + rng.uniform(10.0, _GAS_EVERY_S - lasts_s)
        u = np.clip((time_s - starts_s) / lasts_s, 0.0, 1.0)
        return np.asarray(
            np.array(_GAS_MM) * max((share - _NO_GAS) / (1 - _NO_GAS), 0.0) * np.sin(np.pi * u) ** 2
        )

    @cached_property
    def _echoes(self) -> NDArray[np.complex64]:
        """(X, Y, Z) echoes on a grid in isocenter, the gland where it is at first."""
        rng = np.random.default_rng((self._seed, 4))
        half_mm = self._half_mm
        axes = [np.arange(-h, h, _GRID_MM, dtype=np.float32) for h in half_mm]
        points_mm = np.stack(np.meshgrid(*axes, indexing="ij"))
        amplitude = _amplitude(self.gland, points_mm, self._middle_mm, self._probe.depth_mm, rng)
        return np.asarray(
            speckle(rng, amplitude.shape, _BAND_LIMIT_MM / _GRID_MM) * amplitude, dtype=np.complex64
        )

    @property
    def _half_mm(self) -> Array:
        depth, rows, columns = self._probe.shape
        return np.array([columns, rows, depth]) * self._probe.spacing_mm / 2 + _MARGIN_MM

    @cached_property
    def _points_mm(self) -> Grid:
        """(3, P, R, B) sampled points in isocenter, the couch at zero."""
        return self._probe.points_mm()

    def _yields(self, at_mm: Array) -> Grid:
        """Return (1, P, R, B) how much the tissue at each sampled point goes with a gland there, 0 to 1."""
        outside_mm = self.gland.outside_mm(self._points_mm - _column(at_mm))
        return np.exp(-0.5 * np.square(np.maximum(outside_mm, 0) / np.float32(_REACH_MM)))[None]

    @cached_property
    def _converter(self) -> ScanConverter:
        return ScanConverter(self._probe)

    def _image(self, time_s: float, couch_mm: Array) -> NDArray[np.uint8]:
        displaced_mm = self._displacement_mm(time_s)
        yields = self._yields(self._middle_mm + displaced_mm + couch_mm)
        moved_mm = yields * _column(displaced_mm) + _column(couch_mm)
        index = (self._points_mm - moved_mm + _column(self._half_mm)) / np.float32(_GRID_MM)
        echo = map_coordinates(self._echoes, index, order=1, mode="nearest", output=np.complex64)
        return self._converter.volume(self._display.shown(echo, self._probe, self._noise(time_s)))

    def _masks(self, time_s: float, couch_mm: Array) -> Mapping[str, NDArray[np.bool_]]:
        points_mm = self._probe.voxels_mm(self._converter.seen)
        at_mm = self._middle_mm + self._displacement_mm(time_s) + couch_mm
        mask = np.zeros(self._probe.shape, dtype=bool)
        mask.reshape(-1)[self._converter.seen] = self.gland.outside_mm(points_mm - _column(at_mm, 2)) < 0
        return {"prostate": mask}


def _column(vector: Array, dimensions: int = 4) -> Grid:
    return np.asarray(vector, np.float32).reshape(3, *(1,) * (dimensions - 1))


def _amplitude(
    gland: Gland, points_mm: Grid, middle_mm: Array, depth_mm: float, rng: np.random.Generator
) -> Grid:
    """Return how strongly (3, X, Y, Z) points in isocenter echo."""
    shape = points_mm.shape[1:]
    left, head, front = points_mm - _column(middle_mm)
    half_left, half_head, half_front = gland.half_mm.astype(np.float32)
    uneven_mm = 1.2 * noise(rng, shape, 9.0 / _GRID_MM)

    # muscle and fat round it, in layers next to the probe
    from_probe_mm = points_mm[1] + np.float32(depth_mm / 2)
    amplitude = 0.9 * (1 + 0.3 * noise(rng, shape, 3.0 / _GRID_MM))
    layers = 1 + 0.7 * np.sin(2 * np.pi * (from_probe_mm + uneven_mm) / 3.1)
    amplitude *= np.where(from_probe_mm < 9, layers, 1)
    # the levators run beside the gland, dark
    beside_mm = np.abs(left) - half_left - 7 + 0.15 * np.abs(front)
    amplitude *= 1 - 0.6 * np.exp(-0.5 * (beside_mm / 3.0) ** 2)

    outside_mm = gland.outside_mm(points_mm - _column(middle_mm))
    inside = step(-outside_mm, 0.8)
    own = np.tensordot(gland.turn.T.astype(np.float32), points_mm - _column(middle_mm), 1)
    inner = ellipsoid(
        own,
        (0, 0.15 * half_head, 0.2 * half_front),
        (0.55 * half_left, 0.75 * half_head, 0.65 * half_front),
    )
    transition = step(1 - inner, 0.12)
    texture = 1 + 0.35 * noise(rng, shape, 2.5 / _GRID_MM)
    tissue = (0.52 * (1 - transition) + 0.27 * transition * texture) * (
        1 + 0.15 * noise(rng, shape, 4.0 / _GRID_MM)
    )
    tissue += 0.35 * np.exp(-0.5 * ((inner - 1) * 8) ** 2)
    urethra_mm = np.hypot(own[0], own[2] - 0.1 * half_front - 0.1 * own[1])
    tissue *= 1 - 0.8 * np.exp(-0.5 * (urethra_mm / 1.6) ** 2)
    for _ in range(int(rng.integers(0, 5))):
        at = rng.uniform(-0.5, 0.5, 3) * gland.half_mm
        near = np.sum(np.square(points_mm - _column(middle_mm + at)), axis=0)
        tissue += rng.uniform(2.0, 6.0) * np.exp(-0.5 * near / rng.uniform(0.8, 1.3) ** 2)
    amplitude = (1 - inside) * amplitude + inside * tissue
    amplitude += 1.6 * np.exp(-0.5 * (outside_mm / 0.9) ** 2) * (0.5 + 0.5 * np.abs(head) / half_head)

    # bladder above the base, rectum behind, pubic bone before
    filled = rng.uniform(0.9, 1.5)
    bladder = ellipsoid(
        np.stack([left, head, front]),
        (0, half_head + 15 * filled, 0.4 * half_front),
        (26 * filled, 14 * filled, 20 * filled),
    )
    beyond = 1 - inside
    amplitude *= 1 - 0.95 * step(1 - bladder, 0.06) * beyond
    amplitude += 1.3 * np.exp(-0.5 * ((bladder - 1.03) * 14) ** 2) * beyond
    rectum_mm = np.hypot(left, front + half_front + 11 + 0.1 * head + uneven_mm) - 8
    amplitude *= 1 - 0.8 * step(-rectum_mm - 1.5, 1.0)
    amplitude += 2.2 * np.exp(-0.5 * (rectum_mm / 1.1) ** 2) * (front > -half_front - 14)
    bone_mm = np.hypot(front - half_front - 13, head + 2) - 8 + 0.02 * left**2
    amplitude *= 1 - 0.85 * step(-bone_mm, 1.0)
    amplitude += 3.5 * np.exp(-0.5 * (bone_mm / 1.0) ** 2) * (front < half_front + 13)
    return np.asarray(amplitude, np.float32)

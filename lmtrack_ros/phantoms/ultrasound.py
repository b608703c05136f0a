"""A breathing liver under a longitudinal ultrasound probe that is held by the room."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core import frames
from lmtrack_ros.core.frames import Array, View
from lmtrack_ros.core.geometry import ImageGeometry, Modality, Mount
from lmtrack_ros.phantoms.motion import MotionRange, open_motion
from lmtrack_ros.phantoms.phantom import Phantom, PhantomParameters, Preset, preset_of
from lmtrack_ros.sources.source import SourceInfo

PRESETS = {
    "demo": Preset(
        "vessels in a liver that moves as one, as the demo follows them",
        30.0,
        MotionRange.exactly(15.0, 3.0, 4.0),
    )
}
"""The first is the default."""

_SPACING_MM = 0.5
_WIDTH_PX, _HEIGHT_PX = 320, 256
_MARGIN_PX = 100  # how far the anatomy reaches beyond the image on each side
_WALL_ROWS = 36  # the abdominal wall does not breathe
_SPECKLE_SIGMA_PX = (2.2, 1.1)  # lateral, axial
_OUT_OF_PLANE_RAD = 0.45  # cos of it: how alike the speckle of end-exhale and end-inhale is
_DYNAMIC_RANGE_DB = 55.0
_WHITE_DB = 24.0  # echoes this far above the liver's mean are white
_NOISE_AMPLITUDE = 0.02


@dataclass(frozen=True)
class Vessel:
    """A vessel cut across: dark blood, bright wall; its centre is a landmark.

    Attributes:
        offset_mm: mean position of its centre in isocenter, (y, z).
        radii_mm: half axes along columns and rows.
    """

    offset_mm: tuple[float, float]
    radii_mm: tuple[float, float]


VESSELS = {
    "portal_vein": Vessel((0.0, 0.0), (6.5, 4.5)),
    "hepatic_vein": Vessel((31.0, -21.0), (4.0, 5.0)),
}
"""The landmarks. The first is at the isocentre when the breath is at its mean and the couch at zero."""

_UNMARKED_VESSELS = (
    Vessel((-34.0, -12.0), (5.0, 3.5)),
    Vessel((16.0, 18.0), (3.5, 3.5)),
    Vessel((-8.0, -38.0), (3.0, 4.5)),
)


class UltrasoundPhantom(Phantom):
    """A liver with vessels that moves rigidly with the breath behind a wall that does not.

    The picture is the log-compressed envelope of a complex echo field: fully developed speckle,
    with a second independent field mixed in as the breath is drawn, as tissue that leaves the
    plane does, and receiver noise. One seed and time give one picture, to the bit.

    Args:
        parameters: of picture and motion.

    Raises:
        UserError: the preset is unknown or the trace cannot be read.
    """

    def __init__(self, parameters: PhantomParameters) -> None:
        preset = preset_of(parameters, PRESETS)
        center_px = np.array([_WIDTH_PX / 2, _HEIGHT_PX / 2])
        self._pose = frames.isocenter_from_image(View.LONGITUDINAL)
        self._pose[:3, 3] = -self._pose[:3, :3] @ np.append(center_px * _SPACING_MM, 0.0)
        geometry = ImageGeometry(
            Modality.ULTRASOUND,
            (_SPACING_MM, _SPACING_MM, 0.0),
            mount=Mount(parameters.mount),
            pose=self._pose,
        )
        super().__init__(
            SourceInfo("phantom:ultrasound", geometry, parameters.rate_hz or preset.rate_hz, frames=None),
            open_motion(parameters.motion, preset.motion, parameters.seed),
            parameters.seed,
        )
        rng = np.random.default_rng(parameters.seed)
        self._liver = _speckle(rng) * self._echogenicity()[..., None]
        wall = _speckle(rng)
        layers = 0.5 + 0.4 * np.sin(np.arange(len(wall)) / 3.0) + 0.9 * (np.arange(len(wall)) % 17 < 2)
        self._wall = wall * layers.astype(np.float32)[:, None, None]

    def positions_mm(self, time_s: float) -> Mapping[str, Array]:
        """Return the (3,) position of every vessel at one moment, the couch at zero, in isocenter, mm."""
        moved = self.motion.displacement_mm(time_s)
        return {name: np.array([0.0, *vessel.offset_mm]) + moved for name, vessel in VESSELS.items()}

    def _image(self, time_s: float, couch_mm: Array) -> NDArray[np.uint8]:
        angle = _OUT_OF_PLANE_RAD * self.motion.inhaled(time_s)
        liver = self._shifted(self._liver, self.motion.displacement_mm(time_s) + couch_mm)
        wall = self._shifted(self._wall, couch_mm)
        wall_bottom_px = _WALL_ROWS + self._shift_px(couch_mm)[1]
        in_wall = np.arange(_HEIGHT_PX)[:, None, None] < wall_bottom_px
        field_parts = np.where(in_wall, wall, liver)
        echo = np.cos(angle) * field_parts[..., :2] + np.sin(angle) * field_parts[..., 2:]
        echo += _NOISE_AMPLITUDE * self._noise(time_s).standard_normal(echo.shape, dtype=np.float32)
        power = np.einsum("ijk,ijk->ij", echo, echo)
        decibel = 10.0 * np.log10(power + 1e-12)
        grey = np.clip(255.0 * (1.0 + (decibel - _WHITE_DB) / _DYNAMIC_RANGE_DB), 0.0, 255.0)
        return grey.astype(np.uint8)

    def _shift_px(self, displacement_mm: Array) -> Array:
        """Return the (2,) shift in the image, columns and rows, of a (3,) displacement in isocenter."""
        shift: Array = (self._pose[:3, :3].T @ displacement_mm)[:2] / _SPACING_MM
        return shift

    def _shifted(self, anatomy: NDArray[np.float32], displacement_mm: Array) -> NDArray[np.float32]:
        """Return the (H, W, 4) part of the anatomy that is in the image after a displacement."""
        column, row = self._shift_px(displacement_mm)
        to_anatomy = np.array([[1.0, 0.0, _MARGIN_PX - column], [0.0, 1.0, _MARGIN_PX - row]])
        return np.asarray(
            cv2.warpAffine(
                anatomy,
                to_anatomy,
                (_WIDTH_PX, _HEIGHT_PX),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REFLECT,
            )
        )

    def _echogenicity(self) -> NDArray[np.float32]:
        """Return the amplitude of the echoes of the liver, with its vessels, over the anatomy."""
        height, width = _anatomy_shape()
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        amplitude = np.ones((height, width), np.float32)
        # the diaphragm, a bright arc towards the head
        arc_mm = np.hypot(columns - 0.62 * width, rows - 0.62 * height) * _SPACING_MM
        amplitude += 5.0 * (columns < 0.62 * width) * np.exp(-0.5 * ((arc_mm - 88.0) / 1.3) ** 2)
        for vessel in (*VESSELS.values(), *_UNMARKED_VESSELS):
            column, row = (self._pose[:3, :3].T @ np.array([0.0, *vessel.offset_mm]))[:2] / _SPACING_MM
            column += _WIDTH_PX / 2 + _MARGIN_PX
            row += _HEIGHT_PX / 2 + _MARGIN_PX
            a, b = np.array(vessel.radii_mm) / _SPACING_MM
            radius = np.hypot((columns - column) / a, (rows - row) / b)
            amplitude *= 1.0 - 0.48 * (1.0 - np.tanh(6.0 * (radius - 1.0)))
            amplitude += 2.2 * np.exp(-0.5 * ((radius - 1.08) / 0.09) ** 2)
        return amplitude


def _anatomy_shape() -> tuple[int, int]:
    return _HEIGHT_PX + 2 * _MARGIN_PX, _WIDTH_PX + 2 * _MARGIN_PX


def _speckle(rng: np.random.Generator) -> NDArray[np.float32]:
    """Return two independent complex echo fields, (H, W, 4): real and imaginary of each, power 1 a field."""
    noise = rng.standard_normal((*_anatomy_shape(), 4), dtype=np.float32)
    lateral, axial = _SPECKLE_SIGMA_PX
    blurred = cv2.GaussianBlur(noise, (0, 0), lateral, sigmaY=axial)
    return np.asarray(blurred / (blurred.std() * np.sqrt(2.0)), dtype=np.float32)

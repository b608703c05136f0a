"""Pairs of portal images and planned radiographs of patients who lie now here, now there, kept once rendered.

A patient is a seed: one anatomy, in poses that differ in the place of the planned isocentre, in the set-up
error, in the breath and in the field between the jaws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core import frames
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.geometry import ImageGeometry, Modality, Mount
from lmtrack_ros.phantoms.kept import keep, name_of
from lmtrack_ros.phantoms.phantom import PhantomParameters
from lmtrack_ros.phantoms.portal import LANDMARK_NAMES, PIXEL_MM, SIZE_PX, PortalPhantom
from lmtrack_ros.phantoms.xray.projector import projection_geometry

# to be raised when the pictures change: what is kept is then made anew
_VERSION = 1

POSES = 8
"""Of each patient."""
_TURNS = 2
"""In how many ways they lie turned: each is cut anew, which takes long."""

_ISOCENTRE_MM = (25.0, 30.0, 20.0)
"""How far a planned isocentre may be from the middle of the chest."""
_SHIFT_MM, _TILT_DEG = 20.0, 3.0
"""Largest set-up error along, and about, each axis."""
_PLANNED_TILT_DEG = 1.0
_BREATH_S, _BETWEEN_S = 40.0, 7.3
_NOWHERE = np.full(2, np.nan)


class View(NamedTuple):
    """One of the four pictures of a pose."""

    is_reference: bool
    gantry_deg: float

    @property
    def preset(self) -> str:
        """Name of the phantom's preset."""
        return f"{'kv' if self.is_reference else 'mv'}_{self.gantry_deg:g}"

    @property
    def geometry(self) -> ImageGeometry:
        """Where its pixels lie."""
        return projection_geometry(Modality.PORTAL, SIZE_PX, PIXEL_MM, self.gantry_deg, Mount.ROOM)


VIEWS = (View(False, 0.0), View(False, 90.0), View(True, 0.0), View(True, 90.0))


@dataclass(frozen=True, eq=False)
class Radiographs:
    """Of one patient, in P poses and the views of :data:`VIEWS`.

    Attributes:
        images: (P, 4, S, S) uint8.
        uv_px: (P, 4, L, 2) column and row of the landmarks of ``LANDMARK_NAMES``; NaN where one is outside
            the field, or does not show in such a view.
        setup_errors: (P, 4, 4) rigid transforms in isocenter from where the patient is planned to where he
            lies in the portal images.
        planned_mm: (P, L, 3) where the landmarks are planned, in isocenter.
    """

    images: NDArray[np.uint8]
    uv_px: Array
    setup_errors: Array
    planned_mm: Array


def load(
    patients: Sequence[int], folder: Path, on_patient: Callable[[int], None] = lambda done: None
) -> list[Radiographs]:
    """Return what patients look like, rendered now where that is not kept yet.

    Args:
        patients: their seeds.
        folder: where pictures are kept; several processes may share it.
        on_patient: told how many of the patients are there.

    Raises:
        UserError: the folder cannot be written.
    """
    every = []
    for done, patient in enumerate(patients, 1):
        path = _file(folder, patient)
        if not path.is_file():
            try:
                keep(path, partial(np.savez_compressed, **vars(_rendered(patient))))
            except OSError as error:
                raise UserError(f"cannot keep rendered radiographs in {folder}: {error}") from error
        with np.load(path) as kept:
            every.append(Radiographs(**{name: kept[name] for name in kept.files}))
        on_patient(done)
    return every


def _rendered(patient: int) -> Radiographs:
    rng = np.random.default_rng((patient, 9))
    lying = {
        is_reference: PortalPhantom(PhantomParameters(View(is_reference, 0.0).preset, patient))
        for is_reference in (False, True)
    }
    images, uv_px, errors, planned = [], [], [], []
    for turn in range(_TURNS):
        turned_plan, turned = _turned(rng, _PLANNED_TILT_DEG), _turned(rng, _TILT_DEG)
        seen = [
            lying[view.is_reference].posed(
                view.gantry_deg, turned_plan if view.is_reference else turned @ turned_plan
            )
            for view in VIEWS
        ]
        positions = seen[-1].positions_mm(0.0)
        for pose in range(POSES // _TURNS):
            isocentre_mm = rng.uniform(-1.0, 1.0, 3) * _ISOCENTRE_MM
            shift_mm = rng.uniform(-_SHIFT_MM, _SHIFT_MM, 3)
            time_s = rng.uniform(0.0, _BREATH_S)
            lies_mm = frames.apply(turned, isocentre_mm) + shift_mm
            pictures = [
                _Picture(
                    phantom.with_field(turn * POSES + pose),
                    isocentre_mm if view.is_reference else lies_mm,
                    # the two portal images are taken one after the other
                    time_s + number * _BETWEEN_S,
                )
                for number, (view, phantom) in enumerate(zip(VIEWS, seen, strict=True))
            ]
            images.append(np.stack([one.image() for one in pictures]))
            uv_px.append(np.stack([one.uv_px() for one in pictures]))
            errors.append(frames.rigid(turned[:3, :3], shift_mm))
            planned.append(np.stack([positions[name] + isocentre_mm for name in LANDMARK_NAMES]))
    return Radiographs(np.stack(images), np.stack(uv_px), np.stack(errors), np.stack(planned))


class _Picture(NamedTuple):
    phantom: PortalPhantom
    couch_mm: Array
    time_s: float

    def image(self) -> NDArray[np.generic]:
        return self.phantom.render(1, self.time_s, self.couch_mm).image

    def uv_px(self) -> Array:
        shown = self.phantom.shown_px(self.time_s, self.couch_mm)
        return np.array([shown.get(name, _NOWHERE) for name in LANDMARK_NAMES])


def _turned(rng: np.random.Generator, most_deg: float) -> Array:
    return frames.isocenter_from_table_top(np.zeros(3), np.radians(rng.uniform(-most_deg, most_deg, 3)))


def _file(folder: Path, patient: int) -> Path:
    return folder / f"{name_of(_VERSION, patient, POSES, _TURNS)}.npz"

"""Cases of lung tumours in fluoroscopy: patients, tumours and breathing.

They are those of the study of coarse-to-fine tumour localisation, section 4.

A patient is a seed. The tumours of one patient and breathing are projected into the same chest.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.phantoms.fluoroscopy import FluoroscopyPhantom
from lmtrack_ros.phantoms.kept import keep, name_of
from lmtrack_ros.phantoms.phantom import PhantomParameters

# to be raised when the pictures change: what is kept is then made anew
_VERSION = 2

SMALL_MM, USUAL_MM, LARGE_MM = (12.0, 20.0), (20.0, 40.0), (40.0, 50.0)
"""Diameters of tumours: smaller than any that is trained on, those, and larger."""


@dataclass(frozen=True)
class Case:
    """One patient with one tumour.

    Attributes:
        patient: seed of body and breathing.
        tumor: its number; None: the patient has none.
        diameters_mm: within what its size lies.
        preset: of the fluoroscopy phantom.
        frames: how many show it.
        step_s: between two of them.
        amplitude: of the breath, of the patient's usual one.
    """

    patient: int
    tumor: int | None = 0
    diameters_mm: tuple[float, float] = USUAL_MM
    preset: str = "lung_phases"
    frames: int = 10
    step_s: float = 0.5
    amplitude: float = 1.0

    @property
    def is_cycle(self) -> bool:
        """Whether after its last frame comes the first again: a regular breath of ten phases."""
        return self.preset == "lung_phases"


@dataclass(frozen=True, eq=False)
class Pictures:
    """Of one case.

    Attributes:
        images: (N, H, W) uint8.
        masks: (N, H, W) bool, the tumour.
        spacing_mm: pixel pitch in the isocentre plane.
        diameter_mm: mean of its three; 0 without a tumour.
        travel_mm: from its highest to its lowest place.
        hidden: share of its pixels, over all frames, that lie over bone, over the mediastinum, by name.
    """

    images: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    spacing_mm: float
    diameter_mm: float
    travel_mm: float
    hidden: Mapping[str, float]


def load(
    cases: Sequence[Case], folder: Path, on_case: Callable[[int], None] = lambda done: None
) -> list[Pictures]:
    """Return what cases look like, rendered now where that is not kept yet.

    Args:
        cases: of any patients.
        folder: where pictures are kept; several processes may share it.
        on_case: told how many of the cases are there.

    Raises:
        UserError: the folder cannot be written.
    """
    done = 0
    for (patient, preset, step_s), group in groupby(cases, lambda c: (c.patient, c.preset, c.step_s)):
        together = list(group)
        missing = [case for case in together if not _file(folder, case).is_file()]
        if missing:
            chest = FluoroscopyPhantom(PhantomParameters(preset, patient, 1 / step_s))
            try:
                _render(chest, missing, folder)
            except OSError as error:
                raise UserError(f"cannot keep a rendered sequence in {folder}: {error}") from error
        done += len(together)
        on_case(done)
    return [_read(_file(folder, case)) for case in cases]


def _render(chest: FluoroscopyPhantom, cases: Sequence[Case], folder: Path) -> None:
    seen = [
        chest.without_tumor()
        if case.tumor is None
        else chest.with_tumor(case.tumor, case.diameters_mm, case.amplitude)
        for case in cases
    ]
    shape = chest.render(1, 0.0).image.shape
    frames = max(case.frames for case in cases)
    images = np.zeros((len(cases), frames, *shape), np.uint8)
    masks = np.zeros((len(cases), frames, *shape), bool)
    height_mm: list[list[float]] = [[] for _ in cases]
    hidden: list[list[Mapping[str, float]]] = [[] for _ in cases]
    for frame in range(frames):
        time_s = frame * cases[0].step_s
        for number, phantom in enumerate(seen):
            if frame < cases[number].frames:
                images[number, frame] = phantom.render(1, time_s).image
                masks[number, frame] = phantom.masks(time_s)["tumor"]
                if phantom.tumor is not None:
                    height_mm[number].append(phantom.positions_mm(time_s)["tumor"][1])
                    hidden[number].append(phantom.hidden(time_s))
    for number, case in enumerate(cases):
        tumor = seen[number].tumor
        over = {name: np.mean([one[name] for one in hidden[number]]) for name in (hidden[number] or [{}])[0]}
        content = {
            "images": images[number, : case.frames],
            "masks": np.packbits(masks[number, : case.frames], axis=-1),
            "spacing_mm": chest.geometry.plane_spacing_mm[0],
            "diameter_mm": 0.0 if tumor is None else 2 * tumor.radii_mm.mean(),
            "travel_mm": np.ptp(height_mm[number] or [0.0]),
            "hidden": json.dumps(over),
        }
        keep(_file(folder, case), partial(np.savez, **content))


def _file(folder: Path, case: Case) -> Path:
    return folder / f"{name_of(_VERSION, asdict(case))}.npz"


def _read(path: Path) -> Pictures:
    with np.load(path) as kept:
        images = kept["images"]
        return Pictures(
            images,
            np.unpackbits(kept["masks"], axis=-1, count=images.shape[-1]).astype(bool),
            float(kept["spacing_mm"]),
            float(kept["diameter_mm"]),
            float(kept["travel_mm"]),
            json.loads(str(kept["hidden"])),
        )

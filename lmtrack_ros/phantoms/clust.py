"""A study population of ultrasound phantoms like that of the CLUST challenge 2015, in its layout.

As many sequences and landmarks as Zhang et al. 2023 and De Luca et al. 2018 tell of: 24 sequences with
53 landmarks to train on, 39 with 85 to test, by five scanners, 10 s to 2 min long, at 6 to 30 Hz and 0.27 to
0.77 mm per pixel. Every sequence is another patient. Every eighth frame is annotated; there, 10 to 13 % are.
"""

import csv
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import cv2
import numpy as np

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.phantoms import PhantomParameters, open_phantom
from lmtrack_ros.phantoms.motion import MotionParameters
from lmtrack_ros.phantoms.ultrasound.presets import PRESETS
from lmtrack_ros.recording import PARTIAL_SUFFIX
from lmtrack_ros.sources.clust import ANNOTATIONS, COLUMNS, IMAGES, TABLE

ANNOTATED_EVERY = 8
_SECONDS = (10.0, 120.0)
_EVENTS = ("cough", "sneeze", "deep_breath")
_INTERRUPTED = 0.4
"""Share of the patients who cough, sneeze or take a deep breath once."""

# scanner, phantom preset, and how many landmarks each of its patients has: to train, to test
_SCANNERS = (
    ("CIL", "liver_deep", (1, 2), (1, 2, 2)),
    ("ETH", "liver", (1, 2, 1, 2, 3, 1, 2, 1, 3), (2, 1, 3, 2, 1, 2, 3, 1, 2, 3, 2, 2, 3, 3)),
    ("ICR", "kidney", (3, 3, 2, 3), (2, 3, 2, 3, 3)),
    ("ICR", "liver_fast", (1,), (1, 1)),
    ("MED1", "liver_fine", (3, 2, 3, 2), (5, 1, 2, 3, 2, 2, 2, 1)),
    ("MED2", "liver_slow", (4, 3, 3, 2), (4, 1, 2, 3, 1, 3, 3)),
)
_TRAINING_SEED, _VALIDATION_SEED, _TEST_SEED = 6000, 6500, 7000


@dataclass(frozen=True)
class Patient:
    """One sequence of the population.

    Attributes:
        name: scanner and number.
        phantom: who it is and how he moves.
        seconds: how long he is seen.
        landmarks: how many are followed.
    """

    name: str
    phantom: PhantomParameters
    seconds: float
    landmarks: int

    @property
    def frames(self) -> int:
        """How many show him."""
        return round(self.seconds * PRESETS[self.phantom.preset].rate_hz)


def _patients(part: int, first_seed: int) -> Iterator[Patient]:
    numbers: dict[str, Iterator[int]] = {}
    seeds = count(first_seed)
    for scanner, preset, *landmarks in _SCANNERS:
        for followed in landmarks[part]:
            number = next(numbers.setdefault(scanner, count(1)))
            yield _patient(f"{scanner}-{number:02}", preset, next(seeds), followed)


def _patient(name: str, preset: str, seed: int, landmarks: int) -> Patient:
    rng = np.random.default_rng((seed, 20))
    seconds = float(np.exp(rng.uniform(*np.log(_SECONDS))).round(1))
    event = f"{rng.choice(_EVENTS)}@{rng.uniform(3.0, seconds - 3.0):.1f}"
    motion = MotionParameters(events=(event,) if rng.random() < _INTERRUPTED else ())
    return Patient(name, PhantomParameters(preset, seed, motion=motion), seconds, landmarks)


PARTS: Mapping[str, tuple[Patient, ...]] = {
    "training": tuple(_patients(0, _TRAINING_SEED)),
    "test": tuple(_patients(1, _TEST_SEED)),
}
"""24 and 39 patients; nobody is in both."""

VALIDATION = tuple(
    _patient(f"{scanner}-{preset}", preset, seed, max(to_train))
    for seed, (scanner, preset, to_train, _) in enumerate(_SCANNERS, _VALIDATION_SEED)
)
"""One more under each scanner, for who trains."""


FOLDS = tuple(PARTS["training"][number::5] for number in range(5))
"""Of the patients to train on, for cross-validation: each with patients of most scanners."""


def write(folder: Path, patients: Sequence[Patient], on_frame: Callable[[], None] = lambda: None) -> None:
    """Write sequences; those that are there already, from an interrupted run, are kept, and so are others.

    Args:
        folder: where to.
        patients: whose.
        on_frame: called after each frame.

    Raises:
        UserError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_table(folder / TABLE, patients)
        for patient in missing(folder, patients):
            _write_sequence(folder / patient.name, patient, on_frame)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}") from error


def missing(folder: Path, patients: Sequence[Patient]) -> list[Patient]:
    """Return the patients who are not in a folder yet."""
    return [patient for patient in patients if not (folder / patient.name).is_dir()]


def _write_table(path: Path, patients: Sequence[Patient]) -> None:
    with path.open("a+", newline="", encoding="utf-8") as file:
        file.seek(0)
        listed = [row[0] for row in csv.reader(file)]
        table = csv.writer(file, lineterminator="\n")
        if not listed:
            table.writerow(COLUMNS)
        for patient in patients:
            if patient.name not in listed:
                preset = PRESETS[patient.phantom.preset]
                table.writerow([patient.name, preset.spacing_mm, preset.rate_hz])


def _write_sequence(path: Path, patient: Patient, on_frame: Callable[[], None]) -> None:
    phantom = open_phantom("ultrasound", patient.phantom)
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    shutil.rmtree(partial, ignore_errors=True)
    (partial / IMAGES).mkdir(parents=True)
    (partial / ANNOTATIONS).mkdir()
    marks: dict[str, list[str]] = {name: [] for name in list(phantom.positions_mm(0.0))[: patient.landmarks]}
    for index, frame in enumerate(islice(phantom, patient.frames)):
        file = partial / IMAGES / f"{index + 1:05d}.png"
        if not cv2.imwrite(str(file), np.asarray(frame.image, np.uint8), (cv2.IMWRITE_PNG_COMPRESSION, 3)):
            raise OSError(f"{file} was not written")
        if index % ANNOTATED_EVERY == 0:
            for estimate in phantom.truth(0, index / phantom.info.rate_hz).estimates:
                if estimate.id in marks:
                    column, row = estimate.uv_px
                    marks[estimate.id].append(f"{index + 1} {column:.3f} {row:.3f}\n")
        on_frame()
    for number, lines in enumerate(marks.values(), 1):
        file = partial / ANNOTATIONS / f"{patient.name}_{number}.txt"
        file.write_text("".join(lines), encoding="utf-8")
    os.replace(partial, path)

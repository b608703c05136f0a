"""The sequences to train on, to validate and to test with: cases of phantoms, or a user's own."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lmtrack_ros.configuration import cache_directory
from lmtrack_ros.models.coarse_to_fine_unet import DATA, FINETUNED_PATIENTS
from lmtrack_ros.models.coarse_to_fine_unet.configuration import CoarseToFineUnetConfiguration
from lmtrack_ros.models.coarse_to_fine_unet.own_images import own_clips
from lmtrack_ros.models.coarse_to_fine_unet.windows import Clip, clip
from lmtrack_ros.models.parts import Part
from lmtrack_ros.models.trainee import Gathered
from lmtrack_ros.phantoms import lung_cases
from lmtrack_ros.phantoms.lung_cases import LARGE_MM, SMALL_MM, USUAL_MM, Case

_PATIENTS = {
    Part.TRAINING: range(1000, 1110),
    Part.VALIDATION: range(2000, 2012),
    Part.TEST: range(3000, 3030),
}
_FREE = "lung_free"
_PATIENT = 5000
_FINETUNED = range(6000, 6000 + FINETUNED_PATIENTS)
_AMPLITUDES = 0.4, 1.6
"""Of the breaths of one patient, of his usual one."""


def group(part: Part) -> list[Case]:
    """Return the cases of the group protocol, section 4.2.

    110 patients to train on, each with two tumours in ten phases of a regular breath and three, and none,
    breathing freely; 30 to test with, each with a tumour of the trained sizes, a smaller and a larger one.
    """
    cases = []
    for patient in _PATIENTS[part]:
        if part is Part.TEST:
            cases += [Case(patient, number, mm) for number, mm in enumerate((SMALL_MM, USUAL_MM, LARGE_MM))]
            cases += [Case(patient, 1, preset=_FREE, frames=40), Case(patient, None, preset=_FREE, frames=40)]
        else:
            cases += [Case(patient, number) for number in (0, 1)]
            cases += [Case(patient, number, preset=_FREE, frames=20) for number in (2, 3, 4, None)]
    return cases


def patient(part: Part) -> list[Case]:
    """Return the cases of one patient and tumour, section 4.3: 100 breaths ordered by their amplitude.

    The 40 least and the 40 greatest are to train on, the 20 between to test with; further ones to validate.
    """
    return _breaths(_PATIENT, patient_amplitudes(_PATIENT))[part]


def finetuning(number: int, part: Part) -> list[Case]:
    """Return the cases of one of the patients of section 4.2's sub-groups: 20 breaths by their amplitude.

    The 10 least are to train on, the 10 greatest to test with.
    """
    seed = _FINETUNED[number - 1]
    return _breaths(seed, _amplitudes(seed, 20, range(10, 20)))[part]


def patient_amplitudes(seed: int) -> dict[Part, list[float]]:
    """Return the amplitudes of one patient's breaths, of his usual one, by what they are for."""
    return _amplitudes(seed, 100, range(40, 60))


def _amplitudes(seed: int, count: int, tested: range) -> dict[Part, list[float]]:
    rng = np.random.default_rng(seed)
    amplitudes = np.sort(rng.uniform(*_AMPLITUDES, count)).round(4).tolist()
    taught = [amplitude for number, amplitude in enumerate(amplitudes) if number not in tested]
    return {
        Part.TRAINING: taught,
        Part.VALIDATION: [_between(taught, number) for number in range(len(taught) // 8)],
        Part.TEST: [amplitudes[number] for number in tested],
    }


def _breaths(seed: int, amplitudes: Mapping[Part, Sequence[float]]) -> dict[Part, list[Case]]:
    return {part: [Case(seed, 0, amplitude=a) for a in some] for part, some in amplitudes.items()}


def _between(amplitudes: Sequence[float], number: int) -> float:
    """Return an amplitude in the middle between two successive ones."""
    first = 8 * number + 3
    return round((amplitudes[first] + amplitudes[first + 1]) / 2, 4)


def cases(name: str, part: Part) -> list[Case]:
    """Return the cases of one part of a data set.

    Args:
        name: of one that the model has itself.
        part: wanted.
    """
    if name == "group":
        return group(part)
    if name == "patient":
        return patient(part)
    return finetuning(int(name.removeprefix("finetune-")), part)


def clips(
    data: Sequence[str], part: Part, configuration: CoarseToFineUnetConfiguration, gathered: Gathered
) -> list[Clip]:
    """Return the sequences of one part of some data.

    Raises:
        UserError: a folder cannot be used, or what is rendered cannot be kept.
    """
    every = [case for name in data if name in DATA for case in cases(name, part)]
    pictures = lung_cases.load(
        every, cache_directory("lung_cases"), lambda done: gathered(part.value, done, len(every))
    )
    simulated = [
        clip(p.images, p.masks, configuration.image_px, p.spacing_mm, is_cycle=case.is_cycle)
        for case, p in zip(every, pictures, strict=True)
    ]
    own = [one for name in data if name not in DATA for one in own_clips(Path(name), part, configuration)]
    return simulated + own

"""The sequences to train on, to validate and to test with: cases of phantoms, or a user's own."""

from collections.abc import Sequence

from lmtrack_ros.configuration import cache_directory
from lmtrack_ros.models.coarse_to_fine_unet.configuration import CoarseToFineUnetConfiguration
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
_FREE = "lung_small"


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


def clips(
    data: Sequence[str], part: Part, configuration: CoarseToFineUnetConfiguration, gathered: Gathered
) -> list[Clip]:
    """Return the sequences of one part of some data."""
    cases = group(part)
    pictures = lung_cases.load(
        cases, cache_directory("lung_cases"), lambda done: gathered(part.value, done, len(cases))
    )
    return [
        clip(p.images, p.masks, configuration.image_px, p.spacing_mm, is_cycle=case.preset != _FREE)
        for case, p in zip(cases, pictures, strict=True)
    ]

"""The sequences to train on, to validate and to test with: a population of phantoms, or a user's own."""

from collections.abc import Sequence
from pathlib import Path

from lmtrack_ros.configuration import cache_directory
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.models.attention_mask_rcnn.clips import sequence_folders
from lmtrack_ros.models.parts import Part
from lmtrack_ros.models.trainee import Gathered
from lmtrack_ros.phantoms import clust

_CLUST = {"clust": clust.PARTS["training"]} | {
    f"clust-without-{number}": tuple(p for p in clust.PARTS["training"] if p not in fold)
    for number, fold in enumerate(clust.FOLDS, 1)
}
"""Populations of phantoms to train on, by name."""

_LEAST_SEQUENCES = 3
_VALIDATED_EVERY = 6
"""Of a user's own sequences, one in six is for validation and one for tests, but one at least."""


def population(data: Sequence[str], part: Part, gathered: Gathered) -> list[Path]:
    """Return the sequences of one part of some data.

    Args:
        data: a population of phantoms by its name, and folders that are sequences or hold some.
        part: of it; all folders are divided as one.
        gathered: told how far phantoms are rendered.

    Raises:
        UserError: it cannot be written or read, or there are too few sequences.
    """
    found: list[Path] = []
    for name in data:
        if name in _CLUST:
            patients = {
                Part.TRAINING: _CLUST[name],
                Part.VALIDATION: clust.VALIDATION,
                Part.TEST: clust.PARTS["test"][::5],
            }[part]
            found += rendered(part, patients, gathered)
    folders = [Path(name) for name in data if name not in _CLUST]
    return found + _divided(sequence_folders(folders))[part] if folders else found


def rendered(part: Part, patients: Sequence[clust.Patient], gathered: Gathered) -> list[Path]:
    """Return the sequences of phantoms, rendered where they are not kept from before.

    Args:
        part: in whose folder of the cache they are.
        patients: whom they show.
        gathered: told how far they are rendered.

    Raises:
        UserError: they cannot be written.
    """
    folder = cache_directory("clust") / part.value
    left = clust.missing(folder, patients)
    total = sum(patient.frames for patient in left)
    done = 0

    def on_frame() -> None:
        nonlocal done
        done += 1
        gathered(f"{part.value} frames", done, total)

    if left:
        gathered(f"{part.value} frames", 0, total)
    clust.write(folder, patients, on_frame)
    return [folder / patient.name for patient in patients]


def _divided(sequences: Sequence[Path]) -> dict[Part, list[Path]]:
    if len(sequences) < _LEAST_SEQUENCES:
        raise UserError(f"{len(sequences)} sequences to train, validate and test with: at least 3 are needed")
    every = min(_VALIDATED_EVERY, len(sequences))
    validation, test = list(sequences[every - 2 :: every]), list(sequences[every - 1 :: every])
    training = [s for s in sequences if s not in validation and s not in test]
    return {Part.TRAINING: training, Part.VALIDATION: validation, Part.TEST: test}

"""Sequences laid out as those of the Challenge on Liver Ultrasound Tracking (CLUST 2015, clust.ethz.ch).

::

    DIR/sequences.csv                    sequence,spacing_mm,rate_hz
    DIR/ETH-01-1/Data/00001.png          frames, counted from 1
    DIR/ETH-01-1/Annotation/ETH-01-1_1.txt   one landmark: frame column row, of the frames annotated

The images of the challenge do not say their pixel pitch and rate, its documents do: ``sequences.csv`` holds
them. The part of a name before the first hyphen is the scanner's.
"""

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import Modality
from lmtrack_ros.sources.files import folder_files, natural_order, open_files
from lmtrack_ros.sources.options import SourceOptions
from lmtrack_ros.sources.source import Source

IMAGES = "Data"
ANNOTATIONS = "Annotation"
TABLE = "sequences.csv"
COLUMNS = ("sequence", "spacing_mm", "rate_hz")


def is_sequence(folder: Path) -> bool:
    """Return whether a folder is laid out like a sequence of the challenge."""
    return (folder / IMAGES).is_dir() and (folder / ANNOTATIONS).is_dir()


def sequences(folder: Path) -> list[Path]:
    """Return the sequences in a folder, in order of their names.

    Raises:
        UserError: there is none.
    """
    found = sorted(filter(is_sequence, folder.iterdir()), key=natural_order) if folder.is_dir() else []
    if not found:
        raise UserError(f"{folder} holds no sequence: expected folders with '{IMAGES}' and '{ANNOTATIONS}'")
    return found


def source_of(name: str) -> str:
    """Return the scanner that a sequence comes from."""
    return name.partition("-")[0]


def open_sequence(folder: Path, options: SourceOptions) -> Source:
    """Open the images of a sequence.

    Args:
        folder: of the sequence.
        options: win over ``sequences.csv``.

    Raises:
        UserError: there are no images, or nothing says their pixel pitch and rate.
    """
    spacing_mm, rate_hz = options.spacing_mm, options.rate_hz
    if spacing_mm is None or rate_hz is None:
        listed_mm, listed_hz = _listed(folder)
        spacing_mm, rate_hz = spacing_mm or (listed_mm, listed_mm), rate_hz or listed_hz
    stated = replace(
        options,
        modality=options.modality or Modality.ULTRASOUND,
        spacing_mm=spacing_mm,
        nominal_rate_hz=rate_hz,
    )
    return open_files(folder_files(folder / IMAGES), stated, folder.resolve().name)


def read_landmarks(folder: Path) -> Iterator[tuple[str, dict[int, tuple[float, float]]]]:
    """Yield each landmark's name and its (column, row) by frame number, from 0.

    Raises:
        UserError: there is none, or a file is not as described.
    """
    files = sorted((folder / ANNOTATIONS).glob("*.txt"), key=natural_order)
    if not files:
        raise UserError(f"{folder / ANNOTATIONS} holds no landmark")
    for file in files:
        places: dict[int, tuple[float, float]] = {}
        try:
            for line in file.read_text(encoding="utf-8").split("\n"):
                if line.strip():
                    frame, column, row = line.split()
                    places[int(float(frame)) - 1] = (float(column), float(row))
            if not places or min(places) < 0:
                raise ValueError("frames are counted from 1")
        except (OSError, ValueError) as error:
            raise UserError(f"{file} is not lines of 'frame column row': {error}") from error
        yield file.stem, places


def _listed(folder: Path) -> tuple[float, float]:
    """Return pixel pitch and rate of a sequence, mm and Hz."""
    table, name = folder.resolve().parent / TABLE, folder.resolve().name
    unknown = (
        f"{name} does not say its pixel pitch and rate: expected a line '{name},MILLIMETRES,HERTZ' under "
        f"'{','.join(COLUMNS)}' in {table}"
    )
    try:
        with table.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["sequence"] == name:
                    return float(row["spacing_mm"]), float(row["rate_hz"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(unknown) from error
    raise UserError(unknown)

"""The landmarks that come with frames: ``landmarks.csv`` or ``initial_landmarks`` in a recording."""

import csv
from collections.abc import Mapping
from pathlib import Path

from lmtrack_ros import interface
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import Landmark, MarkedLandmarks
from lmtrack_ros.recording import Recording, is_recording

FILE_NAME = "landmarks.csv"


def read_axes(text: str, dimensions: int = 2) -> tuple[bool, ...]:
    """Return which image axes ``xy``, ``y`` and the like name, in the order x, y and, of a volume, z."""
    return tuple(axis in text for axis in "xyz"[:dimensions])


def read_position(row: Mapping[str, str]) -> tuple[float, ...]:
    """Return (column, row), of a volume (column, row, slice), from one row of ``landmarks.csv``.

    Raises:
        KeyError: a column is missing.
        ValueError: a coordinate is no number.
    """
    position = float(row["x_px"]), float(row["y_px"])
    return (*position, float(row["z_px"])) if row.get("z_px") else position


def marked_landmarks(path: Path) -> MarkedLandmarks:
    """Return the landmarks that a recording or a sequence says to start from; none where it says nothing.

    Raises:
        UserError: they are there but cannot be read.
    """
    if not is_recording(path):
        return MarkedLandmarks(first_frame_landmarks(path))
    with Recording(path) as recording:
        if recording.has("initial_landmarks"):
            for _, message, _ in recording.messages(["initial_landmarks"]):
                return interface.read_initial_landmarks(message)
    return MarkedLandmarks()


def first_frame_landmarks(folder: Path) -> tuple[Landmark, ...]:
    """Return the landmarks that are marked on frame 0 of a sequence; none without ``landmarks.csv``.

    Raises:
        UserError: the file is not as described in the documentation of sequences.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return ()
    try:
        with path.open(newline="") as file:
            first = [row for row in csv.DictReader(file) if int(row["frame"]) == 0]
            positions = [read_position(row) for row in first]
            return tuple(
                Landmark(row["landmark"], position, read_axes(row["axes"], len(position)))
                for row, position in zip(first, positions, strict=True)
            )
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is not a landmark file: {error!r}") from error

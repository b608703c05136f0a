"""The landmarks that come with frames: ``landmarks.csv`` or ``initial_landmarks`` in a recording."""

import csv
from pathlib import Path

from lmtrack_ros import interface
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import Landmark, MarkedLandmarks
from lmtrack_ros.recording import Recording, is_recording

FILE_NAME = "landmarks.csv"


def read_axes(text: str) -> tuple[bool, ...]:
    """Return which image axes ``xy``, ``y`` and the like name, in the order x, y."""
    return tuple(axis in text for axis in "xy")


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
            return tuple(
                Landmark(row["landmark"], (float(row["x_px"]), float(row["y_px"])), read_axes(row["axes"]))
                for row in csv.DictReader(file)
                if int(row["frame"]) == 0
            )
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is not a landmark file: {error!r}") from error

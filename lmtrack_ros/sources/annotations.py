"""Annotated landmark positions of a sequence: ``landmarks.csv``, or the files of the CLUST challenge."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import Landmark
from lmtrack_ros.sources import clust
from lmtrack_ros.sources.landmarks import FILE_NAME, read_axes, read_position


@dataclass(frozen=True)
class Mark:
    """Where a landmark is in one frame.

    Attributes:
        uv_px: (column, row), of a volume (column, row, slice).
        certain: whether the position is sure enough to score against.
    """

    uv_px: tuple[float, ...]
    certain: bool


@dataclass(frozen=True)
class Annotation:
    """One landmark through a sequence.

    Attributes:
        landmark: as marked on the first annotated frame.
        marks: by frame number, from 0.
    """

    landmark: Landmark
    marks: Mapping[int, Mark]

    @property
    def first_frame(self) -> int:
        """Number of the frame that the landmark is first marked on."""
        return min(self.marks)


def read_annotations(folder: Path) -> tuple[Annotation, ...]:
    """Return the annotations of a sequence folder, in the order in which the landmarks appear.

    Raises:
        UserError: there is no such file, or it is not as described.
    """
    path = folder / FILE_NAME
    if clust.is_sequence(folder) and not path.is_file():
        return tuple(
            Annotation(
                Landmark(name, places[min(places)]),
                {number: Mark(place, certain=True) for number, place in places.items()},
            )
            for name, places in clust.read_landmarks(folder)
        )
    marks: dict[str, dict[int, Mark]] = {}
    axes: dict[str, tuple[bool, ...]] = {}
    try:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                name = row["landmark"]
                position = read_position(row)
                axes.setdefault(name, read_axes(row["axes"], len(position)))
                if len(position) != len(axes[name]):
                    raise ValueError(f"landmark '{name}' has a slice in some frames only")
                marks.setdefault(name, {})[int(row["frame"])] = Mark(position, row["certain"] == "1")
    except FileNotFoundError:
        raise UserError(f"no {FILE_NAME} in '{folder}': give landmarks to follow, id:column,row") from None
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(f"{path} is not a landmark file: {error!r}") from error
    if not marks:
        raise UserError(f"{path} holds no landmark")
    return tuple(
        Annotation(Landmark(name, by_frame[min(by_frame)].uv_px, axes[name]), by_frame)
        for name, by_frame in marks.items()
    )


def parse_landmark(text: str) -> Annotation:
    """Return a landmark to follow from frame 0, given as ``id:column,row`` or ``id:column,row:axes``.

    Raises:
        UserError: the text has another form.
    """
    try:
        name, position, *rest = text.split(":")
        column, row = (float(v) for v in position.split(","))
        (axes,) = rest or ["xy"]
        if not name or axes not in ("x", "y", "xy"):
            raise ValueError
    except ValueError:
        raise UserError(f"a landmark is id:column,row or id:column,row:y, not '{text}'") from None
    return Annotation(Landmark(name, (column, row), read_axes(axes)), {0: Mark((column, row), certain=True)})

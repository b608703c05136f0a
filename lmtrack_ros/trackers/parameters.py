"""The parameters of the ``tracker`` section of a configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.parameters import build, parameter
from lmtrack_ros.core.records import Landmark, MarkedLandmarks
from lmtrack_ros.registration.parameters import PlanParameters
from lmtrack_ros.trackers import tracker_names

SECOND_TRACKER = "correlation"
"""Gives the second opinion: it has learnt nothing that a model could have learnt wrong too."""


@dataclass(frozen=True)
class TrackerParameters:
    """Which model follows what."""

    tracker: str = parameter("correlation", "name of the model; its own parameters stand under that name")
    landmarks: tuple[str, ...] = parameter(
        (), "names of the landmarks to follow from the first frame on; empty: as initial_landmarks says"
    )
    pixels: tuple[float, ...] = parameter((), "column and row of each on the first frame, px")
    moving_imager: bool = parameter(
        False, "hand-held: every frame needs the geometry that carries its stamp, others are dropped"
    )
    frozen_frames: int = parameter(
        2,
        "the same pixels with a new stamp, this often in a row, are a frozen image; "
        "0: never, for a simulation without noise",
        minimum=0,
        maximum=1000,
    )
    second_opinion: bool = parameter(
        False,
        f"let the {SECOND_TRACKER} tracker, as its own group sets it, follow the same landmarks "
        "beside the model",
    )
    registration: PlanParameters = field(default_factory=PlanParameters)

    def __post_init__(self) -> None:
        if len(self.pixels) != 2 * len(self.landmarks):
            raise ValueError("pixels needs column and row for each name in landmarks")
        if self.second_opinion and self.tracker == SECOND_TRACKER:
            raise ValueError(
                f"second_opinion: the {SECOND_TRACKER} tracker would agree with itself, "
                "select another as tracker or leave it out"
            )
        if self.second_opinion and self.registration.names:
            raise ValueError("second_opinion: there is none of a registration, leave one out")

    @property
    def used_trackers(self) -> tuple[str, ...]:
        """Names of the trackers that run."""
        return (self.tracker, SECOND_TRACKER) if self.second_opinion else (self.tracker,)

    @property
    def marked(self) -> MarkedLandmarks | None:
        """The landmarks on the first frame, or None where the configuration marks none."""
        if not self.landmarks:
            return None
        pixels = zip(self.pixels[::2], self.pixels[1::2], strict=True)
        return MarkedLandmarks(
            tuple(Landmark(name, pixel) for name, pixel in zip(self.landmarks, pixels, strict=True))
        )


def read_section(section: Mapping[str, Any]) -> tuple[TrackerParameters, Mapping[str, Any]]:
    """Return what a ``tracker`` section selects, and the plain parameters of the tracker selected.

    Raises:
        UserError: a key is neither a parameter nor the name of a tracker, or a value is wrong, such as one
            that stands where a tracker's own parameters should.
    """
    groups = read_groups(section)
    own = {key: value for key, value in section.items() if key not in groups}
    selected = build(TrackerParameters, own, "tracker")
    return selected, groups.get(selected.tracker, {})


def read_groups(section: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the plain parameters of every tracker by its name, as a ``tracker`` section gives them.

    Raises:
        UserError: something else stands where a tracker's own parameters should.
    """
    # in YAML, a group of which nothing is set is None
    groups = {name: {} if section.get(name) is None else section[name] for name in tracker_names()}
    for name, group in groups.items():
        if not isinstance(group, Mapping):
            raise UserError(f"tracker: '{name}' must be a group of parameters, got {group!r}")
    return groups

"""The parameters of registration: the plan's landmarks, and when radiographs of them are trusted."""

from dataclasses import dataclass

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.registration.sights import PlannedLandmark, kind_of

TARGET = "target"
"""Name of the point of a patient whose place the registration tells."""

_USUAL_MM = {"tracheal_bifurcation": (0.5, 3.0, 1.5), "sternal_angle": (0.5, 1.0, 3.0)}
"""Standard deviations along x, y and z from a plan of the end of an exhale, of what breath moves."""
_STILL_MM = (0.5, 0.5, 0.5)
"""Of bones that it does not move: how well a plan shows them."""


def _usual_sigma_mm(kind: str) -> Array:
    """Return the (3,) standard deviations from plan, along x, y and z, of a kind of landmark."""
    return np.array(_USUAL_MM.get(kind, _STILL_MM))


@dataclass(frozen=True)
class RegistrationParameters:
    """How landmarks in radiographs become a shift."""

    turn_deg: float = parameter(
        2.0,
        "standard deviation of how far patients lie turned about each axis, degrees",
        minimum=0.0,
        maximum=10.0,
    )
    most_misfit: float = parameter(
        3.5, "of a sight that belongs to the patient, standard deviations", minimum=1.0, maximum=10.0
    )
    min_landmarks: int = parameter(3, "that must be seen where the shift puts them", minimum=3)
    most_wrong_share: float = parameter(
        0.16, "of the sights, that may be left out as wrong", minimum=0.0, maximum=0.5
    )


@dataclass(frozen=True)
class PlanParameters(RegistrationParameters):
    """What is planned, and how a pair of radiographs is compared with it."""

    names: tuple[str, ...] = parameter(
        (),
        "of the plan's landmarks; those that repeat share a name but for its end: spinous_process_T4. "
        "Empty: each image is tracked by itself",
    )
    positions_mm: tuple[float, ...] = parameter((), "planned x, y, z of each in isocenter, mm")
    sigma_mm: tuple[float, ...] = parameter(
        (),
        "standard deviations of x, y, z of each from plan, by marking and by breath; of more than 3 mm along "
        "the body, one vertebra cannot be told from the next. Empty: what is usual of its kind, mm",
    )
    target_mm: tuple[float, ...] = parameter(
        (0.0, 0.0, 0.0), "planned x, y, z of the target that moves rigidly with the landmarks, mm"
    )
    max_pair_ms: float = parameter(
        200.0,
        "between the exposures of a pair of images in two views, at most, ms",
        minimum=1.0,
        maximum=5000.0,
    )

    def __post_init__(self) -> None:
        count = len(self.names)
        if len(self.positions_mm) != 3 * count:
            raise ValueError("positions_mm needs x, y and z for each name in names")
        if len(self.sigma_mm) not in (0, 3 * count) or not all(sigma > 0 for sigma in self.sigma_mm):
            raise ValueError("sigma_mm needs positive values for x, y and z of each name in names, or none")
        if len(self.target_mm) != 3:
            raise ValueError("target_mm needs x, y and z")

    @property
    def plan(self) -> tuple[PlannedLandmark, ...]:
        """The landmarks as planned."""
        kinds = [kind_of(name) for name in self.names]
        positions: Array = np.reshape(self.positions_mm, (-1, 3))
        sigmas = np.reshape(self.sigma_mm, (-1, 3)) if self.sigma_mm else map(_usual_sigma_mm, kinds)
        return tuple(
            PlannedLandmark(name, kind, position, np.diag(np.square(sigma)))
            for name, kind, position, sigma in zip(self.names, kinds, positions, sigmas, strict=True)
        )

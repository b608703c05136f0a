"""How a fetus lies and moves its head."""

import numpy as np
from scipy.spatial.transform import Rotation

from lmtrack_ros.core import frames
from lmtrack_ros.core.frames import Array

# the standard lie: the midline level and parallel to the array, the beam across the head.
# columns: where left, forehead and vertex point in isocenter
_STANDARD = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=float)
_NOD_EVERY_S = 9.0
_NOD_S = (1.2, 3.0)


class FetalPose:
    """Where the head is: a lie, slow drift, and a nod or turn now and then.

    The lie is within about 30° of the standard one of screening or the same turned by half a turn about
    an axis of the volume, as fetuses lie. The head turns about the neck.

    Args:
        rng: of the fetus.
        centre_mm: (3,) usual position of the head's origin in isocenter.
        neck_mm: (3,) what it turns about, in the head frame.
        seed: of the nods.

    Attributes:
        half_turn: (3, 3) rotation in isocenter from the standard lie to the one it is nearest to.
    """

    def __init__(self, rng: np.random.Generator, centre_mm: Array, neck_mm: Array, seed: int) -> None:
        flip = np.eye(3)[int(rng.integers(3))] * np.pi * float(rng.random() < 0.75)
        self.half_turn: Array = np.round(Rotation.from_rotvec(flip).as_matrix())
        turned_rad = np.clip(rng.normal(0.0, np.deg2rad(11.0), 3), -np.deg2rad(30), np.deg2rad(30))
        self._lie = (Rotation.from_rotvec(turned_rad) * Rotation.from_rotvec(flip)).as_matrix() @ _STANDARD
        self._centre_mm = centre_mm
        self._neck_mm = neck_mm
        self._seed = seed
        self._period_s = rng.uniform(7.0, 40.0, (6, 3))
        self._phase_rad = rng.uniform(0.0, 2 * np.pi, (6, 3))
        self._drift_mm = rng.uniform(0.2, 1.2)
        self._drift_rad = np.deg2rad(rng.uniform(0.3, 1.5))

    def isocenter_from_head(self, time_s: float) -> Array:
        """Return the (4, 4) transform of one moment."""
        waves = np.sin(2 * np.pi * time_s / self._period_s + self._phase_rad).sum(axis=1) / np.sqrt(3)
        turned_rad = self._drift_rad * waves[:3] + self._nod_rad(time_s)
        # from the head's own axes, about the neck
        turn = Rotation.from_rotvec(turned_rad).as_matrix()
        moved = self._drift_mm * waves[3:] + self._centre_mm
        return frames.rigid(self._lie @ turn, moved + self._lie @ (self._neck_mm - turn @ self._neck_mm))

    def _nod_rad(self, time_s: float) -> Array:
        """Return the (3,) rotation vector of the nod of one moment in the head frame."""
        number = int(time_s // _NOD_EVERY_S)
        rng = np.random.default_rng((self._seed, 5, number))
        lasts_s = rng.uniform(*_NOD_S)
        starts_s = number * _NOD_EVERY_S + rng.uniform(0.0, _NOD_EVERY_S - lasts_s)
        # mostly a nod, sometimes a turn of the face
        axis = np.array([1.0, 0.0, 0.0]) if rng.random() < 0.7 else np.array([0.0, 0.0, 1.0])
        angle_rad = np.deg2rad(rng.uniform(2.0, 6.0)) * rng.choice([-1.0, 1.0])
        u = np.clip((time_s - starts_s) / lasts_s, 0.0, 1.0)
        nod: Array = axis * angle_rad * np.sin(np.pi * u) ** 2
        return nod

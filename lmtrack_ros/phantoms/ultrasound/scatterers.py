"""Points that scatter sound, and how the body carries them through the plane of a probe."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.frames import Array
from lmtrack_ros.phantoms.deformation import BodyState, Weights

Floats: TypeAlias = NDArray[np.float32]

SLAB_MM = 12.0
"""The tissue repeats along x with this period, so that it never runs out across the plane."""


class Echoes(NamedTuple):
    """What scatters in or near the plane at one moment.

    Attributes:
        y_mm: (N,) position in isocenter.
        z_mm: (N,) likewise.
        amplitude: (N,) reflectivity times the plane's sensitivity at its elevation.
    """

    y_mm: Floats
    z_mm: Floats
    amplitude: Floats


class Line(NamedTuple):
    """An interface that cuts the plane along a curve and mirrors where the beam meets it head-on.

    Attributes:
        points_mm: (N, 2) y and z, densely along the curve.
        amplitude: (N,) reflectivity of each point.
        x_mm: where along x its middle is.
        half_extent_mm: how far it reaches from there; infinite for one that goes on.
    """

    points_mm: Array
    amplitude: Array
    x_mm: float = 0.0
    half_extent_mm: float = np.inf


@dataclass(frozen=True, eq=False)
class Scatterers:
    """Scatterers that the body carries, periodic along x.

    Attributes:
        points_mm: (3, N) position in isocenter at mean breath, sorted by x, which covers two periods.
        amplitude: (N,) reflectivity.
        diaphragm: (N,) how far each takes part in the diaphragm's displacement.
        heart_mm: (3, N) displacement when the heart is contracted.
        reach_mm: elevation up to which each is seen, with 1 - (elevation / reach)²; (N,) where they differ.
    """

    points_mm: Floats
    amplitude: Floats
    diaphragm: Floats
    heart_mm: Floats
    reach_mm: Floats | float

    @classmethod
    def of(
        cls,
        points_mm: Array,
        amplitude: Array,
        weights: Callable[[Array], Weights],
        reach_mm: Array | float,
    ) -> "Scatterers":
        """Gather scatterers.

        Args:
            points_mm: (N, 3) in isocenter at mean breath.
            amplitude: (N,) reflectivity.
            weights: how far (N, 3) points take part in the motion.
            reach_mm: elevation up to which they are seen; (N,) where they differ.
        """
        taken = weights(points_mm)
        wrapped = np.column_stack([points_mm[:, 0] % SLAB_MM, points_mm[:, 1:]])
        order = np.argsort(wrapped[:, 0], kind="stable")
        twice = np.concatenate([order, order])
        points = wrapped[twice].T.astype(np.float32)
        points[0, len(order) :] += SLAB_MM
        return cls(
            np.ascontiguousarray(points),
            amplitude[twice].astype(np.float32),
            taken.diaphragm[twice].astype(np.float32),
            np.ascontiguousarray(taken.heart_mm[twice].T.astype(np.float32)),
            reach_mm[twice].astype(np.float32) if isinstance(reach_mm, np.ndarray) else reach_mm,
        )

    @classmethod
    def along(
        cls, lines: Sequence[Line], weights: Callable[[Array], Weights], reach_mm: float
    ) -> "Scatterers":
        """Gather the scatterers of interfaces, in a plane that sees points up to some elevation."""
        points = np.concatenate(
            [np.column_stack([np.full(len(line.points_mm), line.x_mm), line.points_mm]) for line in lines]
        )
        amplitude = np.concatenate([line.amplitude for line in lines])
        extent_mm = np.concatenate([np.full(len(line.points_mm), line.half_extent_mm) for line in lines])
        return cls.of(points, amplitude, weights, np.hypot(extent_mm, reach_mm))

    def echoes(self, state: BodyState, couch_mm: Array) -> Echoes:
        """Return what scatters in the plane x = 0.

        Args:
            state: of the body.
            couch_mm: (3,) displacement of the whole body in isocenter.
        """
        if not len(self.amplitude):
            return Echoes(self.amplitude, self.amplitude, self.amplitude)
        near = self._near(state, couch_mm)
        weight, heart = self.diaphragm[near], self.heart_mm[:, near]
        x, y, z = (
            p + weight * np.float32(d) + h * np.float32(state.contracted) + np.float32(c)
            for p, d, h, c in zip(self.points_mm[:, near], state.diaphragm_mm, heart, couch_mm, strict=True)
        )
        x -= SLAB_MM * np.rint(x / SLAB_MM)
        x /= self.reach_mm[near] if isinstance(self.reach_mm, np.ndarray) else np.float32(self.reach_mm)
        return Echoes(y, z, self.amplitude[near] * np.maximum(1 - x * x, np.float32(0)))

    def _near(self, state: BodyState, couch_mm: Array) -> slice:
        """Return which scatterers can be seen."""
        if isinstance(self.reach_mm, np.ndarray):
            return slice(len(self.amplitude) // 2)
        moved = float(state.diaphragm_mm[0]) * np.array([self.diaphragm.min(), self.diaphragm.max()])
        beat_mm = float(np.abs(self.heart_mm[0]).max())
        reach_mm = self.reach_mm + beat_mm + float(np.ptp(moved)) / 2
        if 2 * reach_mm >= SLAB_MM:
            return slice(len(self.amplitude) // 2)
        first_mm = (-float(moved.mean()) - float(couch_mm[0]) - reach_mm) % SLAB_MM
        start, stop = np.searchsorted(self.points_mm[0], [first_mm, first_mm + 2 * reach_mm])
        return slice(int(start), int(stop))


def seen_share(reach_mm: float) -> float:
    """Return the mean squared sensitivity to scatterers that fill the slab."""
    return 16.0 / 15.0 * reach_mm / SLAB_MM

"""What an anatomy under an ultrasound probe is made of: reflectivity, interfaces and a wall that slides."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.frames import Array
from lmtrack_ros.phantoms.deformation import Deformation
from lmtrack_ros.phantoms.ultrasound.scatterers import SLAB_MM, Line

_STEP_MM = 0.15  # along an interface: well under half a wavelength
_ROUGHNESS_MM = 0.03

Box: TypeAlias = tuple[tuple[float, float], tuple[float, float]]
"""((least y, greatest y), (least z, greatest z)), mm."""

Reflectivity: TypeAlias = Callable[[Array], Array]
"""Takes (N, 3) points at mean breath, in isocenter; returns (N,) amplitudes, 1 in liver."""


@dataclass(frozen=True)
class Ellipse:
    """A structure cut by the plane.

    Attributes:
        center_mm: (y, z) in isocenter at mean breath.
        radii_mm: half axes, along y and z before it is turned.
        turn_rad: from y to z.
    """

    center_mm: tuple[float, float]
    radii_mm: tuple[float, float]
    turn_rad: float = 0.0

    def radius(self, y_mm: Array, z_mm: Array) -> Array:
        """Return the (...,) distance from the centre, 1 on the outline."""
        c, s = np.cos(self.turn_rad), np.sin(self.turn_rad)
        y, z = y_mm - self.center_mm[0], z_mm - self.center_mm[1]
        across: Array = np.hypot((c * y + s * z) / self.radii_mm[0], (c * z - s * y) / self.radii_mm[1])
        return across

    def inside(self, y_mm: Array, z_mm: Array, edge_mm: float = 0.6) -> Array:
        """Return (...,) 1 inside, 0 outside, and between over the width of an edge."""
        ramp = (1.0 - self.radius(y_mm, z_mm)) * min(self.radii_mm) / edge_mm + 0.5
        return np.asarray(np.clip(ramp, 0.0, 1.0))

    def outline(self, first_rad: float = 0.0, last_rad: float = 2 * np.pi, scale: float = 1.0) -> Array:
        """Return (N, 2) points y and z along the outline, from one angle to another."""
        angle = np.linspace(first_rad, last_rad, 400)
        c, s = np.cos(self.turn_rad), np.sin(self.turn_rad)
        u, v = scale * self.radii_mm[0] * np.cos(angle), scale * self.radii_mm[1] * np.sin(angle)
        return np.column_stack([self.center_mm[0] + c * u - s * v, self.center_mm[1] + s * u + c * v])


class Face(NamedTuple):
    """Where the probe touches the skin.

    Attributes:
        z_mm: of the middle of its face, in isocenter.
        radius_mm: of a curved face; 0 of a straight one.
        depth_mm: of the field.
    """

    z_mm: float
    radius_mm: float
    depth_mm: float

    def layer_z_mm(self, y_mm: NDArray[Any], below_mm: float) -> NDArray[Any]:
        """Return the height of a layer of the wall, which is bent round the probe above and flat below."""
        if not self.radius_mm:
            return self.z_mm - below_mm + 0.0 * y_mm
        side_mm = np.minimum(np.abs(y_mm), 0.8 * self.radius_mm)
        bend_mm = self.radius_mm - np.sqrt(self.radius_mm**2 - side_mm**2)
        height: NDArray[Any] = self.z_mm - below_mm + bend_mm * np.exp(-below_mm / 25.0)
        return height

    def facing_rad(self, point_mm: Array) -> float:
        """Return the slope, from y to z, of an interface at a (2,) point that the beam meets head-on."""
        if not self.radius_mm:
            return 0.0
        return float(np.arctan2(point_mm[0], self.z_mm + self.radius_mm - point_mm[1]))


class Shadow(NamedTuple):
    """Bone or air, beyond which nothing is seen.

    Attributes:
        y_mm: from its edge towards the feet to its edge towards the head; infinite where it has none.
        z_mm: where it begins.
        breathes: whether it moves with the diaphragm.
    """

    y_mm: tuple[float, float]
    z_mm: float
    breathes: bool


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What lies under the probe, in isocenter at mean breath.

    Attributes:
        deformation: how the organs move.
        landmarks_mm: (3,) positions by name.
        structures: with an extent, by name.
        organs: reflectivity of what breathes.
        organ_lines: interfaces of what breathes.
        wall: reflectivity of what does not.
        wall_lines: interfaces of what does not.
        wall_mm: thickness of the wall.
        shadows: that bone and air cast.
    """

    deformation: Deformation
    landmarks_mm: Mapping[str, Array]
    structures: Mapping[str, Ellipse]
    organs: Reflectivity
    organ_lines: Sequence[Line]
    wall: Reflectivity
    wall_lines: Sequence[Line]
    wall_mm: float
    shadows: Sequence[Shadow] = ()


@dataclass(frozen=True, eq=False)
class Texture:
    """A smooth Gaussian random field with variance 1 that repeats along x with the slab."""

    waves: Array
    phases: Array = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def drawn(cls, rng: np.random.Generator, scale_mm: tuple[float, float], count: int = 40) -> "Texture":
        """Return a field with the given correlation lengths along y and z."""
        waves = rng.standard_normal((count, 3)) / np.array([1.0, *scale_mm])
        waves[:, 0] = rng.integers(-2, 3, count) * 2 * np.pi / SLAB_MM
        return cls(waves, rng.uniform(0, 2 * np.pi, count))

    def at(self, points_mm: Array) -> Array:
        """Return the (N,) field at (N, 3) points."""
        points, total = points_mm.astype(np.float32), np.zeros(len(points_mm), np.float32)
        for wave, phase in zip(self.waves.astype(np.float32), self.phases.astype(np.float32), strict=True):
            total += np.cos(points @ wave + phase)
        return np.asarray(total * np.sqrt(2.0 / len(self.waves)), dtype=float)


def line(
    rng: np.random.Generator,
    curve_mm: Array,
    level: float,
    *,
    x_mm: float = 0.0,
    half_extent_mm: float = np.inf,
    fray: float = 0.5,
) -> Line:
    """Return an interface along a curve.

    Args:
        rng: of its roughness.
        curve_mm: (N, 2) y and z.
        level: reflectivity.
        x_mm: of its middle.
        half_extent_mm: how far it reaches along x; infinite for one that goes on.
        fray: how much the reflectivity varies along the curve.
    """
    way = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(curve_mm, axis=0).T))])
    at = np.arange(0.0, way[-1], _STEP_MM)
    points = np.column_stack([np.interp(at, way, curve_mm[:, 0]), np.interp(at, way, curve_mm[:, 1])])
    points += _ROUGHNESS_MM * rng.standard_normal(points.shape)
    variation = sum(
        np.cos(2 * np.pi * at / scale_mm + phase)
        for scale_mm, phase in zip((23.0, 11.0, 6.0), rng.uniform(0, 2 * np.pi, 3), strict=True)
    )
    return Line(points, level * np.exp(fray * variation), x_mm, half_extent_mm)


def plates(
    rng: np.random.Generator,
    face: Face,
    count: int,
    box_mm: Box,
    level: float,
    length_mm: tuple[float, float] = (2.0, 7.0),
    tilt_rad: float = 0.12,
) -> list[Line]:
    """Return short bright interfaces that come and go as the body moves across the plane.

    Args:
        rng: of where they are.
        face: of the probe, which most of those that are seen look at.
        count: how many.
        box_mm: ((least y, greatest y), (least z, greatest z)).
        level: mean reflectivity.
        length_mm: least and greatest length.
        tilt_rad: standard deviation of their slope against the beam's normal.
    """
    found = []
    for _ in range(count):
        middle = np.array([rng.uniform(*box_mm[0]), rng.uniform(*box_mm[1])])
        half = rng.uniform(*length_mm) / 2
        tilt = face.facing_rad(middle) + tilt_rad * rng.standard_normal()
        way = half * np.array([np.cos(tilt), np.sin(tilt)])
        curve = np.linspace(middle - way, middle + way, 12, dtype=float)
        x_mm, extent_mm = rng.uniform(0, SLAB_MM), rng.uniform(0.5, 2.5)
        strength = level * rng.lognormal(0.0, 0.5)
        found.append(line(rng, curve, strength, x_mm=x_mm, half_extent_mm=extent_mm, fray=0.2))
    return found


def abdominal_wall(
    rng: np.random.Generator, face: Face, thickness_mm: float, half_width_mm: float
) -> tuple[Reflectivity, list[Line]]:
    """Return reflectivity and interfaces of skin, fat, muscle and peritoneum, and of their reverberation."""
    y: Array = np.linspace(-half_width_mm, half_width_mm, 600, dtype=float)
    layers: Array = np.sort(rng.uniform(0.12, 0.92, 4)) * thickness_mm
    streaks = Texture.drawn(rng, (14.0, 1.2))
    fat = layers[1]

    def reflectivity(points_mm: Array) -> Array:
        below = face.z_mm - points_mm[:, 2] + (face.layer_z_mm(points_mm[:, 1], 0.0) - face.z_mm)
        level = np.where(below < fat, 0.8, 1.15) * np.exp(0.35 * streaks.at(points_mm))
        return np.asarray(level * np.where(below < 2.0, 1.8, 1.0))

    def wavy(below_mm: float, level: float) -> Line:
        bend = 0.5 * np.sin(y / rng.uniform(9, 20) + rng.uniform(0, 6))
        return line(rng, np.column_stack([y, face.layer_z_mm(y, below_mm) + bend]), level, fray=1.0)

    lines = [wavy(float(d), rng.uniform(0.15, 0.5)) for d in layers]
    lines.append(wavy(thickness_mm, 0.6))
    # between skin and the outer layers sound goes to and fro
    lines += [wavy(2.0 * float(d), 0.1) for d in layers[2:]]
    return reflectivity, lines


def box(face: Face, first: float, last: float, half_width_mm: float) -> Box:
    """Return ((least y, greatest y), (least z, greatest z)) between two fractions of the field's depth."""
    return (
        (-half_width_mm, half_width_mm),
        (face.z_mm - last * face.depth_mm, face.z_mm - first * face.depth_mm),
    )

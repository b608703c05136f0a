"""What a fetal head echoes: tissues, thin walls and bone on a grid in the head frame."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmtrack_ros.core.frames import Array
from lmtrack_ros.phantoms.volume_ultrasound.head import BONE_SIGMA_MM, SCALP_MM, FetalHead

Grid = NDArray[np.float32]

# the grid reaches beyond the head so far, and below it for neck and shoulders
_MARGIN_MM = 7.0
_BELOW_MM = 38.0
# standard deviation: finer echoes would twinkle as they move past the beams
_BAND_LIMIT_MM = 0.55


@dataclass(frozen=True, eq=False)
class HeadGrid:
    """A head sampled on a grid; arrays are (X, Y, Z) in the head frame.

    Attributes:
        origin_mm: (3,) position of the first grid point.
        spacing_mm: of the grid along all axes.
        depth_mm: signed distance to the skin, negative inside; on the skull it is -SCALP_MM.
        echo: complex64 sum of the echoes of what is smaller than the wavelength.
        walls: amplitude of thin interfaces that lie along the midline.
        bone: density of bone, 1 in its middle.
        structures: what has an extent, by name, 1 inside and 0 outside.
    """

    origin_mm: Array
    spacing_mm: float
    depth_mm: Grid
    echo: NDArray[np.complex64]
    walls: Grid
    bone: Grid
    structures: Mapping[str, Grid]


def draw_tissue(head: FetalHead, spacing_mm: float, rng: np.random.Generator) -> HeadGrid:
    """Return the grid of a head with its speckle.

    Args:
        head: the shape.
        spacing_mm: of the grid.
        rng: of speckle and texture.
    """
    a, b = head.half_width_mm, head.half_length_mm
    low = np.array([-a, -b, -head.base_mm - _BELOW_MM]) - _MARGIN_MM
    high = np.array([a, b, head.vertex_mm]) + _MARGIN_MM
    axes = [np.arange(lo, hi, spacing_mm, dtype=np.float32) for lo, hi in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    shape = points.shape[1:]
    radius = head.skull_radius(points)
    slope = np.sqrt(sum(np.square(g) for g in np.gradient(radius, spacing_mm)))
    skull_mm = (radius - 1) / np.maximum(slope, 0.2 / a)

    texture = 1 + 0.22 * noise(rng, shape, 3.0 / spacing_mm)
    amplitude, walls, structures = _brain(head, points, radius)
    amplitude *= texture
    inside = step(-skull_mm - BONE_SIGMA_MM, 0.5)
    depth_mm, body = _body(head, points, skull_mm, texture)
    amplitude = inside * amplitude + (1 - inside) * body
    walls *= inside * np.clip(0.8 + 0.45 * noise(rng, shape, 2.0 / spacing_mm), 0.1, None)

    bone = np.exp(-0.5 * (skull_mm / BONE_SIGMA_MM) ** 2) * _ossified(head, points)
    bone = np.maximum(bone, _skull_base(head, points) * inside)
    bone *= 1 + 0.35 * noise(rng, shape, 1.5 / spacing_mm)
    amplitude *= depth_mm < 0
    echo = speckle(rng, shape, _BAND_LIMIT_MM / spacing_mm)
    echo *= amplitude
    return HeadGrid(
        low,
        spacing_mm,
        depth_mm.astype(np.float32),
        echo,
        walls.astype(np.float32),
        np.clip(bone, 0, None).astype(np.float32),
        {"brain": inside, **structures},
    )


def _brain(head: FetalHead, points: Grid, radius: Grid) -> tuple[Grid, Grid, Mapping[str, Grid]]:
    """Return amplitude and midline walls of what lies inside the skull, and what has an extent."""
    a, b = head.half_width_mm, head.half_length_mm
    x, y, z = points
    side = np.abs(x)
    straight = np.stack([x, y - head.shear * x, z])
    amplitude = np.ones_like(x)
    # the subarachnoid space is wide at this age
    amplitude *= 1 - 0.45 * step(radius - 0.91, 0.015)
    walls = 0.5 * _line(radius - 0.91, 0.012)
    # falx and interhemispheric fissure
    cavum_y, cavum_width, cavum_length = head.cavum_mm
    falx = _line(x + 0.25 * np.sin(y / 5), 0.45) * step(z + 0.27 * b, 2.0) * step(0.97 - radius, 0.02)
    # insula in the Sylvian fissure
    along = (y - 0.08 * b) / (0.34 * b)
    insula = _line(side - 0.60 * a - 0.16 * a * along**2 - 0.04 * a * np.sin(4 * along), 0.6)
    walls += 0.35 * insula * step(1 - np.abs(along), 0.3) * step(0.3 * a - np.abs(z), 3.0)

    # thalami and, below, the cerebral peduncles
    thalami = ellipsoid(
        np.stack([side, y, z]), (0.17 * a, -0.06 * b, -0.16 * a), (0.16 * a, 0.24 * b, 0.26 * a)
    )
    amplitude *= 1 - 0.5 * step(1 - thalami, 0.12)
    falx *= 1 - 0.88 * step(1.1 - thalami, 0.15)

    ventricles = np.zeros_like(x)
    choroid = np.zeros_like(x)
    wall = np.zeros_like(x)
    for sign, (x_mm, y_mm) in zip((1, -1), head.atria_mm, strict=True):
        r = head.atrium_width_mm / 2
        shear = head.shear * sign * a
        chain = (
            ((sign * 0.16 * a, 0.42 * b + 0.2 * shear, 2.0), 1.3),
            ((sign * 0.24 * a, 0.05 * b + 0.2 * shear, 3.5), 1.7),
            ((x_mm, y_mm, 0.0), r),
            ((x_mm + sign * 0.02 * a, y_mm - 0.20 * b, -0.5), 0.55 * r),
        )
        gap = _tube(points, chain)
        ventricles = np.maximum(ventricles, step(-gap, 0.35))
        wall += _line(gap, 0.4) * step(y + 0.8 * b, 1.0)
        plexus = (
            ((sign * 0.25 * a, 0.08 * b + 0.2 * shear, 3.0), 1.0),
            ((0.6 * x_mm + sign * 0.1 * a, 0.5 * y_mm, 1.5), 1.4),
            ((x_mm, y_mm, 0.0), 0.45 * r),
        )
        choroid = np.maximum(choroid, step(-_tube(points, plexus), 0.5))
    amplitude *= 1 - 0.93 * ventricles
    amplitude += 3.8 * choroid
    walls += 1.0 * wall

    across = (x / (cavum_width / 2)) ** 2 + (z / 4.5) ** 2
    box = (across**2 + ((y - cavum_y) / (cavum_length / 2)) ** 4) ** 0.25
    cavum = step(1 - box, 0.08)
    in_cavum = step(1.15 - box, 0.1)
    amplitude *= 1 - 0.93 * cavum
    falx *= 1 - in_cavum
    walls += 2.0 * _line(side - cavum_width / 2, 0.4) * in_cavum
    walls += 1.8 * falx

    cerebellum, pia = _posterior_fossa(head, straight, radius, amplitude)
    walls *= 1 - 0.8 * cerebellum
    walls += 0.9 * pia
    structures = {"cavum_septi_pellucidi": cavum, "lateral_ventricles": ventricles, "cerebellum": cerebellum}
    return amplitude, walls.astype(np.float32), {n: s.astype(np.float32) for n, s in structures.items()}


def _posterior_fossa(head: FetalHead, straight: Grid, radius: Grid, amplitude: Grid) -> tuple[Grid, Grid]:
    """Draw cerebellum and cisterna magna into the amplitude; return the cerebellum and its surface."""
    x, forward, up = head.tc_coordinates(straight)
    back = -forward - head.cerebellum_distance_mm
    left_mm, right_mm = head.cerebellum_mm
    half_mm = np.where(x > 0, np.float32(left_mm), np.float32(right_mm))
    tcd_mm = left_mm + right_mm
    vermis_mm = head.vermis_mm
    scaled = np.stack([np.abs(x) / half_mm, back / tcd_mm, up / tcd_mm])
    lobes = ellipsoid(scaled, (0.56, 0.02, 0.0), (0.44, 0.27, 0.26))
    tilted = np.stack([x, back, up])
    vermis = ellipsoid(tilted, (0, 0, 0), (0.16 * tcd_mm, vermis_mm / 2, 0.24 * tcd_mm))
    cistern = ellipsoid(tilted, (0, 0.55 * vermis_mm, -1.0), (0.62 * tcd_mm, 0.75 * vermis_mm, 0.42 * tcd_mm))
    fluid = step(1 - cistern, 0.1) * step(back + 0.1 * vermis_mm, 1.0)
    septa = _line(np.asarray(np.abs(x) - 0.13 * tcd_mm, np.float32), 0.5) * step(back, 1.0)
    amplitude *= 1 - fluid * (0.9 - 0.35 * septa)
    fourth = ellipsoid(tilted, (0, -0.62 * vermis_mm, 0), (2.2, 1.4, 2.5))
    stem = ellipsoid(tilted, (0, -1.15 * vermis_mm, 0), (0.3 * tcd_mm, 0.22 * tcd_mm, 8.0))
    amplitude *= 1 - 0.45 * step(1 - stem, 0.1)
    body = np.maximum(step(1 - lobes, 0.06), step(1 - vermis, 0.08))
    body *= step(0.97 - radius, 0.01)
    folia = 1 + 0.6 * np.cos(2 * np.pi * lobes * 0.25 * tcd_mm / 1.7)
    grey = 2.1 * folia + 1.5 * step(1 - vermis, 0.1)
    # fluid round the lobes, the tentorium before them
    amplitude *= 1 - 0.75 * step(1.28 - lobes, 0.1)
    amplitude += 2.0 * _line(lobes - 1.34, 0.05) * step(-back, 2.0)
    amplitude *= 1 - body
    amplitude += body * grey
    amplitude *= 1 - 0.85 * step(1 - fourth, 0.15)
    return body, _line(lobes - 0.98, 0.05) * step(vermis - 1, 0.1)


def _body(head: FetalHead, points: Grid, skull_mm: Grid, texture: Grid) -> tuple[Grid, Grid]:
    """Return the signed distance to the skin of head, face, neck and shoulders, and the amplitude inside."""
    a, b, base = head.half_width_mm, head.half_length_mm, head.base_mm
    face = ellipsoid(points, (0, 0.52 * b, -0.95 * base), (0.62 * a, 0.42 * b, 0.62 * base)) - 1
    neck = _tube(points, (((0, -0.45 * b, -0.8 * base), 0.4 * a), ((0, -0.3 * b, -1.5 * base), 0.42 * a)))
    trunk = ellipsoid(points, (0, -0.3 * b, -2.6 * base), (0.95 * a, 0.75 * a, base)) - 1
    depth_mm = np.minimum.reduce([skull_mm - SCALP_MM, 0.4 * b * face, neck, 0.8 * a * trunk])
    amplitude = 1.3 * texture
    for sign in (1, -1):
        orbit = ellipsoid(points, (sign * 0.36 * a, 0.76 * b, -0.72 * base), (0.21 * a, 0.21 * a, 0.21 * a))
        amplitude *= 1 - 0.9 * step(1 - orbit, 0.08)
        amplitude += 2.0 * _line(orbit - 1.08, 0.08)
    x, y, z = points
    spine = np.hypot(x, y + 0.55 * b) - 0.5
    vertebra = np.sin(2 * np.pi * z / 3.4) > -0.2
    amplitude += 3.0 * vertebra * step(1.6 - spine, 0.5) * step(-z - 0.95 * base, 1.0)
    amplitude += 1.2 * _line(depth_mm + 0.3, 0.5)
    return np.asarray(depth_mm, dtype=np.float32), amplitude


def _ossified(head: FetalHead, points: Grid) -> Grid:
    """Return how bony the skull is: sutures and fontanelles let the beam through, the base is open."""
    a, b = head.half_width_mm, head.half_length_mm
    x, y, z = points
    gap = _line(x, 1.0) * step(z - 0.1 * a, 1.0)
    coronal = _line(y - 0.30 * b + 0.25 * np.abs(z - head.vertex_mm), 0.9) * step(z, 1.0)
    lambdoid = _line(y + 0.72 * b - 0.15 * np.abs(x) * b / a, 1.0) * step(-y, 1.0)
    fontanelle = np.exp(-0.5 * (np.hypot(x, y - 0.30 * b) / 4.5) ** 2) * step(z, 1.0)
    gap = np.maximum.reduce([gap, coronal, 0.7 * lambdoid, fontanelle])
    return np.asarray((1 - 0.85 * gap) * (0.25 + 0.75 * step(z + 0.75 * head.base_mm, 2.0)))


def _skull_base(head: FetalHead, points: Grid) -> Grid:
    """Return the petrous ridges and the wings of the sphenoid, an X on the floor of the skull."""
    a, b, z = head.half_width_mm, head.half_length_mm, -0.62 * head.base_mm
    bone = np.zeros_like(points[0])
    for sign in (1, -1):
        petrous = (((sign * 0.7 * a, -0.30 * b, z), 0.9), ((sign * 0.14 * a, 0.02 * b, z), 0.7))
        wing = (((sign * 0.7 * a, 0.42 * b, z), 0.7), ((sign * 0.14 * a, 0.10 * b, z), 0.7))
        for ridge in (petrous, wing):
            bone = np.maximum(bone, 0.8 * step(-_tube(points, ridge), 0.5))
    return np.asarray(bone)


def speckle(rng: np.random.Generator, shape: tuple[int, ...], sigma: ArrayLike) -> NDArray[np.complex64]:
    """Return a complex echo field of power 1: fully developed speckle, band-limited as ``noise``."""
    parts = [noise(rng, shape, sigma) for _ in range(2)]
    return np.asarray((parts[0] + 1j * parts[1]) * np.float32(np.sqrt(0.5)), dtype=np.complex64)


def noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: ArrayLike) -> Grid:
    """Return real noise of power 1, smoothed by a Gaussian of sigma samples, of all axes or of each."""
    first, second, third = np.broadcast_to(sigma, 3).tolist()
    smooth = blur(rng.standard_normal(shape, dtype=np.float32), (first, second, third))
    return np.asarray(smooth / smooth.std(), dtype=np.float32)


def blur(grid: Grid, sigma: tuple[float, float, float]) -> Grid:
    """Return a 3-D array smoothed by a Gaussian of so many samples along each axis."""
    first, rows, columns = grid.shape
    # a sigma of 0 would make OpenCV choose one
    least = tuple(max(s, 1e-3) for s in sigma)
    along = cv2.GaussianBlur(grid.reshape(first, -1), (1, _taps(sigma[0])), least[0])
    last = cv2.GaussianBlur(along.reshape(-1, columns), (_taps(sigma[2]), 1), least[2])
    last = last.reshape(first, rows, columns)
    return np.stack([cv2.GaussianBlur(part, (1, _taps(sigma[1])), least[1]) for part in last])


def _taps(sigma: float) -> int:
    return 2 * int(np.ceil(3.5 * sigma)) + 1


def step(distance: Grid, width: float) -> Grid:
    """Return 0 well below a distance of 0, 1 well above it."""
    return np.asarray(np.clip(0.5 + 0.5 * distance / width, 0, 1), dtype=np.float32)


def _line(distance: Grid, sigma: float) -> Grid:
    return np.asarray(np.exp(-0.5 * np.square(distance / sigma)), dtype=np.float32)


def ellipsoid(points: Grid, centre: tuple[float, ...], half_axes: tuple[float, ...]) -> Grid:
    """Return how far out (3, ...) points are: 1 on the ellipsoid, 0 at its centre."""
    squares = sum(np.square((p - c) / h) for p, c, h in zip(points, centre, half_axes, strict=True))
    return np.asarray(np.sqrt(squares), dtype=np.float32)


def _tube(points: Grid, chain: tuple[tuple[tuple[float, ...], float], ...]) -> Grid:
    """Return the distance to the surface of a tube through points with radii, negative inside."""
    nearest = np.full(points.shape[1:], np.inf, dtype=np.float32)
    for (start, r0), (end, r1) in pairwise(chain):
        along = [e - s for s, e in zip(start, end, strict=True)]
        offset = [p - c for p, c in zip(points, start, strict=True)]
        length2 = sum(d * d for d in along)
        u = np.clip(sum(o * (d / length2) for o, d in zip(offset, along, strict=True)), 0, 1)
        squares = sum(np.square(o - u * d) for o, d in zip(offset, along, strict=True))
        nearest = np.minimum(nearest, np.sqrt(squares) - (r0 + u * (r1 - r0)))
    return nearest

"""Simulated chests: each seed is another patient of another size and shape, with a tumour in a lung."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from lmtrack_ros.core.frames import Array
from lmtrack_ros.phantoms.deformation import Deformation
from lmtrack_ros.phantoms.xray.projector import Body, Layer, Tumor
from lmtrack_ros.phantoms.xray.skeleton import Cage, skeleton
from lmtrack_ros.phantoms.xray.solids import Grid, Volume, add_ellipsoid, add_tube, curve, ellipsoid
from lmtrack_ros.phantoms.xray.trees import airways, grow_vessels

_EXTENT_MM = (240.0, 486.0, 410.0)  # depth, height, width of all the body
_ORGANS_EXTENT_MM = (180.0, 342.0, 276.0)  # and of what is inside the ribs
_ORGANS_CENTER_MM = (0.0, -5.0, 0.0)
_DOME_MM = (62.0, 22.0)  # where the diaphragm is highest: from the middle, to the front
_APEX_MM = (46.0, -22.0)  # where a lung is highest: likewise
_SIDES = (-1.0, 1.0)  # the patient's right, left
_TUMOR_MM = (20.0, 40.0)  # diameters


class Beam(NamedTuple):
    """Linear attenuation of tissues in one beam, 1/mm."""

    soft: float
    fat: float
    lung: float
    spongy_bone: float
    cortical_bone: float


KILOVOLT = Beam(soft=0.0193, fat=0.0172, lung=0.0048, spongy_bone=0.0262, cortical_bone=0.047)
"""About 70 keV (NIST XCOM)."""

PLANNING = Beam(soft=0.0226, fat=0.0196, lung=0.0057, spongy_bone=0.036, cortical_bone=0.081)
"""50 keV, at which computed radiographs show bone well (NIST XCOM)."""

MEGAVOLT = Beam(soft=0.0049, fat=0.0046, lung=0.00125, spongy_bone=0.0056, cortical_bone=0.0084)
"""6 MV, about 1.9 MeV: attenuation follows the density of electrons, bone hardly stands out."""


def thorax(
    rng: np.random.Generator,
    beam: Beam,
    chest_mm: tuple[float, float],
    step_mm: float,
    arms_raised: bool = False,
) -> Body:
    """Return one patient.

    Args:
        rng: draws the patient.
        beam: of the radiograph.
        chest_mm: within what the front of the chest rises with a usual breath.
        step_mm: voxel pitch.
        arms_raised: as on the treatment couch; else they hang, as before an X-ray wall stand.
    """
    size = rng.uniform((0.92, 0.95, 0.9), (1.06, 1.05, 1.12))
    whole = Grid.of_extent(_EXTENT_MM, step_mm).scaled(1 / size)
    grid = Grid.of_extent(_ORGANS_EXTENT_MM, step_mm, _ORGANS_CENTER_MM).scaled(1 / size)
    cage = Cage(
        half_width_mm=rng.uniform(122.0, 130.0),
        front_mm=rng.uniform(72.0, 82.0),
        back_mm=rng.uniform(-86.0, -80.0),
        apex_mm=rng.uniform(134.0, 146.0),
        widest_mm=-50.0,
        slope=rng.uniform(0.85, 1.15),
    )
    domes_mm = np.array([rng.uniform(-72.0, -54.0), 0.0])
    domes_mm[1] = domes_mm[0] - rng.uniform(6.0, 18.0)
    bones = skeleton(whole, cage, arms_raised, rng)
    heart_mm = np.array([22.0, domes_mm[1] + 42.0, 24.0]) + rng.normal(0.0, 3.0, 3)
    lungs, outside_lung_mm, mediastinum = _lungs(grid, cage, domes_mm, heart_mm, rng)

    organs = (beam.lung - beam.soft) * lungs
    organs *= _texture(grid, cage, rng)
    vessels = np.zeros_like(organs)
    hila = {side: np.array([side * 40.0, cage.apex_mm - 92.0 - 8.0 * (side < 0), -18.0]) for side in _SIDES}
    for side in _SIDES:
        grow_vessels(grid, vessels, outside_lung_mm, hila[side], rng)
    organs *= 1.0 - vessels

    def draw_tumor(rng: np.random.Generator, diameters_mm: tuple[float, float]) -> Tumor:
        return _draw_tumor(grid, outside_lung_mm, cage, domes_mm, size, rng, diameters_mm)

    tumor = draw_tumor(rng, _TUMOR_MM)
    gas = np.zeros_like(organs)
    carina = airways(grid, gas, cage, hila)
    _gas(grid, gas, domes_mm, rng)
    organs -= beam.soft * gas

    wall = _torso(whole, beam, cage, arms_raised, rng)
    wall += (beam.cortical_bone - beam.soft) * bones.solid
    wall -= (beam.cortical_bone - beam.spongy_bone) * bones.spongy
    deformation = Deformation(
        dome_y_mm=float(domes_mm[0] * size[1]),
        chest_mm=rng.uniform(*chest_mm),
        back_z_mm=float(cage.back_mm * size[2]),
        front_z_mm=float((cage.front_mm + 20.0) * size[2]),
        heart_mm=tuple((heart_mm * size).tolist()),
        heartbeat_mm=rng.uniform(1.0, 2.5),
    )
    whole, own = whole.scaled(size), grid.scaled(size)
    return Body(
        Layer(own, organs, True),
        Layer(whole, wall, False),
        deformation,
        in_organs={
            "tumor": tumor.center_mm,
            "tracheal_bifurcation": carina * size,
            "dome_right": np.array([-_DOME_MM[0], domes_mm[0], _DOME_MM[1]]) * size,
            "dome_left": np.array([_DOME_MM[0], domes_mm[1], _DOME_MM[1]]) * size,
            "apex_right": np.array([-_APEX_MM[0], cage.apex_mm, _APEX_MM[1]]) * size,
            "apex_left": np.array([_APEX_MM[0], cage.apex_mm, _APEX_MM[1]]) * size,
        },
        in_wall={name: point * size for name, point in bones.points_mm.items()},
        draw_tumor=draw_tumor,
        tumor=tumor,
        hiding={
            "bone": Layer(whole, bones.solid, False),
            "mediastinum": Layer(own, mediastinum, True),
        },
    )


def _torso(grid: Grid, beam: Beam, cage: Cage, arms_raised: bool, rng: np.random.Generator) -> Volume:
    """Return soft tissue under fat, with neck, shoulders, arms and breasts."""
    x, y, z = grid.axes_mm()
    heights = (
        -400.0,
        -190.0,
        -110.0,
        20.0,
        cage.apex_mm - 60,
        cage.apex_mm - 22,
        cage.apex_mm + 8,
        cage.apex_mm + 42,
        400.0,
    )
    top = cage.apex_mm
    fat = rng.uniform(4.0, 16.0)
    waist = cage.half_width_mm + rng.uniform(2.0, 14.0)
    shoulders = (146.0, 146.0) if arms_raised else (168.0, 172.0)
    widths = (waist, waist, cage.half_width_mm + 16, cage.half_width_mm + 26, *shoulders, 98.0, 58.0, 52.0)
    half_width = np.interp(y, heights, widths) + fat
    depths = (102.0, 102.0, 102.0, 105.0, 98.0, 78.0, 62.0, 54.0, 54.0)
    half_depth = np.interp(y, heights, depths) + fat
    middle = np.interp(y, heights, (-3.0, -3.0, -3.0, -6.0, -10.0, -18.0, -20.0, -12.0, -12.0))
    half_width, half_depth = (ndimage.gaussian_filter1d(a, 6.0, axis=1) for a in (half_width, half_depth))
    half_width, half_depth, middle = (a.astype(np.float32) for a in (half_width, half_depth, middle))
    outside = np.abs(x / half_width) ** 2.6 + np.abs((z - middle) / half_depth) ** 2.6
    outside -= 1.0
    outside *= np.minimum(half_width, half_depth) / np.float32(2.6)
    filled = grid.filled(outside)
    for side in _SIDES:
        if arms_raised:
            arm = [(side * 118, top - 60, -14), (side * 146, top + 10, -14), (side * 160, top + 150, -14)]
        else:
            arm = [(side * 148, top - 50, -14), (side * 196, top - 108, -14), (side * 262, -70, -14)]
        add_tube(grid, filled, arm, (50 + 0.5 * fat, 46 + 0.5 * fat, 42 + 0.5 * fat))
    if rng.random() < 0.5:
        radius = rng.uniform(35.0, 60.0)
        for side in _SIDES:
            add_ellipsoid(
                grid,
                filled,
                (side * 78, -15, cage.front_mm + 18),
                (0.95 * radius, 1.1 * radius, 0.6 * radius),
            )
    muscle = grid.filled(outside + fat)
    return beam.fat * filled + (beam.soft - beam.fat) * np.minimum(muscle, filled)


def _lungs(
    grid: Grid, cage: Cage, domes_mm: Array, heart_mm: Array, rng: np.random.Generator
) -> tuple[Volume, Volume, Volume]:
    """Return lung and mediastinum.

    Returns:
        How much of each voxel is lung; about how far it is outside the lungs, mm; how much of it is
        mediastinum.
    """
    x, y, z = grid.axes_mm()
    share = cage.share(y).astype(np.float32)
    half_width = cage.half_width_mm * np.maximum(share, 0.02)
    half_depth = (cage.front_mm - cage.back_mm) / 2 * np.maximum(share, 0.02) ** 0.8
    middle = (cage.front_mm + cage.back_mm) / 2
    outside = np.abs(x / half_width) ** 2.4 + np.abs((z - middle) / half_depth) ** 2.4
    outside -= 1.0
    outside *= np.minimum(half_width, half_depth) / np.float32(2.4)
    # each apex is a cap of its own
    cap = cage.apex_mm - 46.0 * (((np.abs(x) - _APEX_MM[0]) / 62.0) ** 2 + ((z - _APEX_MM[1]) / 62.0) ** 2)
    outside = np.maximum(outside, 0.8 * (y - cap))
    for side, dome_mm in zip(_SIDES, domes_mm, strict=True):
        flat = rng.uniform(0.9, 1.1)
        rim = ((side * x - _DOME_MM[0]) / 64.0) ** 2 + ((z - _DOME_MM[1]) / 74.0) ** 2
        dome = (
            dome_mm - 44.0 * flat * np.where(side * x > 0, rim, 0.0) - 0.4 * np.maximum(rim - 1.0, 0.0) * 40.0
        )
        outside = np.where(side * x > 0, np.maximum(outside, 0.75 * (dome - y)), outside)
    outside_mediastinum = _mediastinum(grid, cage, heart_mm, rng)
    outside = np.maximum(outside, -outside_mediastinum)
    outside = outside.astype(np.float32)
    return grid.filled(outside), outside, grid.filled(outside_mediastinum)


def _mediastinum(grid: Grid, cage: Cage, heart_mm: Array, rng: np.random.Generator) -> Volume:
    """Return about how far the voxels are outside heart, great vessels and spine, mm."""
    x, y, z = grid.axes_mm()
    top = cage.apex_mm
    # the column between the lungs, widest at the hila; behind it the spine
    half = 15.0 + 9.0 * np.exp(-(((y - (top - 95.0)) / 38.0) ** 2)) + 0.05 * np.abs(y - (top - 95.0))
    half = half + 7.0 * np.clip(-(z + 30.0) / 30.0, 0.0, 1.0)
    outside = np.abs(x) - half + 0.18 * np.clip(z - 20.0, 0.0, 100.0)
    # the heart points to the left, forward and down
    scale = rng.uniform(0.92, 1.08)
    axis = np.array([0.80, -0.46, 0.38])
    axis /= np.linalg.norm(axis)
    offsets = [a - np.float32(c) for a, c in zip((x, y, z), heart_mm, strict=True)]
    along = sum(o * np.float32(a) for o, a in zip(offsets, axis, strict=True))
    across2 = np.maximum(sum(o * o for o in offsets) - along**2, 0.0)
    heart = (np.sqrt((along / (68.0 * scale)) ** 2 + across2 / (46.0 * scale) ** 2) - 1.0) * 46.0
    outside = _blend(outside, heart, 26.0)
    atrium = ellipsoid(grid, (-8.0, heart_mm[1] + 6.0, 12.0), (34.0, 44.0, 36.0))
    outside = _blend(outside, atrium)
    arch = top - rng.uniform(56.0, 64.0)
    knob = rng.uniform(26.0, 34.0)
    for points, radius in (
        (
            [(knob - 2, arch, -20), (knob - 4, arch - 40, -42), (20, arch - 120, -46), (12, arch - 180, -46)],
            14.0,
        ),
        ([(-10, arch - 70, 20), (-14, arch - 25, 22), (6, arch + 2, 6), (knob - 4, arch - 2, -18)], 15.0),
        ([(-24, top - 10, 4), (-24, top - 60, 6), (-26, top - 110, 6)], 9.0),
        ([(34, top - 100, 6), (30, top - 88, -6)], 15.0),
    ):
        vessel = np.zeros(grid.shape, np.float32)
        add_tube(grid, vessel, curve(points, 24) if len(points) > 2 else np.array(points), radius)
        outside = np.minimum(
            outside,
            np.where(vessel > 0, 0.5 - vessel, 1e3).astype(np.float32) * np.float32(np.mean(grid.step_mm)),
        )
    return outside


def _blend(a: Volume, b: Volume, width_mm: float = 14.0) -> Volume:
    """Return a smooth minimum."""
    h = np.clip(0.5 + 0.5 * (b - a) / width_mm, 0.0, 1.0)
    return b + (a - b) * h - width_mm * h * (1.0 - h)


def _texture(grid: Grid, cage: Cage, rng: np.random.Generator) -> Volume:
    """Return how aerated the lung is: denser at the back, and uneven."""
    coarse = rng.standard_normal([max(n // 6, 2) for n in grid.shape]).astype(np.float32)
    coarse = ndimage.gaussian_filter(coarse, 0.8)
    coarse *= 0.025 / coarse.std()
    uneven = ndimage.zoom(coarse, np.array(grid.shape) / coarse.shape, order=1)
    _, _, z = grid.axes_mm()
    gravity = 0.08 * np.clip((z - cage.back_mm) / (cage.front_mm - cage.back_mm), 0.0, 1.0) - 0.04
    return np.asarray(1.0 + gravity + uneven[: grid.shape[0], : grid.shape[1], : grid.shape[2]], np.float32)


def _gas(grid: Grid, gas: Volume, domes_mm: Array, rng: np.random.Generator) -> None:
    """Put gas into stomach and colon."""
    left = domes_mm[1]
    bubble = rng.uniform((16.0, 9.0, 14.0), (30.0, 18.0, 26.0))
    center = np.array([rng.uniform(45.0, 70.0), left - 10.0 - bubble[1], 24.0])
    add_ellipsoid(grid, gas, center, bubble)
    for _ in range(3):
        add_ellipsoid(
            grid, gas, center + rng.normal(0.0, 10.0, 3) - (0, 6, 0), bubble * rng.uniform(0.4, 0.7)
        )
    at = np.array([rng.uniform(40.0, 100.0), left - 50.0, 30.0])
    for _ in range(int(rng.integers(6, 16))):
        at = at + rng.normal((0.0, -8.0, 0.0), (11.0, 8.0, 6.0))
        at[0] = np.clip(at[0], 30.0, 95.0)
        add_ellipsoid(grid, gas, at, rng.uniform(5.0, 13.0, 3))
    # what is cut off there would be repeated below
    gas[:, -1] = 0.0


def _draw_tumor(
    grid: Grid,
    outside_mm: Volume,
    cage: Cage,
    domes_mm: Array,
    size: Array,
    rng: np.random.Generator,
    diameters_mm: tuple[float, float],
) -> Tumor:
    """Return a tumour somewhere inside a lung, at most partly in what bounds it, of the patient's size."""
    least, most = diameters_mm[0] / 2, diameters_mm[1] / 2
    radii = np.full(3, rng.uniform(least, most)) * rng.uniform(0.85, 1.15, 3)
    radii = np.clip(radii, least, most) / size
    shape = np.array(grid.shape)
    side = rng.choice(_SIDES)
    while True:
        center = rng.uniform(
            (20.0, domes_mm.min() - 10.0, cage.back_mm), (115.0, cage.apex_mm - 20.0, cage.front_mm)
        )
        center[0] *= side
        at = np.round(grid.index(center)).astype(int)
        if (at >= 0).all() and (at < shape).all() and outside_mm[tuple(at)] < -0.55 * radii.max():
            return Tumor(center * size, radii * size)

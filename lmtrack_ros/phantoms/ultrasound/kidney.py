"""A kidney under liver and abdominal wall."""

from dataclasses import replace

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.phantoms.deformation import Deformation
from lmtrack_ros.phantoms.ultrasound.anatomy import (
    Anatomy,
    Ellipse,
    Face,
    Shadow,
    Texture,
    abdominal_wall,
    box,
    line,
    plates,
)
from lmtrack_ros.phantoms.ultrasound.scatterers import SLAB_MM, Line


def kidney(rng: np.random.Generator, face: Face, half_width_mm: float) -> Anatomy:
    """Return a kidney under liver and wall: cortex, pyramids, sinus with calyces, fat at its upper pole.

    Args:
        rng: of the patient.
        face: of the probe.
        half_width_mm: how far the anatomy reaches to the head and to the feet.
    """
    wall_mm = rng.uniform(18.0, 23.0)
    wall, wall_lines = abdominal_wall(rng, face, wall_mm, half_width_mm)
    turn = rng.uniform(-0.05, 0.25)
    outline = Ellipse(
        (rng.uniform(-22.0, -14.0), rng.uniform(-7.0, 1.0)),
        (rng.uniform(44.0, 50.0), rng.uniform(29.0, 33.0)),
        turn,
    )
    # towards the feet and the back, where the sinus opens
    sinus = Ellipse(
        (outline.center_mm[0] - rng.uniform(0.0, 4.0), outline.center_mm[1] - rng.uniform(3.0, 7.0)),
        (rng.uniform(21.0, 26.0), rng.uniform(10.0, 14.0)),
        turn,
    )
    calyces = []
    for along in (-0.15, 0.18, 0.5, 0.82):
        center = (
            sinus.center_mm[0] + along * sinus.radii_mm[0] + rng.uniform(-1.0, 1.0),
            sinus.center_mm[1] + rng.uniform(-0.35, 0.45) * sinus.radii_mm[1],
        )
        calyces.append(Ellipse(center, (rng.uniform(2.8, 3.8), rng.uniform(1.4, 1.9)), rng.normal(0.0, 0.12)))
    calyx = calyces[-1]
    low = Ellipse(
        (calyx.center_mm[0] - rng.uniform(0.0, 4.0), calyx.center_mm[1] - rng.uniform(13.0, 16.0)),
        (rng.uniform(4.0, 6.0), rng.uniform(2.5, 3.5)),
    )
    pole = outline.outline(0.16 * np.pi, 0.161 * np.pi, 1.06)[0]
    fat = Ellipse((float(pole[0]), float(pole[1])), (rng.uniform(4.0, 5.0), rng.uniform(6.0, 8.0)), -0.3)
    twins = [_moved(low, side * rng.uniform(8.5, 10.5), rng.uniform(-2.0, 2.0)) for side in (-1.0, 1.0)]
    twins.append(_moved(low, rng.uniform(-2.0, 2.0), rng.uniform(7.0, 8.5)))
    other_fat = _moved(fat, rng.uniform(-4.0, 0.0), rng.choice([-1.0, 1.0]) * rng.uniform(12.0, 14.0))
    pyramids = [
        Ellipse((float(y), float(z)), (rng.uniform(4.0, 6.0), rng.uniform(4.0, 6.0)))
        for y, z in outline.outline(0.1, 2 * np.pi - 0.5, 0.68)[:: 400 // 9]
    ]
    coarse, clumps = Texture.drawn(rng, (12.0, 9.0)), Texture.drawn(rng, (3.5, 1.6))
    contrast = rng.uniform(0.45, 0.6)

    def organs(points_mm: Array) -> Array:
        y, z = points_mm[:, 1], points_mm[:, 2]
        rough = clumps.at(points_mm)
        inside = outline.inside(y, z, 2.5)
        # fat and liver round the kidney, brighter behind it
        around = np.where(z < outline.center_mm[1] - 20.0, 1.6, 1.1) * np.exp(0.25 * rough)
        # structures end somewhere across the plane, and others begin
        here = 1.0 + 0.6 * np.cos(4 * np.pi * points_mm[:, 0] / SLAB_MM)
        beside = 2.0 - here
        clumpy = np.exp(0.4 * rough)
        around += (2.0 * here * fat.inside(y, z, 4.0) + 2.2 * beside * other_fat.inside(y, z, 4.0)) * clumpy
        cortex = contrast * np.exp(0.1 * rough)
        for pyramid in pyramids:
            cortex *= 1.0 - 0.25 * pyramid.inside(y, z, 3.0)
        level = around + inside * (cortex - around)
        bright = np.maximum(sinus.inside(y, z, 5.0), 0.8 * here * low.inside(y, z, 2.0))
        for twin in twins:
            bright = np.maximum(bright, 0.8 * beside * twin.inside(y, z, 2.0))
        level += inside * bright * (2.0 * np.exp(0.6 * rough) - level)
        for cup in calyces:
            level *= 1.0 - 0.93 * cup.inside(y, z)
        return np.asarray(level * np.exp(0.12 * coarse.at(points_mm)))

    lines = [line(rng, outline.outline(), 0.8, fray=1.3)]
    for index, cup in enumerate(calyces):
        # by turns, so that a neighbour shines as one fades
        x_mm = (len(calyces) - 1 - index) % 2 * SLAB_MM / 4
        for first_rad in (0.2 * np.pi, 1.2 * np.pi):
            curve = cup.outline(first_rad, first_rad + 0.6 * np.pi, 1.15)
            lines.append(line(rng, curve, 2.5, x_mm=x_mm, half_extent_mm=2.5, fray=0.2))
    for bar, x_mm in ((low, 0.0), *((twin, SLAB_MM / 4) for twin in twins)):
        flat = Ellipse(bar.center_mm, (0.6 * bar.radii_mm[0], 0.4))
        curve = flat.outline(0.1 * np.pi, 0.9 * np.pi)
        lines.append(line(rng, curve, 2.0, x_mm=x_mm, half_extent_mm=2.5, fray=0.2))
    lines += plates(
        rng,
        face,
        30,
        (
            (sinus.center_mm[0] - sinus.radii_mm[0], sinus.center_mm[0] + sinus.radii_mm[0]),
            (sinus.center_mm[1] - sinus.radii_mm[1], sinus.center_mm[1] + sinus.radii_mm[1]),
        ),
        3.0,
        (2.0, 6.0),
    )
    for first_rad, count in ((0.4 * np.pi, 4), (1.4 * np.pi, 3)):
        lines += _fascia(rng, face, outline, (first_rad, first_rad + 0.2 * np.pi), count)
    lines += plates(rng, face, 110, box(face, 0.14, 0.95, half_width_mm), 2.5)
    wall_lines += plates(rng, face, 70, box(face, 0.03, 0.15, half_width_mm), 2.2, (2.0, 9.0), 0.06)
    deformation = Deformation(
        dome_y_mm=rng.uniform(60.0, 75.0), heart_mm=(30.0, 95.0, 40.0), heartbeat_mm=rng.uniform(0.2, 0.8)
    )
    return Anatomy(
        deformation,
        {
            "calyx": np.array([0.0, *calyx.center_mm]),
            "sinus_low": np.array([0.0, *low.center_mm]),
            "upper_pole_fat": np.array([0.0, *fat.center_mm]),
        },
        {"kidney": outline, "calyx": calyx},
        organs,
        lines,
        wall,
        wall_lines,
        wall_mm,
        (Shadow((rng.uniform(46.0, 52.0), np.inf), face.z_mm - wall_mm, breathes=True),),
    )


def _fascia(
    rng: np.random.Generator, face: Face, outline: Ellipse, between_rad: tuple[float, float], count: int
) -> list[Line]:
    """Return layers of fascia along a part of the kidney that faces the probe or its far side."""
    layers = []
    for _ in range(count):
        at = outline.outline(*between_rad)[rng.integers(0, 400)]
        layers += plates(
            rng,
            face,
            1,
            ((at[0] - 1.0, at[0] + 1.0), (at[1] - 1.0, at[1] + 1.0)),
            3.0,
            (8.0, 20.0),
            0.08,
        )
    return [layer._replace(half_extent_mm=rng.uniform(3.0, 8.0)) for layer in layers]


def _moved(structure: Ellipse, y_mm: float, z_mm: float) -> Ellipse:
    """Return the same structure at another place."""
    center = structure.center_mm
    return replace(structure, center_mm=(center[0] + y_mm, center[1] + z_mm))

"""A kidney under liver and abdominal wall."""

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.phantoms.deformation import Deformation
from lmtrack_ros.phantoms.ultrasound_anatomy import (
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
    for along in (-0.55, -0.15, 0.3, 0.8):
        center = (
            sinus.center_mm[0] + along * sinus.radii_mm[0] + rng.uniform(-1.5, 1.5),
            sinus.center_mm[1] + rng.uniform(-0.35, 0.45) * sinus.radii_mm[1],
        )
        calyces.append(Ellipse(center, (rng.uniform(2.6, 4.2), rng.uniform(1.3, 2.1)), rng.normal(0.0, 0.15)))
    calyx = calyces[-1]
    low = Ellipse(
        (calyx.center_mm[0] - rng.uniform(0.0, 4.0), calyx.center_mm[1] - rng.uniform(13.0, 16.0)),
        (rng.uniform(4.0, 6.0), rng.uniform(2.5, 3.5)),
    )
    pole = outline.outline(0.16 * np.pi, 0.161 * np.pi, 1.06)[0]
    fat = Ellipse((float(pole[0]), float(pole[1])), (rng.uniform(4.0, 5.0), rng.uniform(8.0, 11.0)), -0.3)
    pyramids = [
        Ellipse((float(y), float(z)), (rng.uniform(4.0, 6.0), rng.uniform(4.0, 6.0)))
        for y, z in outline.outline(0.1, 2 * np.pi - 0.5, 0.68)[:: 400 // 9]
    ]
    coarse, clumps = Texture.drawn(rng, (12.0, 9.0)), Texture.drawn(rng, (3.5, 1.6))
    contrast = rng.uniform(0.38, 0.48)

    def organs(points_mm: Array) -> Array:
        y, z = points_mm[:, 1], points_mm[:, 2]
        rough = clumps.at(points_mm)
        inside = outline.inside(y, z)
        # fat and liver round the kidney, brighter behind it
        around = np.where(z < outline.center_mm[1] - 20.0, 1.6, 1.1) * np.exp(0.25 * rough)
        around += 1.6 * fat.inside(y, z, 4.0) * np.exp(0.4 * rough)
        cortex = contrast * np.exp(0.1 * rough)
        for pyramid in pyramids:
            cortex *= 1.0 - 0.25 * pyramid.inside(y, z, 3.0)
        in_sinus = np.maximum(sinus.inside(y, z, 5.0), low.inside(y, z, 2.0))
        level = around + inside * (cortex - around)
        level += inside * in_sinus * (1.5 * np.exp(0.55 * rough) - level)
        for cup in calyces:
            level *= 1.0 - 0.93 * cup.inside(y, z)
        return np.asarray(level * np.exp(0.12 * coarse.at(points_mm)))

    lines = [line(rng, outline.outline(scale=1.0), 1.6, fray=1.0)]
    for cup in calyces:
        lines.append(line(rng, cup.outline(0.2 * np.pi, 0.8 * np.pi, 1.15), 2.0, fray=0.2))
        lines.append(line(rng, cup.outline(1.2 * np.pi, 1.8 * np.pi, 1.15), 2.0, fray=0.2))
    lines.append(line(rng, low.outline(0.25 * np.pi, 0.75 * np.pi, 0.2), 2.0, fray=0.2))
    lines += plates(
        rng,
        30,
        (
            (sinus.center_mm[0] - sinus.radii_mm[0], sinus.center_mm[0] + sinus.radii_mm[0]),
            (sinus.center_mm[1] - sinus.radii_mm[1], sinus.center_mm[1] + sinus.radii_mm[1]),
        ),
        1.6,
        (2.0, 5.0),
    )
    lines += plates(rng, 110, box(face, 0.14, 0.95, half_width_mm), 1.2)
    wall_lines += plates(rng, 60, box(face, 0.02, 0.14, half_width_mm), 1.0)
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

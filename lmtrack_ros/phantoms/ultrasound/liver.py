"""A liver under the diaphragm, with vessels across the plane."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

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
from lmtrack_ros.phantoms.ultrasound.scatterers import SLAB_MM

_NAMES = (
    "portal_vein",
    "right_hepatic_vein",
    "middle_hepatic_vein",
    "right_portal_branch",
    "left_portal_branch",
)
# across and below, of the field's depth
_PLACES = ((0.0, 0.52), (0.15, 0.64), (-0.17, 0.46), (-0.12, 0.72), (0.12, 0.36))


class Vessel(NamedTuple):
    """A tube across the plane: dark blood inside a wall.

    Attributes:
        lumen: its section.
        wall: reflectivity of its wall: high of portal, low of hepatic veins.
        sway_mm: by how much, (y, z), its section moves along x; 0 of a landmark, whose centre is exact.
    """

    lumen: Ellipse
    wall: float
    sway_mm: tuple[float, float] = (0.0, 0.0)

    def at(self, points_mm: Array) -> Array:
        """Return (N,) 1 inside the lumen and 0 outside."""
        sway = np.sin(2 * np.pi * points_mm[:, 0] / SLAB_MM)
        return self.lumen.inside(
            points_mm[:, 1] - self.sway_mm[0] * sway, points_mm[:, 2] - self.sway_mm[1] * sway
        )


def liver(
    rng: np.random.Generator, face: Face, vessels: Mapping[str, Vessel], half_width_mm: float, rigid: bool
) -> Anatomy:
    """Return a liver under the diaphragm with vessels that are followed and others like them.

    Args:
        rng: of the patient.
        face: of the probe.
        vessels: those that are followed.
        half_width_mm: how far the anatomy reaches to the head and to the feet.
        rigid: whether all moves as the diaphragm does.
    """
    wall_mm = rng.uniform(0.1, 0.14) * face.depth_mm
    wall, wall_lines = abdominal_wall(rng, face, wall_mm, half_width_mm)
    dome = Ellipse(
        (-rng.uniform(0.05, 0.12) * face.depth_mm, face.z_mm - rng.uniform(0.28, 0.36) * face.depth_mm),
        (rng.uniform(0.58, 0.64) * face.depth_mm, rng.uniform(0.54, 0.62) * face.depth_mm),
    )
    others = look_alikes(rng, face, [v.lumen for v in vessels.values()])
    every = [*vessels.values(), *others]
    coarse, fine = Texture.drawn(rng, (11.0, 8.0)), Texture.drawn(rng, (3.0, 2.0))

    def tissue(points_mm: Array) -> Array:
        level = np.exp(0.12 * coarse.at(points_mm) + 0.18 * fine.at(points_mm))
        for vessel in every:
            level *= 1.0 - 0.95 * vessel.at(points_mm)
        return np.asarray(level)

    def organs(points_mm: Array) -> Array:
        radius = dome.radius(points_mm[:, 1], points_mm[:, 2])
        beyond = (radius > 1.0) & (points_mm[:, 1] > dome.center_mm[0])
        mirrored = points_mm.copy()
        centre = np.array(dome.center_mm)
        back = np.where(beyond, 2.0 / np.maximum(radius, 1.0) - 1.0, 1.0)[:, None]
        mirrored[:, 1:] = centre + np.maximum(back, 0.0) * (points_mm[:, 1:] - centre)
        # the mirror fades where the beam grazes it
        faded = np.clip((points_mm[:, 1] - dome.center_mm[0]) / 25.0, 0.0, 1.0)
        return np.asarray(tissue(mirrored) * np.where(beyond, 1.0 - 0.7 * faded, 1.0))

    lines = [line(rng, dome.outline(-np.pi / 2, 0.35 * np.pi), 6.0, fray=0.6)]
    for vessel in every:
        if vessel.wall:
            lines.append(line(rng, vessel.lumen.outline(scale=1.05), vessel.wall, fray=0.4))
    lines += plates(rng, face, 60, box(face, 0.15, 0.95, half_width_mm), 0.6, (1.5, 4.0))
    deformation = (
        Deformation(above_mm=np.inf, below_mm=np.inf)
        if rigid
        else Deformation(
            dome_y_mm=dome.center_mm[0] + dome.radii_mm[0],
            heart_mm=(30.0, dome.center_mm[0] + dome.radii_mm[0] + 25.0, face.z_mm - 30.0),
            heartbeat_mm=rng.uniform(0.5, 2.0),
        )
    )
    return Anatomy(
        deformation,
        {name: np.array([0.0, *vessel.lumen.center_mm]) for name, vessel in vessels.items()},
        {name: vessel.lumen for name, vessel in vessels.items()},
        organs,
        lines,
        wall,
        wall_lines,
        wall_mm,
        () if rigid else _shadows(rng, face, wall_mm),
    )


def look_alikes(rng: np.random.Generator, face: Face, marked: Sequence[Ellipse]) -> list[Vessel]:
    """Return vessels that could be taken for those that are followed, some beside them."""
    scale = face.depth_mm / 150.0
    found: list[Vessel] = []
    taken = list(marked)
    for index in range(26):
        size = scale * rng.uniform(1.2, 4.0)
        radii = (size * rng.uniform(1.0, 4.5), size * rng.uniform(0.6, 1.0))
        if index < len(marked):
            angle, way_mm = rng.uniform(0, 2 * np.pi), scale * rng.uniform(13.0, 19.0)
            near = marked[index].center_mm
            center = (near[0] + way_mm * np.cos(angle), near[1] + 0.8 * way_mm * np.sin(angle))
            radii = marked[index].radii_mm
        else:
            center = (
                rng.uniform(-0.5, 0.4) * face.depth_mm,
                face.z_mm - rng.uniform(0.2, 0.85) * face.depth_mm,
            )
        lumen = Ellipse(center, radii, rng.normal(0.0, 0.5))
        reach = max(radii) + 1.0
        if all(
            np.hypot(center[0] - t.center_mm[0], center[1] - t.center_mm[1]) > reach + max(t.radii_mm)
            for t in taken
        ):
            taken.append(lumen)
            found.append(Vessel(lumen, rng.choice([0.0, 0.6, 1.2]), tuple(rng.normal(0.0, 1.2, 2))))
    return found


def drawn_vessels(rng: np.random.Generator, face: Face, count: int) -> dict[str, Vessel]:
    """Return vessels to follow, at most five, apart from each other and well inside the field."""
    scale = face.depth_mm / 150.0
    vessels = {}
    for name, (across, below) in zip(_NAMES[:count], _PLACES, strict=False):
        jitter = rng.uniform(-0.025, 0.025, 2)
        center = ((across + jitter[0]) * face.depth_mm, face.z_mm - (below + jitter[1]) * face.depth_mm)
        size = scale * rng.uniform(2.8, 5.0)
        lumen = Ellipse(center, (size * rng.uniform(1.0, 1.6), size), rng.normal(0.0, 0.4))
        vessels[name] = Vessel(lumen, rng.uniform(0.6, 1.4) if "portal" in name else rng.uniform(0.0, 0.4))
    return vessels


def _shadows(rng: np.random.Generator, face: Face, wall_mm: float) -> tuple[Shadow, ...]:
    """Return the lung's edge and, in some patients, a rib towards the feet."""
    z_mm = face.z_mm - wall_mm
    lung = Shadow((rng.uniform(0.2, 0.28) * face.depth_mm, np.inf), z_mm, breathes=True)
    feet_mm = -rng.uniform(0.22, 0.28) * face.depth_mm
    rib = Shadow((feet_mm, feet_mm + rng.uniform(4.0, 7.0)), z_mm, breathes=False)
    return (lung, rib) if rng.random() < 0.5 else (lung,)

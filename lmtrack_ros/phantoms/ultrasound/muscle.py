"""A pennate muscle between two aponeuroses, under skin and fat."""

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.phantoms.deformation import Deformation
from lmtrack_ros.phantoms.ultrasound.anatomy import (
    Anatomy,
    Ellipse,
    Face,
    Texture,
    abdominal_wall,
    line,
    plates,
)
from lmtrack_ros.phantoms.ultrasound.scatterers import Line


def muscle(rng: np.random.Generator, face: Face, half_width_mm: float) -> Anatomy:
    """Return a calf muscle whose fascicles end on nodes of its aponeuroses.

    Args:
        rng: of the patient.
        face: of the probe.
        half_width_mm: how far the anatomy reaches to both sides.
    """
    wall_mm = rng.uniform(4.5, 6.0)
    wall, wall_lines = abdominal_wall(rng, face, wall_mm, half_width_mm)
    y: Array = np.linspace(-half_width_mm, half_width_mm, 400, dtype=float)
    for below_mm in (0.35 * wall_mm, rng.uniform(0.6, 0.9) * wall_mm):
        septum = (
            face.z_mm - below_mm + rng.uniform(0.3, 0.8) * np.sin(y / rng.uniform(5, 9) + rng.uniform(0, 6))
        )
        wall_lines.append(line(rng, np.column_stack([y, septum]), 2.5, fray=0.8))
    # columns run to -y: both slope down to the right, as fascicles do from right to left
    upper_mm, lower_mm = rng.uniform(7.5, 9.0), rng.uniform(28.0, 31.0)
    upper_slope, lower_slope = rng.uniform(-0.1, -0.04), rng.uniform(-0.18, -0.1)
    bend_mm = rng.uniform(6.0, 12.0)

    def upper_z(y_mm: Array) -> Array:
        return np.asarray(face.z_mm - upper_mm - upper_slope * y_mm)

    def lower_z(y_mm: Array) -> Array:
        return np.asarray(face.z_mm - lower_mm - lower_slope * y_mm + 0.5 * np.sin(y_mm / bend_mm))

    pennation_rad = rng.uniform(0.2, 0.35)
    coarse, along = Texture.drawn(rng, (4.0, 2.0)), Texture.drawn(rng, (4.0, 0.45), 60)
    c, s = np.cos(pennation_rad), np.sin(pennation_rad)
    turned = np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
    at_mm = rng.uniform(-4.0, 4.0, 2)
    nodes = {
        "superficial_insertion": Ellipse((float(at_mm[0]), float(upper_z(at_mm[:1])[0]) - 0.9), (1.2, 0.7)),
        "deep_insertion": Ellipse((float(at_mm[1]), float(lower_z(at_mm[1:])[0]) + 0.9), (1.2, 0.7)),
    }

    def organs(points_mm: Array) -> Array:
        y_mm, z_mm = points_mm[:, 1], points_mm[:, 2]
        below = z_mm < lower_z(y_mm)
        fibres = np.exp(0.55 * along.at(points_mm @ turned.T) + 0.25 * coarse.at(points_mm))
        level = np.where(below, 0.3, 0.45) * fibres
        level = np.where(z_mm > upper_z(y_mm), 0.8, level)
        for node in nodes.values():
            level += 3.0 * node.inside(y_mm, z_mm, 0.5)
        return np.asarray(level)

    lines: list[Line] = []
    for height in (upper_z(y), lower_z(y)):
        for layer_mm in np.linspace(-0.5, 0.5, 5):
            lines.append(line(rng, np.column_stack([y, height + layer_mm]), 2.5, fray=0.5))
    fascicles = plates(
        rng,
        face,
        220,
        ((-half_width_mm, half_width_mm), (face.z_mm - lower_mm, face.z_mm - upper_mm - 1.0)),
        2.0,
        (1.5, 6.0),
        0.05,
    )
    lines += [_turned(fascicle, pennation_rad) for fascicle in fascicles]
    return Anatomy(
        Deformation(above_mm=90.0, below_mm=90.0),
        {name: np.array([0.0, *node.center_mm]) for name, node in nodes.items()},
        nodes,
        organs,
        lines,
        wall,
        wall_lines,
        wall_mm,
    )


def _turned(plate: Line, angle_rad: float) -> Line:
    """Return an interface turned about its middle, rising towards the head."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    middle = plate.points_mm.mean(axis=0)
    return plate._replace(points_mm=(plate.points_mm - middle) @ np.array([[c, -s], [s, c]]) + middle)

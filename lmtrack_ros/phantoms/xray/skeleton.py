"""The bones of the simulated chest."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.frames import Array
from lmtrack_ros.phantoms.xray.solids import Grid, Volume, add_ellipsoid, add_tube, curve

VERTEBRAE = ("C5", "C6", "C7", *(f"T{i}" for i in range(1, 13)), *(f"L{i}" for i in range(1, 6)))
_T5 = VERTEBRAE.index("T5")
_SIDES = (-1.0, 1.0)  # the patient's right, left


class Bones(NamedTuple):
    """Where bone is, and points on it.

    Attributes:
        solid: (D, H, W) share of each voxel inside a bone's surface.
        spongy: likewise of its inside.
        points_mm: (3,) position by name.
    """

    solid: Volume
    spongy: Volume
    points_mm: dict[str, Array]


class Cage(NamedTuple):
    """Shape of the ribcage.

    Attributes:
        half_width_mm: of the lungs at their widest.
        front_mm: z of the lungs' front.
        back_mm: z of their back.
        apex_mm: y of their tops.
        widest_mm: y where they are widest.
        slope: how steeply the ribs fall, about 1.
    """

    half_width_mm: float
    front_mm: float
    back_mm: float
    apex_mm: float
    widest_mm: float
    slope: float

    def share(self, y_mm: Array | Volume) -> NDArray[np.floating]:
        """Return how wide the cage is at some heights, of its greatest width."""
        up = np.clip((y_mm - self.widest_mm) / (self.apex_mm + 8.0 - self.widest_mm), 0.0, 1.0)
        return np.maximum(1.0 - up**2.6, 0.0) ** 0.55


def skeleton(grid: Grid, cage: Cage, arms_raised: bool, rng: np.random.Generator) -> Bones:
    """Return spine, ribs, sternum, clavicles, scapulae and upper arms."""
    bones = _Bones(grid, np.zeros(grid.shape, np.float32), np.zeros(grid.shape, np.float32), {})
    _spine(bones, cage, rng)
    _ribs(bones, cage, rng)
    _shoulders(bones, cage, arms_raised, rng)
    return Bones(bones.solid, bones.spongy, bones.points_mm)


class _Bones(NamedTuple):
    grid: Grid
    solid: Volume
    spongy: Volume
    points_mm: dict[str, Array]

    def tube(self, points: Array, radius_mm: float | Array, cortex_mm: float, flatness: float = 1.0) -> None:
        add_tube(self.grid, self.solid, points, radius_mm, flatness)
        if np.min(radius_mm) > cortex_mm:
            add_tube(self.grid, self.spongy, points, radius_mm - cortex_mm, flatness)


def vertebra_mm(cage: Cage, number: int) -> tuple[float, float, float]:
    """Return y and z of a vertebral body's centre, and its height."""
    up = number - _T5
    # each vertebra is about half a millimetre taller than the one above
    y = cage.apex_mm - 84.0 - 20.0 * up - 0.45 * up * abs(up)
    # the curve of the back
    z = cage.back_mm + 45.0 - 14.0 * np.cos(np.clip((y - 10.0) / 180.0, -1.0, 1.0) * np.pi)
    return y, float(z), 20.0 + 0.9 * up


def _spine(bones: _Bones, cage: Cage, rng: np.random.Generator) -> None:
    grid = bones.grid
    bend = rng.normal(0.0, 3.0)
    for number, name in enumerate(VERTEBRAE):
        y, z, height = vertebra_mm(cage, number)
        x = bend * np.sin(y / 90.0)
        lower = number / len(VERTEBRAE)
        half_width, half_depth = 12.0 + 10.0 * lower, 10.0 + 8.0 * lower
        box = grid.box(
            (x - half_width, y - height, z - half_depth), (x + half_width, y + height, z + half_depth)
        )
        gx, gy, gz = grid.axes_mm(box)
        along = (gy - np.float32(y)) / np.float32(height / 2 - 2.0)
        # a waist between the end plates
        waist = 1.0 - 0.12 * np.clip(1.0 - along**2, 0.0, 1.0)
        across = (((gx - x) / (half_width * waist)) ** 2 + ((gz - z) / (half_depth * waist)) ** 2) ** 0.5
        outer = np.maximum((across - 1.0) * half_width, (np.abs(along) - 1.0) * (height / 2 - 2.0))
        np.maximum(bones.solid[box], grid.filled(outer.astype(np.float32)), out=bones.solid[box])
        inner = grid.filled((outer + 1.3).astype(np.float32))
        np.maximum(bones.spongy[box], inner, out=bones.spongy[box])
        back = z - half_depth
        for side in _SIDES:
            pedicle = x + side * half_width * 0.75
            bones.tube(np.array([[pedicle, y + 3, back + 3], [pedicle, y + 2, back - 8]]), 4.0, 1.6, 1.3)
            tip = [x + side * (half_width + 17.0), y + 5.0, back - 16.0]
            bones.tube(np.array([[pedicle, y + 1, back - 8], tip]), 4.2, 1.3)
            bones.tube(np.array([[pedicle, y, back - 9], [x, y - 4, back - 17]]), 3.2, 1.4, 1.8)
        fall = rng.uniform(12.0, 18.0) * (1.0 if name[0] == "T" else 0.4)
        tip_mm = np.array([x + rng.normal(0.0, 0.7), y - 6.0 - fall, back - 31.0])
        bones.tube(np.array([[x, y - 4, back - 17], tip_mm]), 3.2, 1.3, 1.8)
        bones.points_mm[f"spinous_process_{name}"] = tip_mm


def _ribs(bones: _Bones, cage: Cage, rng: np.random.Generator) -> None:
    middle_z = (cage.front_mm + cage.back_mm) / 2
    half_depth = (cage.front_mm - cage.back_mm) / 2 + 5.0
    around_deg = (142, 140, 136, 132, 128, 124, 120, 114, 108, 98, 80, 58)
    falls_mm = (44, 58, 70, 80, 90, 96, 98, 96, 88, 76, 56, 34)
    for number, (end_deg, fall_mm) in enumerate(zip(around_deg, falls_mm, strict=True)):
        head_y, _, _ = vertebra_mm(cage, VERTEBRAE.index(f"T{number + 1}"))
        fall = fall_mm * cage.slope * rng.uniform(0.95, 1.05)
        for side in _SIDES:
            angle = np.radians(np.linspace(9.0, end_deg + rng.normal(0.0, 2.0), 44))
            u = angle / np.radians(150.0)
            # the back of a rib rises a little before it falls
            y = (
                head_y
                + 7.0
                + 9.0 * np.sin(np.pi * np.clip(u / 0.36, 0, 1))
                - fall * 1.08 * np.clip(u - 0.12, 0, 1) ** 1.5
            )
            share = np.maximum(cage.share(y), 0.42 + 0.1 * min(number, 3))
            width = (cage.half_width_mm + 4.5) * share
            deep = half_depth * np.maximum(share, 0.3) ** 0.8
            x = side * width * np.sin(angle) ** 0.85
            z = middle_z - deep * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.8
            path = np.stack([x, y, z], axis=-1)
            radii = rng.uniform(3.9, 4.5) * (1.0 if number else 0.6) * np.linspace(1.0, 0.72, len(path))
            bones.tube(path, radii, 1.2, 1.6 if number else 1.2)
            name = "right" if side < 0 else "left"
            bones.points_mm[f"rib_{number + 1}_{name}"] = path[16]


def _shoulders(bones: _Bones, cage: Cage, arms_raised: bool, rng: np.random.Generator) -> None:
    top, front = cage.apex_mm, cage.front_mm
    # manubrium and body of the sternum
    bones.tube(np.array([[-14.0, top - 38, front - 12], [14.0, top - 38, front - 12]]), 6.0, 1.2, 2.2)
    bones.tube(np.array([[-8.0, top - 62, front - 2], [8.0, top - 62, front - 2]]), 5.0, 1.2, 2.2)
    body = curve([(0, top - 70, front + 1), (0, top - 115, front + 7), (0, top - 165, front + 8)], 12)
    for x in (-7.0, 0.0, 7.0):
        bones.tube(body + np.array((x, 0.0, 0.0)), 5.0, 1.2)
    bones.points_mm["sternal_angle"] = np.array([0.0, top - 64.0, front + 3.0])
    lift = rng.uniform(-8.0, 14.0)
    for side in _SIDES:
        name = "right" if side < 0 else "left"
        clavicle = curve(
            [
                (side * 17, top - 30, front - 6),
                (side * 58, top - 26 + 0.3 * lift, front + 2),
                (side * 105, top - 19 + 0.8 * lift, front - 35),
                (side * 152, top - 22 + lift, front - 72),
            ],
            30,
        )
        bones.tube(clavicle, 6.2, 2.2, 1.1)
        bones.points_mm[f"clavicle_{name}"] = clavicle[8]
        out, up = (140.0, 2.0) if arms_raised else (168.0, -52.0)
        head = np.array([side * out, top + up + lift, cage.back_mm + 68])
        add_ellipsoid(bones.grid, bones.solid, head, (23.0, 23.0, 23.0))
        add_ellipsoid(bones.grid, bones.spongy, head, (21.8, 21.8, 21.8))
        arm = (side * 12.0, 150.0, 0.0) if arms_raised else (side * 75.0, -150.0, 0.0)
        shaft = np.stack([head, head + np.array(arm)])
        add_tube(bones.grid, bones.solid, shaft, (15.0, 11.0))
        add_tube(bones.grid, bones.spongy, shaft, (13.4, 6.5))
        back = cage.back_mm - 8.0
        glenoid = head + np.array((-side * 24.0, -4.0, -12.0))
        corner = np.array([side * 92.0, top - 18, back - 2])
        tip = np.array([side * 108.0, top - 172, back - 6])
        acromion = head + np.array((side * 2.0, 26.0, -4.0))
        for points, radius in (
            (np.stack([tip, glenoid]), 4.5),
            (np.stack([tip, corner]), 2.4),
            (np.stack([corner, glenoid + np.array((0.0, 18.0, 0.0))]), 2.2),
            (curve([corner + np.array((0, -22, -4)), (side * 130, top - 28, back - 4), acromion], 12), 4.4),
            (curve([glenoid + np.array((0, 14, 4)), (side * 130, top - 30, cage.back_mm + 78)], 8), 4.0),
        ):
            bones.tube(points, radius, 1.1)
        # the blade between its borders
        for u in np.linspace(0.0, 1.0, 44):
            blade = np.stack([tip + u * (corner - tip), tip + u * (glenoid - tip)])
            bones.tube(blade, 1.2, 1.2)

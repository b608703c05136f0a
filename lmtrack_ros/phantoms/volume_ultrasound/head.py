"""A fetal head of mid-pregnancy: a statistical shape, its landmarks, and the tissues drawn to fit them.

The head frame has its origin midway between the ends of the occipito-frontal diameter; x points to the
fetus's left, y to the forehead, z to the vertex, mm. The transventricular (TV) plane is z = 0. The
transcerebellar (TC) plane meets it at the cavum septi pellucidi and is pitched down towards the occiput.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.frames import Array

LANDMARKS = (
    "frontal_skull",
    "occipital_skull",
    "parietal_skull_left",
    "parietal_skull_right",
    "cavum_septi_pellucidi",
    "atrium_left",
    "atrium_right",
    "cerebellum_left",
    "cerebellum_right",
    "cisterna_magna",
)
"""TV plane: ends of the occipito-frontal and the biparietal diameter, the centre of the cavum (on both
planes) and of the atria of the lateral ventricles; TC plane: ends of the transcerebellar diameter and the
centre of the cisterna magna between vermis and occipital bone."""

FACTORS = (
    "gestational age",
    "cephalic index",
    "ventricle width",
    "cerebellum size",
    "asymmetry",
    "pitch of the planes",
)
"""What most of the variation between patients comes from, each standard normal."""

_CORRELATION = np.array(
    [
        [1.0, 0.0, 0.0, 0.0, 0.0, -0.2],
        [0.0, 1.0, 0.2, 0.1, -0.3, -0.3],
        [0.0, 0.2, 1.0, -0.3, 0.1, 0.0],
        [0.0, 0.1, -0.3, 1.0, 0.0, 0.2],
        [0.0, -0.3, 0.1, 0.0, 1.0, 0.0],
        [-0.2, -0.3, 0.0, 0.2, 0.0, 1.0],
    ]
)

BONE_SIGMA_MM = 0.6
"""Of the skull's density across its middle surface."""

SCALP_MM = 2.6
_INDEPENDENT_MM = 0.5


@dataclass(frozen=True)
class FetalHead:
    """The shape of one head; lengths in mm, of the skull to the middle of the bone.

    Attributes:
        age_weeks: gestational age.
        half_width_mm: half the biparietal diameter (BPD).
        half_length_mm: half the occipito-frontal diameter (OFD).
        vertex_mm: height of the vertex over the TV plane.
        base_mm: depth of the lowest part of the skull below it.
        egg: how much wider the head is at the back.
        shear: how far the left side lies before the right one, per mm sideways.
        cavum_mm: (y, width, length) of the cavum septi pellucidi.
        atrium_width_mm: of the lateral ventricles.
        atria_mm: (x, y) of the centre of the left and of the right atrium.
        pitch_rad: between the planes.
        cerebellum_mm: how far left and right of the midline the cerebellum reaches.
        vermis_mm: its length along the TC plane.
        cisterna_mm: from vermis to occipital bone.
    """

    age_weeks: float
    half_width_mm: float
    half_length_mm: float
    vertex_mm: float
    base_mm: float
    egg: float
    shear: float
    cavum_mm: tuple[float, float, float]
    atrium_width_mm: float
    atria_mm: tuple[tuple[float, float], tuple[float, float]]
    pitch_rad: float
    cerebellum_mm: tuple[float, float]
    vermis_mm: float
    cisterna_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "FetalHead":
        """Return a head of the population of the screening examination, 18 to 24 weeks.

        BPD and OFD follow the INTERGROWTH-21st standard (Papageorghiou et al. 2014), the transcerebellar
        diameter is 1 mm a week (Goldstein et al. 1987), the atrium's width does not depend on the age
        (Cardoza et al. 1988).
        """
        age, shape, ventricle, cerebellum, asymmetry, pitch = np.clip(
            rng.multivariate_normal(np.zeros(len(FACTORS)), _CORRELATION), -2.5, 2.5
        ).tolist()
        own_mm = (np.clip(rng.standard_normal(8), -2.5, 2.5) * _INDEPENDENT_MM).tolist()
        weeks = 20.8 + 1.1 * age
        bpd_mm = (5.60878 + 0.158369 * weeks**2 - 0.00256379 * weeks**3) * math.exp(0.022 * shape)
        ofd_mm = (-12.4097 + 0.626342 * weeks**2 - 0.148075 * weeks**2 * math.log(weeks)) * math.exp(
            -0.022 * shape
        )
        a, b = bpd_mm / 2, ofd_mm / 2
        shear = 0.03 * asymmetry
        atrium_mm = 7.4 * math.exp(0.12 * ventricle)
        x_mm = 0.42 * a + 0.3 * (atrium_mm - 7.4)
        y_mm = -0.40 * b - 0.3 * (atrium_mm - 7.4)
        atria_mm = (
            (x_mm + own_mm[0], y_mm + shear * x_mm + own_mm[1]),
            (-x_mm + own_mm[2], y_mm - shear * x_mm + own_mm[3]),
        )
        tcd_mm = weeks * math.exp(0.06 * cerebellum)
        return cls(
            age_weeks=weeks,
            half_width_mm=a,
            half_length_mm=b,
            vertex_mm=0.98 * a,
            base_mm=1.02 * a,
            egg=0.10,
            shear=shear,
            cavum_mm=(0.40 * b + own_mm[4], 0.19 * weeks, 0.30 * b),
            atrium_width_mm=atrium_mm,
            atria_mm=atria_mm,
            pitch_rad=math.radians(24.0 + 3.0 * pitch),
            cerebellum_mm=(
                tcd_mm / 2 * (1 + 0.02 * asymmetry) + own_mm[5] / 2,
                tcd_mm / 2 * (1 - 0.02 * asymmetry) + own_mm[6] / 2,
            ),
            vermis_mm=0.50 * tcd_mm,
            cisterna_mm=0.23 * weeks - 0.4 * cerebellum + own_mm[7],
        )

    @property
    def occipital_distance_mm(self) -> float:
        """From the cavum along the TC plane to the occipital bone."""
        y, _, _ = self.cavum_mm
        c, s = math.cos(self.pitch_rad), math.sin(self.pitch_rad)
        qa = (c / self.half_length_mm) ** 2 + (s / self.base_mm) ** 2
        qb = -2 * y * c / self.half_length_mm**2
        qc = (y / self.half_length_mm) ** 2 - 1
        return (-qb + math.sqrt(qb**2 - 4 * qa * qc)) / (2 * qa)

    @property
    def cerebellum_distance_mm(self) -> float:
        """From the cavum along the TC plane to the centre of the cerebellum."""
        return self.occipital_distance_mm - BONE_SIGMA_MM - self.cisterna_mm - self.vermis_mm / 2

    @property
    def _widest(self) -> float:
        """Where along the half length, -1 to 1, the head (1 - egg t) sqrt(1 - t²) is widest."""
        return (1 - math.sqrt(1 + 8 * self.egg**2)) / (4 * self.egg)

    def landmarks_mm(self) -> Mapping[str, Array]:
        """Return the (3,) position of each of the LANDMARKS in the head frame."""
        a, b = self.half_width_mm, self.half_length_mm
        widest = self._widest
        left_mm, right_mm = self.cerebellum_mm
        back_mm = self.cerebellum_distance_mm
        positions = (
            (0, b, 0),
            (0, -b, 0),
            (a, widest * b + self.shear * a, 0),
            (-a, widest * b - self.shear * a, 0),
            (0, self.cavum_mm[0], 0),
            (*self.atria_mm[0], 0),
            (*self.atria_mm[1], 0),
            self._on_tc_plane(left_mm, back_mm - self.shear * left_mm),
            self._on_tc_plane(-right_mm, back_mm + self.shear * right_mm),
            self._on_tc_plane(0.0, self.occipital_distance_mm - BONE_SIGMA_MM - self.cisterna_mm / 2),
        )
        return {name: np.array(p, dtype=float) for name, p in zip(LANDMARKS, positions, strict=True)}

    def _on_tc_plane(self, x_mm: float, back_mm: float) -> tuple[float, float, float]:
        return (
            x_mm,
            self.cavum_mm[0] - back_mm * math.cos(self.pitch_rad),
            -back_mm * math.sin(self.pitch_rad),
        )

    def tc_coordinates(self, points_mm: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Return (x, forward, up) of (3, ...) points, from the cavum, along and off the TC plane."""
        x, y, z = points_mm
        c, s = math.cos(self.pitch_rad), math.sin(self.pitch_rad)
        y = y - self.cavum_mm[0]
        return x, c * y + s * z, c * z - s * y

    def skull_radius(self, points_mm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how far out (3, ...) points are: 1 on the skull, 0 at the origin."""
        x, y, z = points_mm
        t = (y - self.shear * x) / self.half_length_mm
        # half_width_mm is the greatest, not that at the origin
        width_mm = self.half_width_mm / ((1 - self.egg * self._widest) * math.sqrt(1 - self._widest**2))
        u = x / (width_mm * (1 - self.egg * np.clip(t, -1.3, 1.3)))
        w = z / np.where(z > 0, np.float32(self.vertex_mm), np.float32(self.base_mm))
        return np.asarray(np.sqrt(u * u + t * t + w * w), dtype=np.float32)

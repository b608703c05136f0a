"""Slices, patients, sequences and scanners of the MR phantom."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lmtrack_ros.core.frames import View
from lmtrack_ros.phantoms.motion import MotionRange
from lmtrack_ros.phantoms.mr.anatomy import Build
from lmtrack_ros.phantoms.mr.imaging import Scanner
from lmtrack_ros.phantoms.mr.wall import Habitus, Tissue
from lmtrack_ros.phantoms.phantom import Preset


@dataclass(frozen=True)
class MrPreset(Preset):
    """A slice through a patient under a scanner.

    Attributes:
        view: how the slice lies.
        shape: (H, W) of the picture, px.
        spacing_mm: pixel pitch.
        thickness_mm: full width of the slice at half its maximum.
        tissue: the sequence's contrast.
        build: of the patient.
        scanner: what the picture suffers.
        above_mm: reach of the diaphragm's motion into the lung.
        chest_mm: (low, high) lift of the front of chest and belly by a usual inhale.
    """

    view: View
    shape: tuple[int, int]
    spacing_mm: float
    thickness_mm: float
    tissue: Tissue
    build: Build
    scanner: Scanner
    above_mm: float = 85.0
    chest_mm: tuple[float, float] = (2.0, 7.0)


_OPPOSED = Tissue(
    lung=0.02, liver=0.38, blood=1.6, fat=-0.95, muscle=0.19, kidney=0.4, medulla=0.62,
    spleen=0.4, fluid=0.9, marrow=0.5, bowel=0.36,
)  # fmt: skip
"""Fat opposes water, as with balanced or spoiled gradient echoes at 3 T: dark lines between them."""

_SPOILED = Tissue(
    lung=0.13, liver=0.62, blood=0.88, fat=1.05, muscle=0.45, kidney=0.55, medulla=0.45,
    spleen=0.5, fluid=0.3, marrow=0.3, bowel=0.5,
)  # fmt: skip
"""Spoiled gradient echo in phase: fat bright."""

_BALANCED = Tissue(
    lung=0.05, liver=0.42, blood=0.95, fat=0.85, muscle=0.24, kidney=0.6, medulla=0.8,
    spleen=0.6, fluid=1.1, marrow=0.55, bowel=0.6,
)  # fmt: skip
"""Balanced steady state at low field: blood and fat bright."""

_LIVER = Build(
    Habitus(1.05, back_fat_mm=(9.0, 15.0), front_fat_mm=(5.0, 12.0), muscle_mm=(18.0, 28.0)),
    isocenter_mm=(-76.0, -73.0, 8.0),
    landmarks_mm={"hepatic_vein": (0.0, 28.0, 4.0), "portal_vein": (0.0, -8.0, -30.0)},
    dome_mm=(0.0, -44.0),
)
_THORAX = Build(
    Habitus(0.78, back_fat_mm=(2.0, 6.0), front_fat_mm=(6.0, 14.0), muscle_mm=(16.0, 24.0)),
    isocenter_mm=(-61.0, 41.0, -2.0),
    landmarks_mm={"pulmonary_vein": (0.0, -2.0, -22.0), "hepatic_vein": (0.0, -74.0, -6.0)},
    dome_mm=(0.0, -8.0),
    landmark_radius_mm=(2.2, 3.4),
)
_CORONAL = Build(
    Habitus(0.9, back_fat_mm=(10.0, 20.0), front_fat_mm=(10.0, 25.0), muscle_mm=(18.0, 28.0)),
    isocenter_mm=(-10.0, 5.0, 4.0),
    landmarks_mm={
        "hepatic_vein": (-70.0, -48.0, 0.0),
        "portal_vein": (-34.0, -78.0, 0.0),
        "pulmonary_vein": (-68.0, 42.0, 0.0),
    },
    dome_mm=(-62.0, 0.0),
)
_MEDIAL = Build(
    Habitus(1.0, back_fat_mm=(8.0, 25.0), front_fat_mm=(8.0, 30.0), muscle_mm=(22.0, 32.0)),
    isocenter_mm=(-8.0, -60.0, 4.0),
    landmarks_mm={"hepatic_vein": (0.0, 6.0, 30.0), "portal_vein": (0.0, -14.0, 0.0)},
    dome_mm=(0.0, 44.0),
    landmark_radius_mm=(3.5, 5.0),
)

_BACK_COIL = Scanner(
    coil_reach_mm=95.0,
    front_coil=0.0,
    resolution=(0.85, 0.9),
    apodisation_px=0.55,
    noise=0.011,
    g_factor=2.4,
    floor=0.055,
    residual=0.006,
    ghost=0.06,
    scale=440.0,
    dtype=np.uint16,
    border_px=2.6,
)
_ARRAY = Scanner(
    coil_reach_mm=230.0,
    front_coil=1.1,
    resolution=(0.5, 0.62),
    apodisation_px=0.55,
    noise=0.01,
    g_factor=0.8,
    floor=0.0,
    ghost=0.02,
    scale=190.0,
    dtype=np.uint8,
    black=3.0,
)

_BREATHING = MotionRange(
    peak_to_peak_mm=(16.0, 28.0),
    left_mm=(-4.0, 4.0),
    period_s=(3.2, 4.8),
    amplitude_variation=(0.1, 0.3),
)

PRESETS: Mapping[str, MrPreset] = {
    "liver": MrPreset(
        "sagittal liver at 3 T, noisy, the front dark",
        5.99,
        _BREATHING,
        View.SAGITTAL,
        (176, 140),
        1.818,
        5.0,
        _OPPOSED,
        _LIVER,
        _BACK_COIL,
    ),
    "thorax": MrPreset(
        "sagittal right lung and liver, fine and clean",
        3.18,
        _BREATHING,
        View.SAGITTAL,
        (270, 270),
        1.0,
        4.0,
        _SPOILED,
        _THORAX,
        _ARRAY,
    ),
    "coronal": MrPreset(
        "coronal lungs, heart, liver and spleen",
        4.0,
        _BREATHING,
        View.CORONAL,
        (224, 256),
        1.5,
        6.0,
        _BALANCED,
        _CORONAL,
        replace(
            _ARRAY, resolution=(0.7, 0.8), noise=0.016, ghost=0.04, scale=260.0, black=0.0, dtype=np.uint16
        ),
    ),
    "noisy": MrPreset(
        "sagittal liver at 3 T, the signal near the noise",
        5.99,
        _BREATHING,
        View.SAGITTAL,
        (176, 160),
        1.818,
        5.0,
        _OPPOSED._replace(liver=0.3, blood=1.4, bowel=0.9),
        _LIVER,
        replace(
            _BACK_COIL, coil_reach_mm=90.0, noise=0.009, residual=0.035, g_factor=3.2, ghost=0.12, scale=480.0
        ),
    ),
    "linac": MrPreset(
        "sagittal slice beside the spine at 0.35 T, coarse and quick",
        8.0,
        _BREATHING,
        View.SAGITTAL,
        (100, 100),
        3.5,
        7.0,
        _BALANCED,
        _MEDIAL,
        Scanner(
            coil_reach_mm=220.0,
            front_coil=0.9,
            resolution=(0.9, 0.95),
            apodisation_px=0.4,
            noise=0.03,
            g_factor=0.4,
            floor=0.0,
            ghost=0.05,
            scale=300.0,
            dtype=np.uint16,
        ),
    ),
}
"""The first is the default."""

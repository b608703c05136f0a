"""Attenuation of tissues from their Hounsfield units."""

import numpy as np

from lmtrack_ros.phantoms.xray.solids import Volume
from lmtrack_ros.phantoms.xray.thorax import Beam

AIR_HU = -1000.0


def attenuation(hounsfield: Volume, beam: Beam) -> Volume:
    """Return the linear attenuation in a beam, 1/mm, of (D, H, W) Hounsfield units."""
    return np.interp(
        hounsfield,
        (AIR_HU, -100.0, 40.0, 300.0, 1400.0),
        (0.0, beam.fat, beam.soft, beam.spongy_bone, beam.cortical_bone),
    ).astype(np.float32)

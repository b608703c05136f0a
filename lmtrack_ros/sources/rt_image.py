"""Where the pixels of a DICOM RT Image lie: a detector that turns with the gantry (PS3.3, C.8.8.2)."""

from collections.abc import Sequence

import numpy as np
import pydicom

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import ImageGeometry, Modality, gantry_projection

RT_IMAGE = "RTIMAGE"
"""Its modality."""
_USUAL_ORIENTATION = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
_NEEDED = ("GantryAngle", "RadiationMachineSAD", "RTImageSID", "ImagePlanePixelSpacing")
_TOLERANCE = 1e-3


def rt_geometry(header: pydicom.Dataset, shape: Sequence[int]) -> ImageGeometry | None:
    """Return the geometry of an RT Image, or None where the header lacks an angle, distance or pitch.

    Without a position of the image, its middle lies on the central ray.

    Args:
        header: of the image.
        shape: (H, W) of it.

    Raises:
        UserError: the detector is turned within its plane, or the patient support stands at an angle.
        ValueError: a distance or pitch that cannot be.
    """
    if str(header.get("Modality", "")) != RT_IMAGE or any(header.get(key) is None for key in _NEEDED):
        return None
    orientation = [float(v) for v in header.get("RTImageOrientation") or _USUAL_ORIENTATION]
    angles = [float(header.get(key) or 0) for key in ("XRayImageReceptorAngle", "PatientSupportAngle")]
    if not np.allclose(orientation, _USUAL_ORIENTATION, atol=_TOLERANCE) or not np.allclose(
        np.mod(angles, 360.0), 0.0, atol=_TOLERANCE
    ):
        raise UserError(
            "of RT Images only those are understood whose detector lies along the gantry's axis, "
            "the couch at angle 0"
        )
    row_mm, column_mm = (float(v) for v in header.ImagePlanePixelSpacing)
    height, width = shape
    axis_px = (width - 1) / 2, (height - 1) / 2
    if header.get("RTImagePosition") is not None:
        off_mm = header.get("XRayImageReceptorTranslation") or (0.0, 0.0, 0.0)
        x_mm, y_mm = (float(p) + float(o) for p, o in zip(header.RTImagePosition, off_mm, strict=False))
        axis_px = -x_mm / column_mm, y_mm / row_mm
    return gantry_projection(
        Modality.PORTAL,
        (column_mm, row_mm),
        axis_px,
        float(header.GantryAngle),
        sad_mm=float(header.RadiationMachineSAD),
        sid_mm=float(header.RTImageSID),
    )

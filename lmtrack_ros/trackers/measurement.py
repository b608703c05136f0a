"""From a position in pixels to an estimate in the room: the last step of every tracker."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.geometry import ISOCENTER, ImageGeometry
from lmtrack_ros.core.records import Estimate, Frame, Landmark, LandmarkSet, LatencyStamps, Status

CHI_SQUARE_95 = (0.0, 3.841, 5.991, 7.815)
"""95 % quantile of the squared distance, in standard deviations, over 0 to 3 axes."""


def to_estimate(
    landmark: Landmark,
    geometry: ImageGeometry | None,
    status: Status,
    uv_px: Sequence[float],
    sigma_px: Sequence[float],
    confidence: float,
) -> Estimate:
    """Place a measured pixel in the frame of the geometry.

    A position, radius or covariance that is not known stays NaN or infinite; without geometry that
    is all of them, and no axis counts as observed.

    Args:
        landmark: what was measured; its ``axes`` say which image axes are defined.
        geometry: where the pixels lie, or None.
        status: how far to trust it. A LOST one keeps its pixel but gives no position accuracy.
        uv_px: (2,) or (3,) column, row[, slice].
        sigma_px: standard deviation along each image axis, px, as many as ``uv_px``.
        confidence: in [0, 1].
    """
    pixel = tuple(float(v) for v in uv_px)
    if geometry is None or not np.isfinite(pixel).all():
        return Estimate(landmark.id, status, pixel, confidence=confidence)
    if status is Status.LOST:
        return Estimate(landmark.id, status, pixel, geometry.position_mm(pixel), confidence=confidence)
    observed = geometry.observed_axes(landmark.axes)
    variance_px2 = np.square(sigma_px)
    return Estimate(
        id=landmark.id,
        status=status,
        uv_px=pixel,
        position_mm=geometry.position_mm(pixel),
        covariance_mm2=geometry.covariance_mm2(variance_px2, landmark.axes),
        observed=observed,
        confidence=confidence,
        radius_mm=_radius_in_plane(landmark.axes, geometry, variance_px2) if any(observed) else np.inf,
    )


def to_set(frame: Frame, model: str, estimates: Sequence[Estimate]) -> LandmarkSet:
    """Return the estimates of one frame, in the frame of reference of its geometry."""
    return LandmarkSet(
        stamp_ns=frame.stamp_ns,
        estimates=tuple(estimates),
        frame_id=frame.geometry.frame_id if frame.geometry else ISOCENTER,
        model=model,
        stamps=LatencyStamps(acquired_ns=frame.stamp_ns, received_ns=frame.received_ns),
    )


def _radius_in_plane(
    axes: Sequence[bool], geometry: ImageGeometry, variance_px2: NDArray[np.float64]
) -> float:
    variance_mm2 = variance_px2 * np.square(geometry.plane_spacing_mm[: len(variance_px2)])
    return radius_mm(variance_mm2[np.array(axes)])


def radius_mm(variance_mm2: NDArray[np.floating[Any]]) -> float:
    """Return the 95 % radius of an error with (N,) variances along its axes, one to three.

    Exact where they are equally wide or one is much wider than the rest, and within 4 % between.
    """
    widest_first = np.sort(variance_mm2)[::-1]
    return float(np.sqrt(np.diff(CHI_SQUARE_95)[: len(widest_first)] @ widest_first))

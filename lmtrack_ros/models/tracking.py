"""What every model's tracker does alike: from raw measurements to estimates that mean what they say."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.geometry import ImageGeometry
from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.core.records import Estimate, Frame, Landmark, Status
from lmtrack_ros.models.calibration import Calibration
from lmtrack_ros.trackers.measurement import to_estimate

_MARKING_MM = 0.2
"""Standard deviation that no evidence can reduce: what the marking of a landmark is uncertain by."""


@dataclass(frozen=True)
class Trust:
    """How far a model is trusted; its own uncertainty is calibrated first."""

    tolerance_mm: float = parameter(
        3.0, "error that the confidence allows for, mm", minimum=0.1, maximum=100.0
    )
    tracked_confidence: float = parameter(
        0.5, "least confidence of a TRACKED estimate", minimum=0.1, maximum=1.0
    )


@dataclass(frozen=True, eq=False)
class Measurement:
    """One way in which a landmark was found in a frame.

    Attributes:
        kind: of measurement; each kind has a calibration of its own.
        uv_px: (2,) column and row in the image, or (3,) column, row and slice in the volume.
        sigma_px: (2,) or (3,) uncalibrated standard deviation along each.
    """

    kind: str
    uv_px: NDArray[np.float64]
    sigma_px: NDArray[np.float64]


class Measuring(Protocol):
    """A tracker that can be calibrated.

    Attributes:
        calibration: in force; may be replaced.
    """

    calibration: Calibration

    @property
    def calibrated_in_turn(self) -> tuple[tuple[str, ...], ...]:
        """Groups of kinds; a later group depends on the calibration of the earlier ones."""

    def initialize(self, frame: Frame, landmarks: Sequence[Landmark]) -> None:
        """See :class:`~lmtrack_ros.trackers.protocol.Tracker`."""

    def measure(self, frame: Frame) -> Sequence[Sequence[Measurement]]:
        """Return for each landmark how it was found; the last is what is reported, none: it was not."""


def raw_sigma_mm(measured: Measurement, spacing_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (2,) or (3,) uncalibrated standard deviation of a measurement, with that of marking, mm.

    Args:
        measured: in pixels.
        spacing_mm: (2,) or (3,) pixel pitch along columns, rows and slices.
    """
    return np.asarray(np.hypot(measured.sigma_px * spacing_mm, _MARKING_MM))


def judged(
    landmark: Landmark,
    measured: Sequence[Measurement],
    geometry: ImageGeometry | None,
    calibration: Calibration,
    trust: Trust,
) -> Estimate:
    """Return the estimate that follows from measurements.

    The confidence is how likely the error is within the tolerance, if errors are normal with the calibrated
    standard deviation.

    Args:
        landmark: that was measured.
        measured: the last one counts; none: the landmark is LOST.
        geometry: of the frame.
        calibration: of the model's weights.
        trust: see :class:`Trust`.
    """
    if not measured:
        return Estimate(landmark.id)
    last = measured[-1]
    count = len(last.uv_px)
    spacing_mm = np.array(geometry.plane_spacing_mm[:count]) if geometry else np.ones(count)
    sigma_mm = calibration.sigma(last.kind, raw_sigma_mm(last, spacing_mm), sum(landmark.axes))
    if not np.isfinite(sigma_mm).all():
        # how far off it may be is not known, so neither is how likely it is right
        unknown = to_estimate(landmark, geometry, Status.LOST, last.uv_px.tolist(), (np.inf,) * count, 0.0)
        return replace(unknown, status=Status.UNCERTAIN)
    length_mm = float(np.linalg.norm(sigma_mm[np.array(landmark.axes)]))
    confidence = float(1 - np.exp(-0.5 * (trust.tolerance_mm / length_mm) ** 2))
    status = Status.TRACKED if confidence >= trust.tracked_confidence else Status.UNCERTAIN
    sigma_px = (sigma_mm / spacing_mm).tolist()
    return to_estimate(landmark, geometry, status, last.uv_px.tolist(), sigma_px, confidence)

"""The field of view of a convex ultrasound array that a motor sweeps about an axis."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

ARRAY_RADIUS_MM = 45.0
SWEEP_RADIUS_MM = 25.0
ARRAY_HALF_RAD = np.deg2rad(33.0)
SWEEP_HALF_RAD = np.deg2rad(33.0)

# standard deviations of the point spread: along the beam, between beams, between planes
_AXIAL_MM = 0.45
_BEAM_RAD = 0.0065
_PLANE_RAD = 0.0125


@dataclass(frozen=True, eq=False)
class SweptProbe:
    """Beams from a probe at the middle of a volume's top, and their conversion to voxels.

    A beam leaves the array at an angle from the array's axis and runs outwards; the plane of the array
    is tilted by the angle of the sweep. Scan data are (P, R, B): planes, range samples, beams. Points are
    float32 in the volume's own axes (columns, rows, slices), mm from the volume's centre.

    Attributes:
        shape: (D, H, W) of the volume.
        spacing_mm: of the voxels.
        range_mm: between samples along a beam.
        beam_rad: between beams.
        plane_rad: between planes.
    """

    shape: tuple[int, int, int]
    spacing_mm: float
    range_mm: float
    beam_rad: float
    plane_rad: float

    @classmethod
    def at_resolution(cls, shape: tuple[int, int, int], spacing_mm: float, grid_mm: float) -> "SweptProbe":
        """Return the probe whose beams far down lie about as close as points of a grid."""
        return cls(shape, spacing_mm, grid_mm, 0.011 * grid_mm, 0.016 * grid_mm)

    @property
    def psf(self) -> tuple[float, float, float]:
        """Standard deviations of the point spread in scan data, samples; at least what they can hold."""
        return (
            _PLANE_RAD / self.plane_rad,
            max(_AXIAL_MM / self.range_mm, 0.5),
            _BEAM_RAD / self.beam_rad,
        )

    @property
    def depth_mm(self) -> float:
        """Of the field of view."""
        return (self.shape[1] - 1) * self.spacing_mm

    def axes(self) -> tuple[NDArray[np.float32], ...]:
        """Return the (P,) angles of planes, (R,) ranges, mm, and (B,) angles of beams."""
        planes = round(SWEEP_HALF_RAD / self.plane_rad)
        samples = int(self.depth_mm / self.range_mm) + 1
        beams = round(ARRAY_HALF_RAD / self.beam_rad)
        return (
            np.arange(-planes, planes + 1, dtype=np.float32) * np.float32(self.plane_rad),
            np.arange(samples, dtype=np.float32) * np.float32(self.range_mm),
            np.arange(-beams, beams + 1, dtype=np.float32) * np.float32(self.beam_rad),
        )

    def points_mm(self) -> NDArray[np.float32]:
        """Return the (3, P, R, B) points that are sampled."""
        tilt, range_mm, angle = np.ix_(*self.axes())
        across = (ARRAY_RADIUS_MM + range_mm) * np.sin(angle)
        along = (ARRAY_RADIUS_MM + range_mm) * np.cos(angle) - ARRAY_RADIUS_MM + SWEEP_RADIUS_MM
        points = np.broadcast_arrays(
            across,
            along * np.cos(tilt) - SWEEP_RADIUS_MM - self.depth_mm / 2,
            along * np.sin(tilt),
        )
        return np.stack(points).astype(np.float32)

    def voxels_mm(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the (3, N) centres of voxels by their (N,) flat indices."""
        slice_, row, column = np.unravel_index(indices, self.shape)
        points = np.stack([column, row, slice_]).astype(np.float32)
        points -= (np.array(self.shape[::-1], dtype=np.float32)[:, None] - 1) / 2
        return points * np.float32(self.spacing_mm)

    def scan_coordinates(self, points_mm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return where in the scan data (3, N) points are: plane, sample, beam."""
        x, y, z = points_mm
        down = y + np.float32(SWEEP_RADIUS_MM + self.depth_mm / 2)
        tilt = np.arctan2(z, down)
        along = np.hypot(z, down) - np.float32(SWEEP_RADIUS_MM - ARRAY_RADIUS_MM)
        angle = np.arctan2(x, along)
        range_mm = np.hypot(x, along) - np.float32(ARRAY_RADIUS_MM)
        tilts, _, angles = self.axes()
        return np.stack(
            [
                (tilt - tilts[0]) / np.float32(self.plane_rad),
                range_mm / np.float32(self.range_mm),
                (angle - angles[0]) / np.float32(self.beam_rad),
            ]
        )


class ScanConverter:
    """Resamples scan data to voxels; 0 outside the field of view.

    Args:
        probe: what scanned.
    """

    def __init__(self, probe: SweptProbe) -> None:
        self._shape = probe.shape
        last = np.array([len(axis) - 1 for axis in probe.axes()])[:, None]
        seen, scan = [], []
        # by slices, for the memory's sake
        for indices in np.arange(np.prod(probe.shape)).reshape(probe.shape[0], -1):
            at = probe.scan_coordinates(probe.voxels_mm(indices))
            inside = ((at >= 0) & (at <= last)).all(axis=0)
            seen.append(indices[inside])
            scan.append(at[:, inside])
        self.seen = np.concatenate(seen)
        """(N,) flat indices of the voxels in the field of view."""
        self._scan = np.concatenate(scan, axis=1)

    def volume(self, scan: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the (D, H, W) volume of (P, R, B) grey levels from 0 to 255."""
        volume = np.zeros(self._shape, dtype=np.uint8)
        volume.reshape(-1)[self.seen] = map_coordinates(scan, self._scan, order=1, mode="nearest") + 0.5
        return volume

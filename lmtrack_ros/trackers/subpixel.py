"""Where the peak of a score map lies between its samples, and how sharp it is."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Peak(NamedTuple):
    """The maximum of a quadratic surface.

    Attributes:
        row: between samples.
        column: likewise.
        row_curvature: by how much the score bends down along rows, per px²; 0 where it does not.
        column_curvature: likewise along columns.
    """

    row: float
    column: float
    row_curvature: float
    column_curvature: float


def refine_peak(scores: NDArray[np.floating], row: int, column: int) -> Peak:
    """Return the maximum near a sampled one.

    The surface is the least-squares fit to the 3 × 3 neighbourhood, which averages noise that a
    parabola along each axis would follow. Where that has no maximum within one sample (a ridge,
    the edge of the map), a parabola along each axis decides, and where that has none, the sample.

    Args:
        scores: (H, W) map.
        row: of the greatest sample.
        column: of the greatest sample.
    """
    along_row, row_curvature = _parabola(scores[:, column], row)
    along_column, column_curvature = _parabola(scores[row, :], column)
    separate = Peak(along_row, along_column, row_curvature, column_curvature)
    if not (0 < row < scores.shape[0] - 1 and 0 < column < scores.shape[1] - 1):
        return separate
    s = scores[row - 1 : row + 2, column - 1 : column + 2].astype(np.float64)
    gradient = np.array([(s[2] - s[0]).sum(), (s[:, 2] - s[:, 0]).sum()]) / 6
    d_rr = (s[0] - 2 * s[1] + s[2]).sum() / 3
    d_cc = (s[:, 0] - 2 * s[:, 1] + s[:, 2]).sum() / 3
    d_rc = (s[0, 0] - s[0, 2] - s[2, 0] + s[2, 2]) / 4
    determinant = d_rr * d_cc - d_rc**2
    if not (d_rr < 0 and determinant > 0):
        return separate
    row_shift = (d_rc * gradient[1] - d_cc * gradient[0]) / determinant
    column_shift = (d_rc * gradient[0] - d_rr * gradient[1]) / determinant
    if max(abs(row_shift), abs(column_shift)) > 1:
        return separate
    return Peak(row + float(row_shift), column + float(column_shift), -float(d_rr), -float(d_cc))


def _parabola(values: NDArray[np.floating], index: int) -> tuple[float, float]:
    """Return the position of the peak near a sample and its curvature; the sample and 0 without one."""
    if not 0 < index < len(values) - 1:
        return float(index), 0.0
    before, peak, after = (float(v) for v in values[index - 1 : index + 2])
    curvature = 2 * peak - before - after
    if not curvature > 0:
        return float(index), 0.0
    return index + float(np.clip(0.5 * (after - before) / curvature, -0.5, 0.5)), curvature

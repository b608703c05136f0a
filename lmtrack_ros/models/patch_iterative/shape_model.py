"""Where the landmarks of one volume lie, in few numbers (eqs. 3 and 4)."""

from typing import NamedTuple

import torch
from torch import Tensor

_SINGLE_DEVIATION_MM = 20.0


class ShapeModel(NamedTuple):
    """A linear model of the coordinates of L landmarks, mm from the volume's centre.

    Attributes:
        mean_mm: (3L,) X̄.
        axes: (3L, n_b) W, orthonormal columns, the greatest variance first.
        deviations_mm: (n_b,) standard deviation along each.
    """

    mean_mm: Tensor
    axes: Tensor
    deviations_mm: Tensor

    def to(self, device: torch.device) -> "ShapeModel":
        """Return the model on a device."""
        return ShapeModel(*(part.to(device) for part in self))

    def positions_mm(self, b: Tensor) -> Tensor:
        """Return (..., L, 3) positions of (..., n_b) parameters (eq. 3)."""
        return (self.mean_mm + b @ self.axes.T).reshape(*b.shape[:-1], -1, 3)

    def parameters(self, positions_mm: Tensor) -> Tensor:
        """Return (..., n_b) parameters of (..., L, 3) positions (eq. 4)."""
        return (positions_mm.flatten(-2) - self.mean_mm) @ self.axes


def fit(positions_mm: Tensor, components: int) -> ShapeModel:
    """Return the principal components of (N, L, 3) positions; of one landmark, its coordinates themselves."""
    flat = positions_mm.flatten(1).double()
    mean = flat.mean(0)
    if positions_mm.shape[1] == 1:
        return ShapeModel(torch.zeros(3), torch.eye(3), torch.full((3,), _SINGLE_DEVIATION_MM))
    _, values, axes = torch.linalg.svd(flat - mean, full_matrices=False)
    kept = axes[:components].T
    deviations = values[:components] / max(len(flat) - 1, 1) ** 0.5
    return ShapeModel(mean.float(), kept.float(), deviations.float())

"""Local contrast: what stands out from its surroundings, however bright they are."""

import torch
from torch import Tensor, nn

_SIGMA = 1 / 10
"""Of the surroundings, as a part of the image's side: wider than a tumour, narrower than a lung."""
_NOISE = 0.02
"""Grey values that differ less are alike."""


class LocalContrast(nn.Module):
    """Subtracts the mean of the surroundings and divides by their standard deviation.

    Next to heart and spine a tumour is a small step of grey on a large one; so both are of a kind.

    Args:
        side: of the images, px.
    """

    weights: Tensor

    def __init__(self, side: int) -> None:
        super().__init__()
        places = torch.arange(side, dtype=torch.float32)
        weights = torch.exp(-(((places[:, None] - places) / (_SIGMA * side)) ** 2) / 2)
        self.register_buffer("weights", weights / weights.sum(1, keepdim=True), persistent=False)

    def forward(self, grey: Tensor) -> Tensor:
        """Return the local contrast of (..., S, S) grey values."""
        off = grey - self._mean(grey)
        contrast: Tensor = off / torch.sqrt(self._mean(off * off) + _NOISE**2)
        return contrast

    def _mean(self, values: Tensor) -> Tensor:
        mean: Tensor = self.weights @ values @ self.weights.T
        return mean

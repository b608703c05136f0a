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
        side: of whole images, px.
    """

    nearness: Tensor

    def __init__(self, side: int) -> None:
        super().__init__()
        places = torch.arange(side, dtype=torch.float32)
        nearness = torch.exp(-(((places[:, None] - places) / (_SIGMA * side)) ** 2) / 2)
        self.register_buffer("nearness", nearness, persistent=False)

    def forward(self, grey: Tensor) -> Tensor:
        """Return the local contrast of (..., S, S) grey values of an image or a part of it."""
        off = grey - self._mean(grey)
        contrast: Tensor = off / torch.sqrt(self._mean(off * off) + _NOISE**2)
        return contrast

    def _mean(self, values: Tensor) -> Tensor:
        side = values.shape[-1]
        nearness = self.nearness[:side, :side]
        weights = nearness / nearness.sum(1, keepdim=True)
        mean: Tensor = weights @ values @ weights.T
        return mean

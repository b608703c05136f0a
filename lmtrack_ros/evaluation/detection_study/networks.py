"""The residual network of the baselines, at realtime size, and contrastive pre-training of it.

The paper's baselines are ResNet-50 on 224 × 224 pixels, trained for days; here they are ResNet-18, as the
model itself is of realtime size.
"""

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

_MEAN, _DEVIATION = 0.5, 0.25
_PROJECTED = 128
_TEMPERATURE = 0.1


class Residual(nn.Module):
    """ResNet-18 on grey squares: (B, S, S) to (B, 512), pooled over all places."""

    width = 512

    def __init__(self) -> None:
        super().__init__()
        self.layers = torchvision.models.resnet18()
        self.layers.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        self.layers.fc = nn.Identity()
        self.to(memory_format=torch.channels_last)

    def forward(self, grey: Tensor) -> Tensor:
        """Return the (B, 512) features of (B, S, S) grey squares."""
        features: Tensor = self.layers(((grey - _MEAN) / _DEVIATION)[:, None])
        return features


class Contrastive(nn.Module):
    """SimCLR (Chen et al. 2020, ICML): an encoder with the projection head that its loss is taken after."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Residual()
        width = Residual.width
        self.head = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, _PROJECTED)
        )

    def loss(self, one: Tensor, other: Tensor) -> Tensor:
        """Return the loss of two (B, S, S) variations of the same B squares."""
        projected = self.head(self.encoder(torch.cat([one, other])))
        return nt_xent(*projected.chunk(2))


def nt_xent(one: Tensor, other: Tensor, temperature: float = _TEMPERATURE) -> Tensor:
    """Return the normalised temperature-scaled cross-entropy, SimCLR equation (1), a scalar.

    Args:
        one: (B, F) projections.
        other: (B, F) of the same samples, varied otherwise.
        temperature: by which cosines are divided.
    """
    count = len(one)
    projected = functional.normalize(torch.cat([one, other]), dim=-1)
    likeness = projected @ projected.T / temperature
    likeness = likeness.masked_fill(torch.eye(2 * count, dtype=torch.bool), -torch.inf)
    partner = torch.arange(2 * count).roll(count)
    return functional.cross_entropy(likeness, partner)

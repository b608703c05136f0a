"""The patch-based iterative network (fig. 2c), and the shape model it steers."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lmtrack_ros.models.patch_iterative.configuration import PatchIterativeConfiguration
from lmtrack_ros.models.patch_iterative.patches import PLANES
from lmtrack_ros.models.patch_iterative.shape_model import ShapeModel


class Move(NamedTuple):
    """Where B points should go.

    Attributes:
        displacement: (B, n_o) d, mm.
        logits: (B, 2 n_o) of the directions c₁⁺, c₁⁻, c₂⁺, …; their softmax is P.
    """

    displacement: Tensor
    logits: Tensor


class PatchNetwork(nn.Module):
    """Five convolutions, each with a pooling, shared; then three fully connected layers for each task.

    Args:
        c: sizes.
        channels: of the patches.
        outputs: n_o.
        unit_mm: displacement that is one inside the network.
        said: numbers beside a patch that the fully connected layers get.
    """

    def __init__(
        self, c: PatchIterativeConfiguration, channels: int, outputs: int, unit_mm: float, said: int = 0
    ) -> None:
        super().__init__()
        self._unit_mm = unit_mm
        layers: list[nn.Module] = []
        for before, after in zip((channels, *c.widths[:-1]), c.widths, strict=True):
            layers += [
                nn.Conv2d(before, after, 3, padding=c.padding_px),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2),
            ]
        self.shared = nn.Sequential(*layers, nn.Flatten())
        features = c.widths[-1] * c.features_px**2 + said
        self.regression = _fully_connected(features, c, outputs)
        self.classification = _fully_connected(features, c, 2 * outputs)
        self.apply(_initialise)

    def forward(self, patches: Tensor, said: Tensor | None = None) -> Move:
        """Return the moves of (B, C, s, s) patches."""
        features = self.shared(patches)
        if said is not None:
            features = torch.cat([features, said], dim=1)
        return Move(self.regression(features) * self._unit_mm, self.classification(features))


class PatchIterative(nn.Module):
    """The network for all landmarks at once, the shape model, and the network that refines, if there is one.

    Attributes:
        configuration: of both networks.
        coarse: takes (B, 3 L, s, s) patches along the axes of the volume.
        fine: takes (B, 3, s, s) patches round single landmarks, along the axes of the anatomy, and (B, L)
            which landmark each is of, one-hot; or None.
    """

    mean_mm: Tensor
    axes: Tensor
    deviations_mm: Tensor

    def __init__(self, configuration: PatchIterativeConfiguration) -> None:
        super().__init__()
        c = configuration
        self.configuration = c
        count = len(c.landmarks)
        self.coarse = PatchNetwork(c, PLANES * count, c.outputs, c.unit_mm)
        self.fine = PatchNetwork(c, PLANES, 3, c.fine_unit_mm, said=count) if c.refined else None
        self.register_buffer("mean_mm", torch.zeros(3 * count))
        self.register_buffer("axes", torch.zeros(3 * count, c.outputs))
        self.register_buffer("deviations_mm", torch.zeros(c.outputs))

    @property
    def shape_model(self) -> ShapeModel:
        """Return the shape model that the network is trained with."""
        return ShapeModel(self.mean_mm, self.axes, self.deviations_mm)

    def take(self, model: ShapeModel) -> None:
        """Take a shape model over."""
        for name, values in model._asdict().items():
            getattr(self, name).copy_(values)


def one_hot(count: int, landmarks: int, device: torch.device) -> Tensor:
    """Return (count L, L): which landmark each patch is of, those of one volume one after the other."""
    which = torch.arange(landmarks, device=device).repeat(count)
    return functional.one_hot(which, landmarks).float()


def _fully_connected(features: int, c: PatchIterativeConfiguration, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (features, c.hidden):
        layers += [nn.Linear(before, c.hidden), nn.ReLU(inplace=True), nn.Dropout(c.dropout)]
    return nn.Sequential(*layers, nn.Linear(c.hidden, outputs))


def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)

"""The template matching network: where in an image a patch belongs, and how sure that is.

Frueh et al. 2022, section II.B and figure 1. Two encoders that share no weights, one for the image and one
for the patch; their feature vectors, stacked, go through fully connected layers to four linear outputs.

Positions are pixels of the network's input: (column, row), 0 at the centre of the top-left pixel.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from lmtrack_ros.models.matching import Matching
from lmtrack_ros.models.template_matching.encoders import Features, create_encoder

_LEAST_SIGMA_PX = 0.05
"""No standard deviation is smaller: a loss that rewards certainty without end would not train."""


@dataclass(frozen=True)
class NetworkSize:
    """The sizes of a network.

    Attributes:
        encoder: one of ``encoders.ENCODERS``, for image and patch alike.
        image_px: side of the square image.
        patch_px: side of the square patch.
        hidden: neurons of each fully connected layer but the last.
        depth: how many fully connected layers; the last has four linear outputs (section III.E.3).
        dropout: between them.
        matching: whether there is a :class:`.Matching`; the paper has none.
    """

    encoder: str
    image_px: int
    patch_px: int
    hidden: int
    depth: int
    dropout: float
    matching: bool


class Found(NamedTuple):
    """Where patches belong.

    Attributes:
        place_px: (B, N, 2) x̂ and ŷ, px.
        sigma_px: (B, N, 2) σ̂x and σ̂y, px.
        log_shares: (B, N, h·w) of :class:`.Matching`, or None.
    """

    place_px: Tensor
    sigma_px: Tensor
    log_shares: Tensor | None


class TemplateMatchingNetwork(nn.Module):
    """f^θ of equation (2).

    Args:
        size: of everything in it.
        pretrained: whether the encoders start from ImageNet's weights, as the paper's do.

    Raises:
        UserError: there is no encoder of that name.
    """

    def __init__(self, size: NetworkSize, pretrained: bool = False) -> None:
        super().__init__()
        self.size = size
        self.image_encoder = create_encoder(size.encoder, pretrained)
        self.patch_encoder = create_encoder(size.encoder, pretrained)
        image = _features(self.image_encoder, size.image_px)
        patch = _features(self.patch_encoder, size.patch_px)
        self.matching: Matching | None = None
        if size.matching:
            self.matching = Matching(image.map.shape[1], image.map.shape[-1], patch.map.shape[-1])
        moments = self.matching.moments if self.matching else 0
        self._widths = [image.vector.shape[1], patch.vector.shape[1], moments]
        widths = [sum(self._widths), *[size.hidden] * (size.depth - 1), 4]
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths))
        self.dropout = nn.Dropout(size.dropout)

    def encode_patches(self, patches: Tensor) -> Tensor:
        """Return what is needed of each patch; computed once for a landmark, not once for a frame.

        Args:
            patches: (..., patch_px, patch_px), grey values as ``grey.scaled`` gives them.

        Returns:
            (..., E): the patch's share of the first fully connected layer, and its template for the matching.
        """
        features = self.patch_encoder(patches.reshape(-1, 1, *patches.shape[-2:]))
        encoded = functional.linear(features.vector, self._first(1))
        if self.matching:
            encoded = torch.cat([encoded, self.matching.template(features.map)], dim=-1)
        return encoded.reshape(*patches.shape[:-2], -1)

    def find(self, images: Tensor, patches: Tensor) -> Found:
        """Return where patches belong in images.

        Args:
            images: (B, image_px, image_px), grey values as ``grey.scaled`` gives them.
            patches: (B, N, E) of :meth:`encode_patches`: N patches to be found in each image.
        """
        first = self._first_layer
        image = self.image_encoder(images[:, None])
        # the first layer of the stacked vectors, without stacking them anew for every patch
        share = functional.linear(image.vector, self._first(0), first.bias)
        hidden = patches[..., : first.out_features] + share[:, None]
        log_shares = None
        if self.matching:
            log_shares = self.matching.log_shares(image.map, patches[..., first.out_features :])
            hidden = hidden + functional.linear(self.matching.describe(log_shares), self._first(2))
        for layer in self.layers[1:]:
            hidden = layer(self.dropout(functional.relu(hidden)))
        place, spread = torch.split(hidden, 2, dim=-1)
        image_px = self.size.image_px
        # the last two outputs are logarithms, so that no standard deviation is negative
        sigma_px = _LEAST_SIGMA_PX + image_px / 8 * torch.exp(spread.clamp(-8.0, 4.0))
        return Found((place + 0.5) * (image_px - 1), sigma_px, log_shares)

    def forward(self, images: Tensor, patches: Tensor) -> Tensor:
        """Return the (B, N, 4) x̂, ŷ, σ̂x and σ̂y of :meth:`find`, px: what is run on every frame."""
        found = self.find(images, patches)
        return torch.cat([found.place_px, found.sigma_px], dim=-1)

    @property
    def _first_layer(self) -> nn.Linear:
        return cast(nn.Linear, self.layers[0])

    def _first(self, part: int) -> Tensor:
        """Return the first layer's weights for image, patch or matches."""
        return torch.split(self._first_layer.weight, self._widths, dim=1)[part]


def _features(encoder: nn.Module, side_px: int) -> Features:
    """Return what an encoder makes of a blank image, for its shapes."""
    with torch.no_grad():
        features: Features = encoder.eval()(torch.zeros(1, 1, side_px, side_px))
    encoder.train()
    return features

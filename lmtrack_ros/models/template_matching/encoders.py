"""Encoders of images and patches: the small one of the realtime preset, and those of the paper.

Frueh et al. 2022, sections II.B and III.E.2. Each takes (B, 1, S, S) and returns a feature vector for each
image, and a map of features for :mod:`.matching`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torchvision
from torch import Tensor, nn

from lmtrack_ros.core.errors import unknown_name

_IMAGENET_MEAN, _IMAGENET_DEVIATION = 0.449, 0.226
"""Of grey values: the mean over the three colours."""


class Features(NamedTuple):
    """What an encoder sees.

    Attributes:
        vector: (B, F) of the whole image.
        map: (B, C, h, w) of its places.
    """

    vector: Tensor
    map: Tensor


def create_encoder(name: str, pretrained: bool) -> nn.Module:
    """Return an encoder of square images.

    Args:
        name: one of :data:`ENCODERS`.
        pretrained: whether to start from ImageNet's weights, which torchvision then loads or finds in its
        cache.

    Raises:
        UserError: there is no encoder of that name.
    """
    if name not in ENCODERS:
        raise unknown_name("encoder", name, ENCODERS)
    return ENCODERS[name](pretrained)


class _Small(nn.Module):
    """A few convolutions. The last map is kept whole in the vector, so that places are not pooled away."""

    def __init__(self) -> None:
        super().__init__()
        # first in blocks, for most of the time would go into the finest maps
        self.places = nn.Sequential(
            *_convolution(1, 24, 8, 4), *_convolution(24, 48, 3, 2), *_convolution(48, 48, 3, 1)
        )
        self.whole = nn.Sequential(
            *_convolution(48, 64, 3, 2),
            *_convolution(64, 64, 3, 2),
            *_convolution(64, 16, 1, 1),
            nn.Flatten(),
        )

    def forward(self, images: Tensor) -> Features:
        places = self.places(images)
        return Features(self.whole(places), places)


class _Published(nn.Module):
    """A network of torchvision without its classifier, on grey images."""

    def __init__(self, layers: nn.Module, pool: nn.Module) -> None:
        super().__init__()
        self.layers = layers
        self.pool = pool

    def forward(self, images: Tensor) -> Features:
        places = self.layers(((images - _IMAGENET_MEAN) / _IMAGENET_DEVIATION).expand(-1, 3, -1, -1))
        return Features(torch.flatten(self.pool(places), 1), places)


def _convolution(inputs: int, outputs: int, side: int, stride: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, side, stride, (side - 1) // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _weights(pretrained: bool) -> str | None:
    return "IMAGENET1K_V1" if pretrained else None


def _vgg16(pretrained: bool) -> nn.Module:
    # the classifier of VGG16 takes its last map as 7 × 7 places, and so does ours
    return _Published(
        torchvision.models.vgg16(weights=_weights(pretrained)).features, nn.AdaptiveAvgPool2d(7)
    )


def _resnet50(pretrained: bool) -> nn.Module:
    network = torchvision.models.resnet50(weights=_weights(pretrained))
    return _Published(nn.Sequential(*list(network.children())[:-2]), nn.AdaptiveAvgPool2d(1))


def _densenet121(pretrained: bool) -> nn.Module:
    network = torchvision.models.densenet121(weights=_weights(pretrained))
    return _Published(nn.Sequential(network.features, nn.ReLU()), nn.AdaptiveAvgPool2d(1))


def _convnext_small(pretrained: bool) -> nn.Module:
    network = torchvision.models.convnext_small(weights=_weights(pretrained))
    return _Published(network.features, nn.AdaptiveAvgPool2d(1))


ENCODERS: dict[str, Callable[[bool], nn.Module]] = {
    "small": lambda pretrained: _Small(),
    "vgg16": _vgg16,
    "resnet50": _resnet50,
    "densenet121": _densenet121,
    "convnext_small": _convnext_small,
}

"""The loss of LandmarkNet: mean square error of maps, at the end and at every level of the pyramid."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from lmtrack_ros.models.landmark_net.backbone import STRIDES
from lmtrack_ros.models.landmark_net.configuration import LandmarkNetConfiguration
from lmtrack_ros.models.landmark_net.heat_maps import heat_maps
from lmtrack_ros.models.landmark_net.network import Found

_SCALE = 1000.0
"""A landmark is a thousandth of a map; without it, losses are read in powers of ten."""


def map_losses(
    found: Found, places_px: Tensor, configuration: LandmarkNetConfiguration
) -> Mapping[str, Tensor]:
    """Return the loss of the maps, and of those at the pyramid's levels together.

    Args:
        found: by the network.
        places_px: (B, K, N, 2) column and row in the image, of each kind; NaN of none.
        configuration: of the network.
    """
    c = configuration
    levels = [map_loss(maps, places_px, n, c) for maps, n in zip(found.intermediate, STRIDES, strict=True)]
    return {
        "maps": map_loss(found.maps, places_px, c.map_stride, c),
        "intermediate": c.intermediate_weight * sum(levels[1:], levels[0]) / len(levels),
    }


def map_loss(maps: Tensor, places_px: Tensor, stride: int, configuration: LandmarkNetConfiguration) -> Tensor:
    """Return the mean square error of (B, K, H, W) maps of so many pixels of the image to one of theirs."""
    c = configuration
    wanted = heat_maps(places_px, c.image_px // stride, stride, c.sigma_px)
    return _SCALE * functional.mse_loss(maps, wanted)

"""What is to be chosen of a LandmarkNet, and the sizes that are offered."""

from dataclasses import dataclass

from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.models.model import Configuration

_COARSEST = 32
"""Stride of the last stage."""


@dataclass(frozen=True)
class LandmarkNetConfiguration(Configuration):
    """Of network, losses and optimisation; the defaults are the realtime preset."""

    image_px: int = parameter(
        384, "side of the square to which the whole image is brought, px", minimum=64, maximum=1024
    )
    width: int = parameter(
        16, "of the first stage's bottlenecks; twice as many in each further one", minimum=4
    )
    pyramid_channels: int = parameter(48, "of each level of the pyramid", minimum=4)
    detection_channels: int = parameter(32, "that each level gives to the detection network", minimum=4)
    map_stride: int = parameter(
        4, "pixels of the image to one of the maps that are found: 1, 2 or 4", minimum=1, maximum=4
    )
    sigma_px: float = parameter(
        3.0, "of the Gaussian at a landmark, pixels of the image; at least one pixel of the map", minimum=1.0
    )
    intermediate_weight: float = parameter(0.1, "of the loss at the levels of the pyramid", minimum=0.0)
    images_per_step: int = parameter(8, "in a batch", minimum=1)
    steps_per_epoch: int = parameter(250, "batches", minimum=1)
    learning_rate: float = parameter(2e-3, "of Adam, at first", minimum=0.0)
    decay: float = parameter(0.85, "factor of the learning rate after each epoch", minimum=0.0, maximum=1.0)

    def __post_init__(self) -> None:
        if self.image_px % _COARSEST:
            raise ValueError(f"image_px must be a multiple of {_COARSEST}")
        if _COARSEST % self.map_stride:
            raise ValueError("map_stride must be 1, 2 or 4")


REALTIME = LandmarkNetConfiguration(epochs=16)

PAPER = LandmarkNetConfiguration(
    epochs=4000, width=64, pyramid_channels=256, detection_channels=128, map_stride=1, images_per_step=18,
    intermediate_weight=1.0, steps_per_epoch=291, learning_rate=1e-4, decay=1.0,
)  # fmt: skip
"""An epoch is once the 65 % of 8054 images that the paper trains on."""

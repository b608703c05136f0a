"""What is to be chosen of a template matching network, and the sizes that are offered."""

from dataclasses import dataclass

from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.models.model import Configuration

_LEAST_PUBLISHED_PX = 32
"""Smaller images vanish in the encoders of the paper, which halve them five times."""


@dataclass(frozen=True)
class TemplateMatchingConfiguration(Configuration):
    """Of network, training pairs and optimisation; the defaults are the realtime preset."""

    encoder: str = parameter(
        "small",
        "of image and patch",
        choices=("small", "vgg16", "resnet50", "densenet121", "convnext_small"),
    )
    pretrained: bool = parameter(False, "begin with the encoder's ImageNet weights, which torchvision finds")
    matching: bool = parameter(True, "correlate the features of patch and image; the paper does not")
    image_px: int = parameter(224, "side of the network's image, px", minimum=32, maximum=1024)
    patch_px: int = parameter(50, "side of a patch in it, px", minimum=16, maximum=128)
    view_mm: float = parameter(
        180.0, "side of the region that the network's image shows, mm; 0: the whole image", minimum=0.0
    )
    hidden: int = parameter(256, "neurons of a fully connected layer", minimum=4)
    depth: int = parameter(3, "fully connected layers, the last with four outputs", minimum=1, maximum=8)
    dropout: float = parameter(0.0, "between them", minimum=0.0, maximum=0.9)
    loss: str = parameter("normal", "distribution of the errors", choices=("normal", "laplace"))
    images_per_step: int = parameter(12, "views in a batch", minimum=1)
    patches_per_image: int = parameter(16, "patches drawn from each view", minimum=1)
    steps_per_epoch: int = parameter(250, "optimisation steps; 0: as many as see each image once", minimum=0)
    learning_rate: float = parameter(1e-3, "of Adam, at first", minimum=0.0)
    decay: float = parameter(0.9, "factor of the learning rate", minimum=0.0, maximum=1.0)
    decay_every_epochs: int = parameter(1, "after so many epochs each", minimum=1)
    crop: float = parameter(
        0.6, "least part of a view's area that a random crop keeps", minimum=0.05, maximum=1.0
    )
    noise: float = parameter(
        0.05, "greatest noise added to view and patch, in parts of the grey scale", minimum=0.0
    )

    def __post_init__(self) -> None:
        if self.encoder != "small" and self.patch_px < _LEAST_PUBLISHED_PX:
            raise ValueError(f"the encoder {self.encoder} takes patches of at least {_LEAST_PUBLISHED_PX} px")


REALTIME = TemplateMatchingConfiguration(epochs=30)
"""Follows a landmark in the region round where it was marked."""

DETECTION = TemplateMatchingConfiguration(epochs=20, view_mm=0.0, decay=0.86)
"""Finds a landmark anywhere in the image of another subject."""

ADAPTATION = TemplateMatchingConfiguration(epochs=4, learning_rate=2e-4, decay=0.5)
"""Goes on from the realtime weights on a user's own frames."""

PAPER = TemplateMatchingConfiguration(
    epochs=1000,
    encoder="vgg16",
    pretrained=True,
    matching=False,
    view_mm=0.0,
    hidden=4096,
    dropout=0.5,
    images_per_step=192,
    patches_per_image=1,
    steps_per_epoch=0,
    learning_rate=1e-4,
    decay=0.85,
    decay_every_epochs=80,
    noise=0.0,
)
"""Frueh et al. 2022, section III; ``encoder`` is one of four (section III.E.2)."""

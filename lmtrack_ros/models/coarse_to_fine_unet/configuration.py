"""What is to be chosen of a coarse-to-fine U-Net, and the sizes that are offered."""

from dataclasses import dataclass

from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.models.model import Configuration


@dataclass(frozen=True)
class CoarseToFineUnetConfiguration(Configuration):
    """Of generator, critic, losses and optimisation; the defaults are the realtime preset."""

    image_px: int = parameter(
        256, "side of the square to which the whole image is brought, px", minimum=32, maximum=1024
    )
    part_px: int = parameter(
        128, "side of the parts of images that are learnt from in turn with whole ones, px", minimum=16
    )
    whole_share: float = parameter(0.3, "of the batches, that show whole images", minimum=0.0, maximum=1.0)
    frames: int = parameter(5, "successive ones in a window to learn from, section 3.1.1", minimum=2)
    step_s: float = parameter(0.5, "between two of them, s; section 4.1", minimum=0.01, maximum=5.0)
    levels: int = parameter(7, "of the first U-Net, section 3.1.3", minimum=1, maximum=9)
    refinement_levels: int = parameter(5, "of the second, section 3.1.3", minimum=1, maximum=9)
    channels: int = parameter(16, "of level 1, and twice as many in each further level", minimum=4)
    most_channels: int = parameter(64, "of a level", minimum=4)
    refinement: bool = parameter(True, "add the second U-Net's residual, equation (1)")
    recurrence: bool = parameter(True, "join frames by convolutional LSTMs, section 3.2")
    gan_weight: float = parameter(
        0.05, "of equation (4) in equation (9); 0: train without a critic", minimum=0.0
    )
    critic_levels: int = parameter(5, "of the critic: fewer than the generator's", minimum=1, maximum=9)
    critic_channels: int = parameter(8, "of the critic's level 1", minimum=4)
    gradient_penalty: float = parameter(10.0, "λ of equation (4)", minimum=0.0)
    generator_steps: int = parameter(2, "for each of the critic, section 3.3", minimum=1)
    l1_weight: float = parameter(100.0, "of equation (6) in equation (9)", minimum=0.0)
    ssim_weight: float = parameter(1.0, "of equation (7) in equation (9)", minimum=0.0)
    iou_weight: float = parameter(1.0, "of equation (8) in equation (9)", minimum=0.0)
    entropy_weight: float = parameter(
        100.0, "of the masks' cross entropy, as in BASNet; the paper has none", minimum=0.0
    )
    fixed_levels: int = parameter(
        0, "of both U-Nets, from the bottom up, that stay as they were at first", minimum=0, maximum=9
    )
    windows_per_step: int = parameter(4, "in a batch of parts; as many pixels in one of wholes", minimum=1)
    steps_per_epoch: int = parameter(400, "rounds of generator steps and a critic step", minimum=1)
    learning_rate: float = parameter(1.5e-3, "of Adam, at first", minimum=0.0)
    critic_learning_rate: float = parameter(1e-4, "likewise, for the critic", minimum=0.0)
    decay: float = parameter(0.86, "factor of the learning rate after each epoch", minimum=0.0, maximum=1.0)
    mean_steps: int = parameter(
        1, "about how many of the generator's last, whose weights in the mean are the network's", minimum=1
    )

    def __post_init__(self) -> None:
        deepest = max(self.levels, self.refinement_levels)
        for name, side in (("image_px", self.image_px), ("part_px", self.part_px)):
            if side % 2**deepest:
                raise ValueError(f"{name} must be a multiple of {2**deepest} for {deepest} levels")
        if self.image_px % self.part_px:
            raise ValueError("image_px must be a multiple of part_px")


REALTIME = CoarseToFineUnetConfiguration(epochs=16)

PATIENT = CoarseToFineUnetConfiguration(epochs=10, steps_per_epoch=200, decay=0.75, mean_steps=200)
"""One patient's own cases, section 4.3: few, and alike."""

FINETUNE = CoarseToFineUnetConfiguration(
    epochs=2, steps_per_epoch=25, gan_weight=0.0, fixed_levels=3, learning_rate=2e-4
)
"""A few cases of one patient for a network that was trained on others, section 4.2."""

PAPER = CoarseToFineUnetConfiguration(
    epochs=200, part_px=256, frames=10, windows_per_step=4, channels=64, most_channels=512,
    critic_channels=64, gan_weight=1.0, entropy_weight=0.0, learning_rate=2e-4, critic_learning_rate=2e-4,
    decay=1.0,
)  # fmt: skip
"""Sizes that the paper does not say are those of DCGAN and pix2pix, on which it builds."""

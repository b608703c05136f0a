"""The critic that tells found from true sequences of masks (section 3.1.2)."""

from torch import Tensor, nn

from lmtrack_ros.models.coarse_to_fine_unet.configuration import CoarseToFineUnetConfiguration
from lmtrack_ros.models.coarse_to_fine_unet.generator import widths
from lmtrack_ros.models.coarse_to_fine_unet.recurrence import ConvLstm
from lmtrack_ros.models.coarse_to_fine_unet.unet import SLOPE


class Critic(nn.Module):
    """The way down of the generator, a convolutional LSTM at its bottom, and a score of what it ends with.

    No normalisation over the batch: the gradient is penalised for each sequence by itself (Gulrajani et al.
    2017). No sigmoid at its end either, though the paper has one: a Wasserstein critic's score is unbounded.

    Args:
        configuration: of everything in it.
    """

    def __init__(self, configuration: CoarseToFineUnetConfiguration) -> None:
        super().__init__()
        c = configuration
        channels = widths(c.critic_channels, c.most_channels, c.critic_levels)
        down = [
            nn.Sequential(nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(SLOPE))
            for before, after in zip((1, *channels), channels, strict=False)
        ]
        self.down = nn.Sequential(*down)
        self.recurrence = ConvLstm(channels[-1], channels[-1])
        side = c.part_px // 2**c.critic_levels
        self.score = nn.Linear(channels[-1] * side * side, 1)

    def forward(self, masks: Tensor) -> Tensor:
        """Return (B,) scores of (B, N, 1, H, W) sequences of masks, of parts: the more, the truer."""
        features = self.down(masks.flatten(0, 1)).unflatten(0, masks.shape[:2])
        last = self.recurrence(features, self.recurrence.nothing(features)).after(-1).hidden
        scores: Tensor = self.score(last.flatten(1)).squeeze(1)
        return scores

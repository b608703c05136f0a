"""Where the features of a patch and those of an image agree: what the realtime preset adds to the paper.

The fully connected layers of the paper see both feature vectors stacked, and have to learn what it means that
the two are alike. With a large encoder, pretrained, and a thousand epochs they do. A small one that is
trained in an hour learns far more when it is told where they are alike: the features of a patch are
correlated with those of the image, as in a fully convolutional siamese network
(Bertinetto et al. 2016), and moments of the resulting distribution over places are stacked to the two
vectors.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

_WIDTH = 16
"""Features that are correlated."""


class Matching(nn.Module):
    """Correlates patches with an image.

    Args:
        channels: C of the maps of image and patch.
        image_side: h = w of the image's map.
        patch_side: h = w of the patch's map.
    """

    place: Tensor
    moments = 6
    """How many numbers describe the match of one patch."""

    def __init__(self, channels: int, image_side: int, patch_side: int) -> None:
        super().__init__()
        self.patch_side = patch_side
        self.image_features = nn.Conv2d(channels, _WIDTH, 1)
        self.patch_features = nn.Conv2d(channels, _WIDTH, 1)
        self.sharpness = nn.Parameter(torch.zeros(()))
        at = torch.arange(image_side) / (image_side - 1) - 0.5
        place = torch.stack([at.repeat(image_side), at.repeat_interleave(image_side)], dim=-1)
        self.register_buffer("place", place, persistent=False)

    def template(self, patch_map: Tensor) -> Tensor:
        """Return the (B, width·p·p) template of each (B, C, p, p) map of a patch."""
        return torch.flatten(self.patch_features(patch_map), 1)

    def log_shares(self, image_map: Tensor, templates: Tensor) -> Tensor:
        """Return the (B, N, h·w) logarithm of how likely each patch belongs to each place, row by row.

        Args:
            image_map: (B, C, h, w).
            templates: (B, N, width·p·p).
        """
        patch_side = self.patch_side
        before, after = (patch_side - 1) // 2, patch_side // 2
        features = functional.pad(self.image_features(image_map), (before, after, before, after))
        neighbourhoods = functional.unfold(features, patch_side)  # (B, width·p·p, h·w)
        likeness = templates @ neighbourhoods * (torch.exp(self.sharpness) / templates.shape[-1] ** 0.5)
        return torch.log_softmax(likeness, dim=-1)

    def describe(self, log_shares: Tensor) -> Tensor:
        """Return (B, N, 6): mean and deviation of column and row in parts of the side, sureness, peak."""
        share = torch.exp(log_shares)
        mean = share @ self.place
        variance = share @ torch.square(self.place) - torch.square(mean)
        deviation = torch.sqrt(variance.clamp(min=0.0) + 1e-6)
        sureness = torch.square(share).sum(-1, keepdim=True)
        return torch.cat([mean, deviation, sureness, share.amax(-1, keepdim=True)], dim=-1)

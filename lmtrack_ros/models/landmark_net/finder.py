"""Finds landmarks in an image with trained weights: the network as one engine of fixed shape."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lmtrack_ros.inference.engine import prepare
from lmtrack_ros.inference.parameters import InferenceParameters
from lmtrack_ros.models.grey import scaled
from lmtrack_ros.models.landmark_net import APART_PX
from lmtrack_ros.models.landmark_net.heat_maps import Peak, peaks
from lmtrack_ros.models.landmark_net.network import LandmarkNet
from lmtrack_ros.models.loading import load_network
from lmtrack_ros.models.views import View

_MODEL = "landmark_net"
_TOLERANCE = 0.02
"""Backends whose maps agree to within this are one."""
_LEAST_SIGMA_PX = 0.5

logger = logging.getLogger(__name__)


class Finder:
    """A LandmarkNet with its weights, ready to take images.

    Args:
        weights: a name, a file, or the folder of a run.
        parameters: of inference.
        on_progress: gets a line per stage of making the network ready.

    Raises:
        UserError: there are no such weights, or they cannot be read.
    """

    def __init__(
        self,
        weights: str,
        parameters: InferenceParameters,
        *,
        on_progress: Callable[[str], None] = logger.info,
    ) -> None:
        loaded = load_network(_MODEL, weights, LandmarkNet)
        self.description, network = loaded.description, loaded.network
        self.configuration = network.configuration
        side = self.configuration.image_px
        probe = torch.from_numpy(np.random.default_rng(0).random((1, 1, side, side), dtype=np.float32))
        self._engine = prepare(
            _Maps(network).eval(),
            [probe],
            parameters,
            name=f"{_MODEL} {loaded.name}",
            tolerance=_TOLERANCE,
            on_progress=on_progress,
        )

    @property
    def runs_by(self) -> str:
        """Backend, device and precision that run the network."""
        return f"{self._engine.backend} {self._engine.device} {self._engine.precision}"

    def find(self, image: NDArray[Any], least: float) -> Sequence[list[Peak]]:
        """Return the landmarks of each kind in an (H, W) image, the clearest first, in its pixels.

        Args:
            image: grey values of any numeric type.
            least: height of a landmark's peak.
        """
        c = self.configuration
        view = View.whole(image.shape, c.image_px)
        (maps,) = self._engine(view.of(scaled(image))[None, None])
        return [
            [_in_image(peak, view) for peak in peaks(found, c.map_stride, c.sigma_px, least, APART_PX)]
            if np.isfinite(found).all()
            else []
            for found in maps[0]
        ]


class _Maps(nn.Module):
    def __init__(self, network: LandmarkNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.network(images).maps,)


def _in_image(peak: Peak, view: View) -> Peak:
    sigma_px = view.scale * np.hypot(peak.sigma_px, _LEAST_SIGMA_PX)
    return Peak(view.to_image(peak.uv_px), peak.height, sigma_px)

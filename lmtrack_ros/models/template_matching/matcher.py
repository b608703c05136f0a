"""Finds patches in images with trained weights: what tracker, detection and evaluation all call."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lmtrack_ros.inference.engine import Engine, prepare
from lmtrack_ros.inference.parameters import InferenceParameters
from lmtrack_ros.models.loading import load_network
from lmtrack_ros.models.template_matching.configuration import TemplateMatchingConfiguration
from lmtrack_ros.models.template_matching.training import build_network
from lmtrack_ros.models.views import View

Grey = NDArray[np.float32]
Points = NDArray[np.float64]

_MODEL = "template_matching"
_TOLERANCE_PX = 0.05
"""Backends that agree to within this, in pixels of the network's image, are one."""
_GPU_BATCH = 8

logger = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where one patch belongs in an image.

    Attributes:
        uv_px: (2,) column and row in the image.
        sigma_px: (2,) what the network gives for the standard deviation of either.
    """

    uv_px: Points
    sigma_px: Points


class Matcher:
    """A network with its weights, ready to run.

    Args:
        weights: a name, a file, or the folder of a run.
        parameters: of inference.
        batch: views that go through at once; 0: as many as suit the device.
        examples: patches that are sought in each view.
        on_progress: gets a line per stage of making the network ready.

    Raises:
        UserError: there are no such weights, or they cannot be read.
    """

    def __init__(
        self,
        weights: str,
        parameters: InferenceParameters,
        *,
        batch: int = 0,
        examples: int = 1,
        on_progress: Callable[[str], None] = logger.info,
    ) -> None:
        loaded = load_network(_MODEL, weights, build_network)
        self.description, self._network = loaded.description, loaded.network
        configuration = self.description.configuration
        assert isinstance(configuration, TemplateMatchingConfiguration)
        self.configuration = configuration
        on_gpu = parameters.device != "cpu" and torch.cuda.is_available()
        self._batch = batch or (_GPU_BATCH if on_gpu else 1)
        self._examples = examples
        self._engine: Engine = prepare(
            self._network,
            self._probe(),
            parameters,
            name=f"template_matching {loaded.name}",
            tolerance=_TOLERANCE_PX,
            on_progress=on_progress,
        )

    @property
    def runs_by(self) -> str:
        """Backend, device and precision that run the network."""
        return f"{self._engine.backend} {self._engine.device} {self._engine.precision}"

    def encode(self, views: Sequence[Grey], places_px: Points) -> NDArray[np.float32]:
        """Return what the network needs of patches; once for each landmark.

        Args:
            views: (S, S) of N images.
            places_px: (N, 2) centre of the patch in each, px of the view.

        Returns:
            (N, E).
        """
        patches = np.stack([self._cut(v, p) for v, p in zip(views, places_px, strict=True)])
        with torch.inference_mode():
            encoded = self._network.encode_patches(torch.from_numpy(patches))
        return np.asarray(encoded.numpy(), dtype=np.float32)

    def find(self, views: Sequence[Grey], encoded: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return where patches belong.

        Args:
            views: (S, S) of N images.
            encoded: (N, examples, E): what is sought in each.

        Returns:
            (N, examples, 4): x̂, ŷ, σ̂x, σ̂y, px of the view; NaN where a view or patch is not finite.
        """
        found = []
        for start in range(0, len(views), self._batch):
            part = slice(start, start + self._batch)
            count = len(views[part])
            self._views[:count] = views[part]
            self._encoded[:count] = encoded[part]
            (output,) = self._engine(self._views, self._encoded)
            found.append(output[:count].astype(np.float64))
        return np.concatenate(found)

    def _cut(self, view: Grey, place_px: Points) -> Grey:
        return View.around(place_px, float(self.configuration.patch_px), self.configuration.patch_px).of(view)

    def _probe(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return input as in earnest: smooth random images, and patches of them."""
        side, patch_px = self.configuration.image_px, self.configuration.patch_px
        rng = np.random.default_rng(0)
        coarse = torch.from_numpy(rng.random((self._batch, 1, side // 8, side // 8), dtype=np.float32))
        views = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")[:, 0]
        corner = rng.integers(0, side - patch_px, (self._examples, 2))
        patches = [views[:, y : y + patch_px, x : x + patch_px] for x, y in corner]
        with torch.inference_mode():
            encoded = self._network.encode_patches(torch.stack(patches, 1).contiguous())
        self._views = np.zeros(views.shape, np.float32)
        self._encoded = np.zeros(encoded.shape, np.float32)
        return views.contiguous(), encoded.clone()


def weighted(found: NDArray[Any]) -> NDArray[np.float64]:
    """Return what several examples say together, equation (3): means weighted with 1/σ̂, as printed.

    Args:
        found: (..., N, 4) x̂, ŷ, σ̂x, σ̂y of N examples, px.

    Returns:
        (..., 4): the weighted place, and as σ̂ the harmonic mean, which is to the weights what σ̂ is to one.
    """
    place, sigma = found[..., :2], found[..., 2:]
    weight = 1 / sigma
    total = weight.sum(axis=-2)
    return np.concatenate([(place * weight).sum(axis=-2) / total, found.shape[-2] / total], axis=-1)

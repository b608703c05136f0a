"""Finds landmarks in regions with trained weights: the network in two parts of fixed shape, ready to run.

Between them lies what has no fixed shape, the suppression of proposals.
"""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lmtrack_ros.inference.engine import prepare
from lmtrack_ros.inference.parameters import InferenceParameters
from lmtrack_ros.models import find_model
from lmtrack_ros.models.attention_mask_rcnn.configuration import AttentionMaskRcnnConfiguration
from lmtrack_ros.models.attention_mask_rcnn.detector import Looked, State
from lmtrack_ros.models.attention_mask_rcnn.network import AttentionMaskRcnn
from lmtrack_ros.models.description import find_weights
from lmtrack_ros.models.weights import fill, load_weights

Grey = NDArray[np.float32]

_TOLERANCE = 0.05
"""Backends that agree to within this, in pixels and in features, are one."""

logger = logging.getLogger(__name__)


class Memory(NamedTuple):
    """What the LSTM remembers of one landmark: (H,) each."""

    hidden: Grey
    cell: Grey


class Localisations(NamedTuple):
    """Where one landmark may be.

    Attributes:
        places_px: (K, 2) column and row in the region.
        scores: (K,) from 0 to 1.
        memories: of each, were it the landmark.
    """

    places_px: NDArray[np.float64]
    scores: NDArray[np.float64]
    memories: list[Memory]


class Finder:
    """A network with its weights, ready to run on one region after the other.

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
        path = find_weights(find_model("attention_mask_rcnn"), weights)
        self.description, state = load_weights(path)
        configuration = self.description.configuration
        assert isinstance(configuration, AttentionMaskRcnnConfiguration)
        self.configuration = configuration
        self._network = AttentionMaskRcnn(configuration).eval()
        fill(self._network, state, str(path))
        region = _smooth_noise(configuration.region_px)
        with torch.inference_mode():
            boxes, looked = self._network.look(region, region)
            proposals = self._network.detector.kept(looked)
            remembered = self._network.remember(region)

        def ready(part: nn.Module, probe: tuple[Tensor, ...], name: str) -> Any:
            said = f"attention_mask_rcnn {path.stem} {name}"
            return prepare(
                part.eval(),
                [p.clone() for p in probe],
                parameters,
                name=said,
                tolerance=_TOLERANCE,
                on_progress=on_progress,
            )

        self._look = ready(_Look(self._network), (region, region), "detector")
        self._choose = ready(
            _Choose(self._network), (boxes, looked.features, proposals, *remembered), "heads"
        )

    def remember(self, reference: Grey) -> Memory:
        """Return what is remembered of a landmark; (S, S) is the region round it in the frame of marking."""
        with torch.inference_mode():
            state = self._network.remember(torch.from_numpy(reference)[None])
        return Memory(state.hidden[0].numpy(), state.cell[0].numpy())

    def find(self, region: Grey, reference: Grey, memory: Memory) -> Localisations:
        """Return where a landmark may be.

        Args:
            region: (S, S) round its last place.
            reference: (S, S) round its place in the frame of marking.
            memory: of the frame before.
        """
        boxes, features, objectness, every = self._look(region[None], reference[None])
        if not np.isfinite(objectness).all():
            nowhere = np.full((1, 2), np.nan)
            return Localisations(nowhere, np.zeros(1), [memory])
        looked = Looked(*(torch.from_numpy(part) for part in (features, objectness, every)))
        proposals = self._network.detector.kept(looked).numpy()
        places, scores, hidden, cell = self._choose(
            boxes, features, proposals, memory.hidden[None], memory.cell[None]
        )
        memories = [Memory(h.copy(), c.copy()) for h, c in zip(hidden[0], cell[0], strict=True)]
        return Localisations(places[0].astype(float), scores[0].astype(float), memories)


class _Look(nn.Module):
    def __init__(self, network: AttentionMaskRcnn) -> None:
        super().__init__()
        self.network = network

    def forward(self, regions: Tensor, references: Tensor) -> tuple[Tensor, ...]:
        boxes, looked = self.network.look(regions, references)
        return (boxes, *looked)


class _Choose(nn.Module):
    def __init__(self, network: AttentionMaskRcnn) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, boxes: Tensor, features: Tensor, proposals: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, ...]:
        return tuple(self.network.choose(boxes, features, proposals, State(hidden, cell)))


def _smooth_noise(side: int) -> Tensor:
    """Return a (1, side, side) image as in earnest."""
    coarse = np.random.default_rng(0).random((1, 1, side // 8, side // 8), dtype=np.float32)
    return nn.functional.interpolate(torch.from_numpy(coarse), (side, side), mode="bilinear")[:, 0]

"""Finds landmarks in regions with trained weights: the network in two parts of fixed shape, ready to run.

Between them lies what has no fixed shape, the suppression of proposals.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lmtrack_ros.inference.engine import prepare
from lmtrack_ros.inference.parameters import InferenceParameters
from lmtrack_ros.models.attention_mask_rcnn.detector import Looked, State
from lmtrack_ros.models.attention_mask_rcnn.network import AttentionMaskRcnn
from lmtrack_ros.models.loading import load_network

Grey = NDArray[np.float32]

_MODEL = "attention_mask_rcnn"
_TOLERANCE = 0.05
"""Backends that agree to within this, in pixels and in features, are one."""
_GPU_BATCH = 8

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
        batch: regions that go through at once; 0: as many as suit the device.
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
        on_progress: Callable[[str], None] = logger.info,
    ) -> None:
        loaded = load_network(_MODEL, weights, AttentionMaskRcnn)
        self.description, self._network = loaded.description, loaded.network
        self.configuration = configuration = self._network.configuration
        on_gpu = parameters.device != "cpu" and torch.cuda.is_available()
        self._batch = batch or (_GPU_BATCH if on_gpu else 1)
        region = _smooth_noise(self._batch, configuration.region_px)
        with torch.inference_mode():
            boxes, looked = self._network.look(region, region)
            proposals = self._network.detector.kept(looked)
            remembered = self._network.remember(region)

        def ready(part: nn.Module, probe: tuple[Tensor, ...], name: str) -> Any:
            said = f"attention_mask_rcnn {loaded.name} {name}"
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

    @property
    def runs_by(self) -> str:
        """Backend, device and precision that run the detector."""
        return f"{self._look.backend} {self._look.device} {self._look.precision}"

    def remember(self, reference: Grey) -> Memory:
        """Return what is remembered of a landmark; (S, S) is the region round it in the frame of marking."""
        with torch.inference_mode():
            state = self._network.remember(torch.from_numpy(reference)[None])
        return Memory(state.hidden[0].numpy(), state.cell[0].numpy())

    def find(
        self, regions: Sequence[Grey], references: Sequence[Grey], memories: Sequence[Memory]
    ) -> list[Localisations]:
        """Return where each of N landmarks may be.

        Args:
            regions: (S, S) round their last places.
            references: (S, S) round their places in the frame of marking.
            memories: of the frame before.
        """
        found: list[Localisations] = []
        for start in range(0, len(regions), self._batch):
            part = slice(start, start + self._batch)
            found += self._found(regions[part], references[part], memories[part])
        return found

    def _found(
        self, regions: Sequence[Grey], references: Sequence[Grey], memories: Sequence[Memory]
    ) -> list[Localisations]:
        count = len(regions)
        boxes, features, objectness, every = self._look(self._filled(regions), self._filled(references))
        unknown = ~(np.isfinite(objectness).all(axis=1) & np.isfinite(every).all(axis=(1, 2)))
        # RoIAlign may crash at places that are not finite
        looked = Looked(*(torch.from_numpy(part).nan_to_num() for part in (features, objectness, every)))
        remembered = (self._filled(column) for column in zip(*memories, strict=True))
        proposals = self._network.detector.kept(looked).numpy()
        places, scores, hidden, cell = self._choose(boxes, features, proposals, *remembered)
        places[unknown] = np.nan
        return [
            Localisations(
                places[i].astype(float),
                scores[i].astype(float),
                [Memory(h.copy(), c.copy()) for h, c in zip(hidden[i], cell[i], strict=True)],
            )
            for i in range(count)
        ]

    def _filled(self, some: Sequence[Grey]) -> Grey:
        """Return a batch; where there are fewer, the last fills up."""
        return np.stack([*some, *[some[-1]] * (self._batch - len(some))])


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


def _smooth_noise(count: int, side: int) -> Tensor:
    """Return (count, side, side) images as in earnest."""
    coarse = np.random.default_rng(0).random((count, 1, side // 8, side // 8), dtype=np.float32)
    return nn.functional.interpolate(torch.from_numpy(coarse), (side, side), mode="bilinear")[:, 0]

"""Finds a tumour along a stream of images with trained weights: the network as one engine of fixed shape."""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lmtrack_ros.inference.engine import prepare
from lmtrack_ros.inference.parameters import InferenceParameters
from lmtrack_ros.models.coarse_to_fine_unet.generator import Generator, Memories
from lmtrack_ros.models.coarse_to_fine_unet.recurrence import Recurrent
from lmtrack_ros.models.coarse_to_fine_unet.stream import Seen, advanced, nothing_yet
from lmtrack_ros.models.loading import load_network

Grey = NDArray[np.float32]

_MODEL = "coarse_to_fine_unet"
_TOLERANCE = 1e-3
"""Backends whose outputs and memories agree to within this are one."""

logger = logging.getLogger(__name__)


class Stream(NamedTuple):
    """A stream up to some frame.

    Attributes:
        frames: (late + 2, S, S) the last ones.
        memories: (K, H, W) each, those of ``stream.Seen`` one after the other.
    """

    frames: Grey
    memories: tuple[Grey, ...]


class Finder:
    """A generator with its weights, ready to take one frame after the other.

    Args:
        weights: a name, a file, or the folder of a run.
        parameters: of inference.
        late: frames by which outputs may be late.
        on_progress: gets a line per stage of making the network ready.

    Raises:
        UserError: there are no such weights, or they cannot be read.
    """

    def __init__(
        self,
        weights: str,
        parameters: InferenceParameters,
        *,
        late: int = 0,
        on_progress: Callable[[str], None] = logger.info,
    ) -> None:
        loaded = load_network(_MODEL, weights, Generator)
        self.description, generator = loaded.description, loaded.network
        self.configuration = generator.configuration
        side = self.configuration.image_px
        blank = torch.zeros(1, side, side)
        with torch.inference_mode():
            _, begun = advanced(generator, nothing_yet(blank, late), blank)
        step = _Step(generator, begun.memories)
        self._nothing = tuple(np.zeros(m.shape[1:], np.float32) for m in _flat(begun.memories))
        some = np.random.default_rng(0)
        probe = [torch.from_numpy(some.random((1, late + 3, side, side), dtype=np.float32))]
        probe += [0.1 * torch.from_numpy(some.standard_normal(m.shape, np.float32)) for m in step.like]
        self._late = late
        self._step = prepare(
            step,
            probe,
            parameters,
            name=f"{_MODEL} {loaded.name}",
            tolerance=_TOLERANCE,
            on_progress=on_progress,
        )

    @property
    def runs_by(self) -> str:
        """Backend, device and precision that run the network."""
        return f"{self._step.backend} {self._step.device} {self._step.precision}"

    def begun(self, frame: Grey) -> Stream:
        """Return a stream before its first (S, S) frame."""
        return Stream(np.stack([frame] * (self._late + 2)), self._nothing)

    def advanced(self, stream: Stream, frame: Grey) -> tuple[Grey, Stream]:
        """Return the (S, S) output for a stream's new (S, S) frame, and the stream with it."""
        frames = np.concatenate([stream.frames, frame[None]])
        output, *memories = self._step(frames[None], *(memory[None] for memory in stream.memories))
        kept = tuple(memory[0].copy() for memory in memories)
        return output[0].copy(), Stream(frames[1:], kept)


class _Step(nn.Module):
    """``stream.advanced`` with tensors alone.

    Args:
        generator: in evaluation mode.
        like: memories of the same shapes.
    """

    def __init__(self, generator: Generator, like: Memories) -> None:
        super().__init__()
        self.generator = generator
        self.like = _flat(like)
        self._levels = tuple(tuple(memory) for memory in like)

    def forward(self, frames: Tensor, *memories: Tensor) -> tuple[Tensor, ...]:
        """Return the output and the memories after it.

        Args:
            frames: (1, late + 3, S, S), the new one last.
            memories: hidden state and cell of each level.
        """
        left = iter(memories)
        before = Memories(
            *({level: Recurrent(next(left), next(left)) for level in of} for of in self._levels)
        )
        output, seen = advanced(self.generator, Seen(frames[:, :-1], before), frames[:, -1])
        return output, *_flat(seen.memories)


def _flat(memories: Memories) -> Sequence[Tensor]:
    return [part for memory in memories for state in memory.values() for part in state]

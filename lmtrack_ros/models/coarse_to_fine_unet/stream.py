"""The generator along a stream: each new frame costs a window of two, not of ten.

The newest frame has no next neighbour, and the way back through the sequence begins with it. When the frame
after it comes, it has a neighbour, and the way back one frame more: it is seen once more, and what the way
forth remembers of it then stays. So before every new frame lies a memory of all frames but the last, and the
window is the last frame and the new one. An output that may be late is of an older frame; its way back, and
the window, are longer by as much.

A stream begins as if its first frame had been seen before: still. Its memories fade, for windows to learn
from are short: over a stream they would become what the network never met, and it would go on taking a second
part of the picture for tumour.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lmtrack_ros.models.coarse_to_fine_unet.generator import NOTHING, Generator, Memories, triples
from lmtrack_ros.models.coarse_to_fine_unet.recurrence import Recurrent
from lmtrack_ros.models.coarse_to_fine_unet.unet import Memory

FADING = 0.5
"""Factor of hidden states and cells from one frame of a stream to the next, beside equation (3)'s gates."""


class Seen(NamedTuple):
    """A stream up to some frame.

    Attributes:
        frames: (B, late + 2, H, W) the last ones.
        memories: of all frames before the second of these.
    """

    frames: Tensor
    memories: Memories


def nothing_yet(frame: Tensor, late: int = 0) -> Seen:
    """Return the stream before its first (B, H, W) frame."""
    return Seen(torch.stack([frame] * (late + 2), dim=1), NOTHING)


def advanced(generator: Generator, seen: Seen, frame: Tensor) -> tuple[Tensor, Seen]:
    """Return the output for a stream's new frame, and the stream with it.

    Args:
        generator: in evaluation mode.
        seen: before the frame; how late the output is, is how many frames it keeps.
        frame: (B, H, W) grey values.

    Returns:
        (B, H, W) from 0 to 1, of as many frames ago as the output is late; the stream up to the new frame.
    """
    frames = torch.cat([seen.frames, frame[:, None]], dim=1)
    window = triples(frames)[:, 1:]
    prediction = generator(window, seen.memories, slice(1, 2))
    memories = Memories(*(_kept(memory) for memory in prediction.memories))
    return torch.sigmoid(prediction.refined)[:, 0, 0], Seen(frames[:, 1:], memories)


def _kept(memory: Memory) -> Memory:
    first = {level: states.after(0) for level, states in memory.items()}
    return {level: Recurrent(FADING * state.hidden, FADING * state.cell) for level, state in first.items()}

"""How well a generator finds the tumours of cases: all frames of a window, and the newest of a stream.

Of each output its largest part counts, as in the tracker.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lmtrack_ros.configuration import cache_directory
from lmtrack_ros.models.coarse_to_fine_unet.agreement import FOUND, Agreement, agreement
from lmtrack_ros.models.coarse_to_fine_unet.candidates import candidates
from lmtrack_ros.models.coarse_to_fine_unet.generator import Generator, triples
from lmtrack_ros.models.coarse_to_fine_unet.stream import advanced, nothing_yet
from lmtrack_ros.models.coarse_to_fine_unet.windows import Clip, clip
from lmtrack_ros.phantoms import lung_cases
from lmtrack_ros.phantoms.lung_cases import Case, Pictures


@dataclass(frozen=True, eq=False)
class Score:
    """Of one case.

    Attributes:
        case: which.
        pictures: what it looks like.
        window: of all frames of one breath, seen at once.
        newest: of the same frames, each when it was the newest of a stream that began a breath before.
        shown: frame, true mask and output of the window, (S, S) each, of the frame of median overlap.
    """

    case: Case
    pictures: Pictures
    window: Agreement
    newest: Agreement
    shown: tuple[Tensor, Tensor, Tensor]


def score(generator: Generator, cases: Sequence[Case], progress: Callable[[int, int], None]) -> list[Score]:
    """Return how a generator fares on cases of one regular breath with a tumour.

    Args:
        generator: trained.
        cases: whose last frame is followed by the first again.
        progress: told how many cases are done, and how many there are.
    """
    generator.eval()
    folder = cache_directory("lung_cases")
    scores = []
    for done, case in enumerate(cases):
        progress(done, len(cases))
        (pictures,) = lung_cases.load([case], folder)
        side = generator.configuration.image_px
        one = clip(pictures.images, pictures.masks, side, pictures.spacing_mm, is_cycle=True)
        scores.append(_scored(generator, case, pictures, one))
    progress(len(cases), len(cases))
    return scores


@torch.no_grad()
def _scored(generator: Generator, case: Case, pictures: Pictures, one: Clip) -> Score:
    frames, masks = one.window(0, case.frames)
    window = torch.sigmoid(generator(triples(frames[None])).refined)[0, :, 0]
    seen = nothing_yet(frames[:1])
    outputs = []
    for frame in torch.cat([frames, frames]):
        output, seen = advanced(generator, seen, frame[None])
        outputs.append(output[0])
    window, newest = _largest(window), _largest(torch.stack(outputs[case.frames :]))
    of_window = agreement(window, masks, one.spacing_mm)
    middle = int(np.argsort(of_window.iou)[case.frames // 2])
    return Score(
        case,
        pictures,
        of_window,
        agreement(newest, masks, one.spacing_mm),
        (frames[middle], masks[middle] > FOUND, window[middle] > FOUND),
    )


def _largest(outputs: Tensor) -> Tensor:
    """Return the largest part of each of (N, S, S) outputs; nothing where there is none."""
    kept = torch.zeros_like(outputs)
    for number, output in enumerate(outputs):
        for best in candidates(output.numpy())[:1]:
            kept[number] = torch.from_numpy(best.output)
    return kept

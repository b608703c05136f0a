"""Finds landmarks in a volume with trained weights: torch gathers, engines run the networks."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lmtrack_ros.inference.engine import Engine, prepare
from lmtrack_ros.inference.parameters import InferenceParameters
from lmtrack_ros.models.loading import load_network
from lmtrack_ros.models.patch_iterative.network import Move, PatchIterative, PatchNetwork, one_hot
from lmtrack_ros.models.patch_iterative.patches import PLANES, Level, level_of, upload
from lmtrack_ros.models.patch_iterative.rules import RULES
from lmtrack_ros.models.patch_iterative.search import (
    REFINING_STEPS,
    Ends,
    first_starts,
    lie,
    patches_of,
    refine,
    search,
    starts_about,
    steps_of,
    turned_patches,
)

_MODEL = "patch_iterative"
_TOLERANCE = 0.1
"""Backends whose outputs agree to within this, mm and logits, are one."""
_ON = 0.5
"""Share of the steps that a search takes which begins at the last volume's solution."""
_AROUND_MM = 5.0
"""How far round the landmarks every value must be finite."""

logger = logging.getLogger(__name__)


class Solution(NamedTuple):
    """The landmarks of a volume.

    Attributes:
        uvw_px: (L, 3) column, row and slice.
        spread_px: (L, 3) standard deviation over the starts.
        apart: how far apart the starts end, as a share of how far apart they began.
        moved_mm: mean length of the last step.
        b: (n_b,) parameters of the shape model, for the next volume.
    """

    uvw_px: NDArray[np.float64]
    spread_px: NDArray[np.float64]
    apart: float
    moved_mm: float
    b: Tensor


class Finder:
    """A patch-based iterative network with its weights, ready to take volumes.

    Args:
        weights: a name, a file, or the folder of a run.
        parameters: of inference.
        on_progress: gets a line per stage of making the networks ready.

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
        loaded = load_network(_MODEL, weights, PatchIterative)
        self.description, network = loaded.description, loaded.network
        self.configuration = c = network.configuration
        landmarks = len(c.landmarks)
        starts = len(first_starts(network.shape_model, torch.ones(3)))

        def engine(of: nn.Module, name: str, count: int, channels: int) -> Engine:
            shape = (count, channels, c.patch_px, c.patch_px)
            probe = torch.from_numpy(np.random.default_rng(0).random(shape, dtype=np.float32))
            return prepare(
                of.eval(),
                [probe],
                parameters,
                name=f"{_MODEL} {loaded.name} {name}",
                tolerance=_TOLERANCE,
                on_progress=on_progress,
            )

        self._coarse = engine(_Moves(network.coarse), "coarse", starts, PLANES * landmarks)
        self._fine = None
        if network.fine is not None:
            said = one_hot(starts, landmarks, torch.device("cpu"))
            self._fine = engine(_Moves(network.fine, said), "fine", starts * landmarks, PLANES)
        self._device = torch.device(self._coarse.device)
        self._model = network.shape_model.to(self._device)
        self._starts = starts

    @property
    def runs_by(self) -> str:
        """Backend, device and precision that run the networks."""
        return f"{self._coarse.backend} {self._coarse.device} {self._coarse.precision}"

    @property
    def gathered_points(self) -> int:
        """How many points of a volume are interpolated in a search that begins anew."""
        c = self.configuration
        looks = steps_of(c.rule) + (REFINING_STEPS if self._fine else 0)
        return looks * self._starts * len(c.landmarks) * PLANES * c.patch_px**2

    @torch.inference_mode()
    def find(
        self, volume: NDArray[Any], spacing_mm: Sequence[float], last: Tensor | None = None
    ) -> Solution | None:
        """Return the landmarks of a (D, H, W) volume, or None where there is nothing to be found.

        That is in a volume thinner than two blocks of voxels along an axis, where values among the landmarks
        are not finite, or where the networks answer with such.

        Args:
            volume: grey values of any numeric type.
            spacing_mm: (3,) pitch along columns, rows and slices.
            last: parameters of the volume before, to begin from; None: begin at the mean shape.
        """
        c, model = self.configuration, self._model
        if not self._is_thick(volume, spacing_mm):
            return None
        uploaded = upload(volume, self._device)
        starts = first_starts(model, self._extent_mm(volume, spacing_mm))
        rule, steps = RULES[c.rule], steps_of(c.rule)
        if last is not None:
            starts, steps = starts_about(last, starts), round(_ON * steps)
        coarse = level_of(uploaded, spacing_mm, c.pixel_mm)
        ends = search(coarse, self._run(self._coarse), model, starts, rule, steps, c)
        if self._fine is not None:
            fine = level_of(uploaded, spacing_mm, c.fine_pixel_mm)
            refined = refine(fine, self._run(self._fine), model, ends.each_mm, rule, REFINING_STEPS, c)
            ends = refined._replace(starts_mm=ends.starts_mm)
        if not _is_finite(ends.each_mm):
            return None
        solution = self._solution(ends, volume.shape, spacing_mm)
        return solution if _is_known(volume, solution.uvw_px, _AROUND_MM / np.array(spacing_mm)) else None

    def _is_thick(self, volume: NDArray[Any], spacing_mm: Sequence[float]) -> bool:
        coarsest_mm = max(self.configuration.pixel_mm, self.configuration.fine_pixel_mm)
        extent_mm = np.array(volume.shape[::-1]) * spacing_mm
        return min(volume.shape) >= 2 and bool((extent_mm >= 2 * coarsest_mm).all())

    def _extent_mm(self, volume: NDArray[Any], spacing_mm: Sequence[float]) -> Tensor:
        extent_mm = (np.array(volume.shape[::-1]) - 1) * spacing_mm
        return torch.tensor(extent_mm, dtype=torch.float32, device=self._device)

    def stages(self, volume: NDArray[Any], spacing_mm: Sequence[float]) -> Mapping[str, Callable[[], object]]:
        """Return the parts of a search that begins anew, to be timed: all uploads, gathers, networks.

        Args:
            volume: (D, H, W).
            spacing_mm: (3,) pitch along columns, rows and slices.
        """
        c = self.configuration
        steps = steps_of(c.rule)
        sizes = (c.pixel_mm, c.fine_pixel_mm) if self._fine else (c.pixel_mm,)

        def levels() -> list[Level]:
            uploaded = upload(volume, self._device)
            made = [level_of(uploaded, spacing_mm, size) for size in sizes]
            if self._device.type == "cuda":
                torch.cuda.synchronize()
            return made

        coarse, *fine = levels()
        positions = self._model.positions_mm(first_starts(self._model, self._extent_mm(volume, spacing_mm)))
        axes = lie(positions, self._model)
        patches = patches_of(coarse, positions, c)
        turned = [turned_patches(level, positions, axes, c) for level in fine]

        def gathers() -> None:
            for _ in range(steps):
                patches_of(coarse, positions, c)
            for level in fine * REFINING_STEPS:
                turned_patches(level, positions, axes, c)
            if self._device.type == "cuda":
                torch.cuda.synchronize()

        def networks() -> None:
            for _ in range(steps):
                self._run(self._coarse)(patches)
            for one in turned * REFINING_STEPS:
                assert self._fine is not None
                self._run(self._fine)(one)

        return {"upload": levels, "gather": gathers, "network": networks}

    def _run(self, engine: Engine) -> Callable[[Tensor], Move]:
        def run(patches: Tensor) -> Move:
            displacement, logits = engine(patches.cpu())
            return Move(*(torch.from_numpy(out).to(self._device) for out in (displacement, logits)))

        return run

    def _solution(self, ends: Ends, shape: tuple[int, ...], spacing_mm: Sequence[float]) -> Solution:
        mean = ends.mean_mm
        middle_px = (np.array(shape[::-1]) - 1) / 2
        return Solution(
            mean.cpu().double().numpy() / spacing_mm + middle_px,
            ends.spread_mm.cpu().double().numpy() / spacing_mm,
            ends.apart,
            float(ends.moved_mm.mean()),
            self._model.parameters(mean),
        )


def _is_finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())


def _is_known(volume: NDArray[Any], uvw_px: NDArray[np.float64], around_px: NDArray[np.float64]) -> bool:
    """Return whether every value in the box round some places, (L, 3) column, row and slice, is finite."""
    if volume.dtype.kind in "ui":
        return True
    low = np.floor(uvw_px.min(axis=0) - around_px).clip(0).astype(int)
    high = np.ceil(uvw_px.max(axis=0) + around_px).clip(0).astype(int) + 1
    box = tuple(slice(*ends) for ends in zip(low[::-1], high[::-1], strict=True))
    return bool(np.isfinite(volume[box]).all())


class _Moves(nn.Module):
    def __init__(self, network: PatchNetwork, said: Tensor | None = None) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("said", said, persistent=False)

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        move: Move = self.network(patches, self.said)
        return move.displacement, move.logits

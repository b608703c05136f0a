"""PIN inference: points that move from patch to patch until they stay."""

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from lmtrack_ros.models.patch_iterative.configuration import PatchIterativeConfiguration
from lmtrack_ros.models.patch_iterative.network import Move
from lmtrack_ros.models.patch_iterative.patches import Level, cut, upright
from lmtrack_ros.models.patch_iterative.rules import Rule
from lmtrack_ros.models.patch_iterative.shape_model import ShapeModel

RANDOM_STARTS = 5
"""Beside the one at the mean shape."""
STEPS, SLOW_STEPS = 10, 350
"""T of rules B and C, and of rule A."""
REFINING_STEPS = 5
"""Of the second network."""
_ABOUT = 0.4
"""How far from the last solution starts are, in units of what they are from the mean shape."""


class Ends(NamedTuple):
    """Where the points of one volume came to.

    Attributes:
        starts_mm: (S, L, 3) where they began.
        each_mm: (S, L, 3) by start.
        moved_mm: (S,) mean distance that the landmarks moved in the last step.
    """

    starts_mm: Tensor
    each_mm: Tensor
    moved_mm: Tensor

    @property
    def mean_mm(self) -> Tensor:
        """(L, 3) the prediction."""
        return self.each_mm.mean(0)

    @property
    def spread_mm(self) -> Tensor:
        """(L, 3) standard deviation over the starts."""
        return self.each_mm.std(0)

    @property
    def apart(self) -> float:
        """How far apart the ends are, as a share of how far apart the starts were."""
        began, ended = ((each - each.mean(0)).norm(dim=-1).mean() for each in (self.starts_mm, self.each_mm))
        return float(ended / began.clamp_min(1e-6))


def single_starts(extent_mm: Tensor) -> Tensor:
    """Return (19, 3): the centre of a volume of (3,) extent, and 18 a quarter of it off in 1 or 2 axes."""
    around = [a for a in product((0.0, -1.0, 1.0), repeat=3) if sum(map(abs, a)) < 3]
    return torch.tensor(around, device=extent_mm.device) * extent_mm / 4


def shape_starts(model: ShapeModel, generator: torch.Generator) -> Tensor:
    """Return (6, n_b): the mean shape and five random ones."""
    drawn = torch.randn(RANDOM_STARTS, len(model.deviations_mm), generator=generator).clamp(-3, 3)
    drawn = drawn.to(model.mean_mm)
    return torch.cat([torch.zeros_like(drawn[:1]), drawn * model.deviations_mm])


def first_starts(model: ShapeModel, extent_mm: Tensor) -> Tensor:
    """Return the (S, n_b) starts of a search in a volume of (3,) extent, always the same."""
    if len(model.mean_mm) == 3:
        return single_starts(extent_mm)
    return shape_starts(model, torch.Generator().manual_seed(0))


def steps_of(rule: str) -> int:
    """Return T of a rule."""
    return SLOW_STEPS if rule == "A" else STEPS


def starts_about(last: Tensor, starts: Tensor) -> Tensor:
    """Return (S, n_b) starts about a (n_b,) solution, as ``first_starts`` are about the mean shape."""
    return last + _ABOUT * starts


def search(
    level: Level,
    network: Callable[[Tensor], Move],
    model: ShapeModel,
    starts: Tensor,
    rule: Rule,
    steps: int,
    c: PatchIterativeConfiguration,
) -> Ends:
    """Move all points of a volume at once.

    Args:
        level: of the volume, at the patches' pixel size.
        network: takes (S, 3 L, s, s) patches.
        model: of the landmarks.
        starts: (S, n_b).
        rule: of the update.
        steps: T.
        c: sizes.
    """
    b = starts
    positions = model.positions_mm(b)
    moved = torch.zeros(len(b), device=b.device)
    for _ in range(steps):
        b = b + rule(network(patches_of(level, positions, c)))
        before, positions = positions, model.positions_mm(b)
        moved = (positions - before).norm(dim=-1).mean(-1)
    return Ends(model.positions_mm(starts), positions, moved)


def patches_of(level: Level, positions_mm: Tensor, c: PatchIterativeConfiguration) -> Tensor:
    """Return the (S, 3 L, s, s) patches of S shapes."""
    points = positions_mm.flatten(0, 1)
    found = cut(level, points, upright(len(points), points), c.patch_px, c.pixel_mm)
    return found.reshape(len(positions_mm), -1, c.patch_px, c.patch_px)


def refine(
    level: Level,
    network: Callable[[Tensor], Move],
    model: ShapeModel,
    starts_mm: Tensor,
    rule: Rule,
    steps: int,
    c: PatchIterativeConfiguration,
) -> Ends:
    """Move every landmark by itself, by patches along the axes of the anatomy.

    After each step the landmarks are brought to the nearest shape of the model, as in active shape models
    (Cootes et al. 1995): what one patch says wrongly the others correct.

    Args:
        level: of the volume, at the finer pixel size.
        network: takes (S L, 3, s, s) patches, the landmarks of a start one after the other.
        model: of the landmarks; its mean shape says which way the anatomy lies.
        starts_mm: (S, L, 3).
        rule: of the update.
        steps: how many.
        c: sizes.
    """
    positions = starts_mm
    moved = torch.zeros(len(positions), device=positions.device)
    for _ in range(steps):
        if not torch.isfinite(positions).all():
            # how they are turned cannot be told
            break
        axes = lie(positions, model)
        patches = turned_patches(level, positions, axes, c)
        step = rule(network(patches)).reshape(positions.shape)
        told = positions + torch.einsum("sij,slj->sli", axes, step)
        before, positions = positions, model.positions_mm(model.parameters(told))
        moved = (positions - before).norm(dim=-1).mean(-1)
    return Ends(starts_mm, positions, moved)


def turned_patches(
    level: Level, positions_mm: Tensor, axes: Tensor, c: PatchIterativeConfiguration
) -> Tensor:
    """Return the (S L, 3, s, s) patches round the landmarks of S shapes, along (S, 3, 3) axes."""
    every = axes.repeat_interleave(positions_mm.shape[1], dim=0)
    return cut(level, positions_mm.flatten(0, 1), every, c.patch_px, c.fine_pixel_mm)


def lie(positions_mm: Tensor, model: ShapeModel) -> Tensor:
    """Return (S, 3, 3): how (S, L, 3) landmarks are turned against the mean shape, by least squares.

    Kabsch (1976). Fewer than three landmarks lie as the mean shape does.
    """
    if positions_mm.shape[1] < 3:
        return upright(len(positions_mm), positions_mm)
    mean = model.mean_mm.reshape(-1, 3)
    about, reference = positions_mm - positions_mm.mean(1, keepdim=True), mean - mean.mean(0)
    u, _, vh = torch.linalg.svd(about.mT @ reference)
    signs = torch.ones_like(u[:, 0])
    signs[:, 2] = torch.linalg.det(u @ vh).sign()
    turned: Tensor = (u * signs[:, None]) @ vh
    return turned

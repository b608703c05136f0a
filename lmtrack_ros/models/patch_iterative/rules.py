"""How a point moves by what the network says of it: the update rules A, B and C."""

from collections.abc import Callable

import torch
from torch import Tensor

from lmtrack_ros.models.patch_iterative.network import Move

Rule = Callable[[Move], Tensor]
"""From what the network says to the (B, n_o) displacements that are made, mm."""

STEP_MM = 0.5
"""Of rule A: one voxel of the paper's volumes."""


def rule_a(move: Move) -> Tensor:
    """Go one step in the likeliest direction."""
    likeliest = move.logits.argmax(1)
    step = torch.zeros_like(move.displacement)
    step.scatter_(1, (likeliest // 2)[:, None], STEP_MM)
    return step * (1 - 2 * (likeliest % 2))[:, None]


def rule_b(move: Move) -> Tensor:
    """Go as far as the regression says."""
    return move.displacement


def rule_c(move: Move) -> Tensor:
    """Go as far as the regression says, weighted along each axis by the likelier of its two directions."""
    return most_likely(move.logits) * move.displacement


def most_likely(logits: Tensor) -> Tensor:
    """Return P_max, (B, n_o)."""
    return logits.softmax(1).reshape(len(logits), -1, 2).amax(2)


RULES: dict[str, Rule] = {"A": rule_a, "B": rule_b, "C": rule_c}

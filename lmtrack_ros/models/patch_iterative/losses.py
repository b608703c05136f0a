"""What the network is trained by (eqs. 1 and 2)."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from lmtrack_ros.models.patch_iterative.network import Move


def directions(displacement: Tensor) -> Tensor:
    """Return (B,) labels c^GT of (B, n_o) true displacements: 2 i of c_i⁺, 2 i + 1 of c_i⁻ (eq. 1)."""
    greatest = displacement.abs().argmax(1)
    along = displacement.gather(1, greatest[:, None])[:, 0]
    return 2 * greatest + (along <= 0).long()


def losses(found: Move, true: Tensor, classification_weight: float, unit_mm: float) -> Mapping[str, Tensor]:
    """Return both terms of eq. 2, weighted, by name.

    Args:
        found: by the network.
        true: (B, n_o) displacements, mm.
        classification_weight: α.
        unit_mm: displacement that counts as one.
    """
    terms = {}
    # not 0 times what may be infinite
    if classification_weight < 1:
        squared = functional.mse_loss(found.displacement / unit_mm, true / unit_mm)
        terms["regression"] = (1 - classification_weight) * squared
    if classification_weight > 0:
        entropy = functional.cross_entropy(found.logits, directions(true))
        terms["classification"] = classification_weight * entropy
    return terms

"""Mixed precision where it helps."""

import math
from contextlib import AbstractContextManager
from typing import Any

import torch


class Precision:
    """Half precision with scaled gradients on CUDA, plain float32 elsewhere.

    Half precision resolves a coordinate of 224 px to 0.1 px: compute outputs in pixels, and losses, in
    float32 outside of :meth:`autocast`.

    Args:
        device: where the network is.
    """

    def __init__(self, device: torch.device) -> None:
        self._kind = device.type
        self._scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which to run the network forward."""
        return torch.autocast(self._kind, torch.float16, enabled=self._scaler.is_enabled())

    def step(
        self, loss: torch.Tensor, optimiser: torch.optim.Optimizer, greatest_norm: float = math.inf
    ) -> None:
        """Take one optimisation step on a scalar loss; a step whose gradients overflow is left out.

        Args:
            loss: to lower.
            optimiser: of the weights that it depends on.
            greatest_norm: of the gradient; a longer one is shortened to it.
        """
        optimiser.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if greatest_norm < math.inf:
            self._scaler.unscale_(optimiser)
            weights = [w for group in optimiser.param_groups for w in group["params"]]
            torch.nn.utils.clip_grad_norm_(weights, greatest_norm)
        self._scaler.step(optimiser)
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Return the scale, for a checkpoint."""
        return self._scaler.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a scale over."""
        self._scaler.load_state_dict(state_dict)

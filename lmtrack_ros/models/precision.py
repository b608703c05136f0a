"""Mixed precision where it helps."""

import math
from contextlib import AbstractContextManager
from typing import Any

import torch


class Precision:
    """Half precision with scaled gradients on CUDA; if asked for, bfloat16 on processors that have it.

    Half precision resolves a coordinate of 224 px to 0.1 px: compute outputs in pixels, and losses, in
    float32 outside of :meth:`autocast`.

    Args:
        device: where the network is.
        half_on_cpu: for a network that has no use for more than two digits.
    """

    def __init__(self, device: torch.device, *, half_on_cpu: bool = False) -> None:
        self._kind = device.type
        self._scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
        self._in_bfloat16 = half_on_cpu and device.type == "cpu" and _has_bfloat16()

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which to run the network forward."""
        kind = torch.bfloat16 if self._in_bfloat16 else torch.float16
        return torch.autocast(self._kind, kind, enabled=self._in_bfloat16 or self._scaler.is_enabled())

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


def _has_bfloat16() -> bool:
    # elsewhere it is emulated, and slower than float32
    return bool(torch.cpu._is_avx512_bf16_supported())

"""What a backend is given, and what it makes of it."""

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Runner(Protocol):
    """A network made ready for fixed shapes, between buffers that stay where they are."""

    @property
    def inputs(self) -> Sequence[NDArray[Any]]:
        """Buffers on the host, with the shapes and types of the probe; to be filled before a call."""

    @property
    def outputs(self) -> Sequence[NDArray[np.float32]]:
        """Buffers on the host that a call overwrites."""

    def __call__(self) -> None:
        """Run the network once; when this returns, the outputs are there."""


@dataclass(frozen=True, eq=False)
class Task:
    """A network to be made ready.

    Attributes:
        network: in evaluation mode, on the CPU, in float32.
        probe: example inputs, on the CPU: they fix the shapes.
        output_shapes: of the network's outputs for such inputs.
        device: ``cpu`` or ``cuda``.
        precision: key of ``DTYPES``.
        threads: for a backend that runs on the CPU.
    """

    network: nn.Module
    probe: tuple[Tensor, ...]
    output_shapes: tuple[tuple[int, ...], ...]
    device: str
    precision: str
    threads: int

    def placed(self) -> "PlacedNetwork":
        """Return a copy of the network on the device, in the precision."""
        return PlacedNetwork(self.network, self.device, DTYPES[self.precision])

    def placed_probe(self) -> tuple[Tensor, ...]:
        """Return a copy of the probe on the device."""
        return tuple(p.to(self.device, copy=True) for p in self.probe)

    def exported(self, network: nn.Module) -> torch.export.ExportedProgram:
        """Return the graph of a network that lies where :meth:`placed_probe` does."""
        with torch.no_grad():
            return torch.export.export(network, self.placed_probe())


class PlacedNetwork(nn.Module):
    """A copy of a network on a device that answers with a tuple of float32 tensors.

    In lower precision it runs under autocast, so that what is sensitive stays in float32 and a network may
    exempt more by ``torch.autocast(..., enabled=False)``.
    """

    def __init__(self, network: nn.Module, device: str, dtype: torch.dtype) -> None:
        super().__init__()
        self._network = copy.deepcopy(network).eval().requires_grad_(False).to(device)
        self._device, self._dtype = device, dtype
        if dtype != torch.float32:
            for module in self._network.modules():
                # cast once what autocast would cast at every call
                if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
                    module.to(dtype)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the network as a tuple, float32 each."""
        lowered = self._dtype != torch.float32
        with torch.autocast(self._device, self._dtype) if lowered else nullcontext():
            outputs = self._network(*inputs)
        outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
        return tuple(o.float() for o in outputs)

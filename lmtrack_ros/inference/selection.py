"""In which order devices, backends and precisions are tried."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from lmtrack_ros.inference.parameters import InferenceParameters

_COMPETITORS: Mapping[tuple[str, bool], tuple[str, ...]] = MappingProxyType(
    {
        # by device, and whether in lower precision
        ("cuda", False): ("tensorrt", "eager"),
        ("cuda", True): ("tensorrt", "eager"),
        ("cpu", False): ("openvino", "eager"),
        # eager emulates lower precision on most processors, far slower than fp32
        ("cpu", True): ("openvino",),
    }
)
"""What ``auto`` lets compete. The compiler takes a minute for what these do as well: only by name."""


class Candidate(NamedTuple):
    """One way to run a network."""

    device: str
    backend: str
    precision: str

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.backend} on {self.device} in {self.precision}"


def rounds(parameters: InferenceParameters, *, has_cuda: bool) -> list[list[Candidate]]:
    """Return groups of candidates, the most wanted first: the fastest sound one of the first group runs.

    The last group has eager fp32 on the CPU, which needs nothing.
    """
    wants_cuda = parameters.device != "cpu" and parameters.backend != "openvino"
    devices = ("cuda", "cpu") if wants_cuda and has_cuda else ("cpu",)
    groups = [
        [Candidate(device, backend, precision) for backend in _COMPETITORS[device, precision != "fp32"]]
        for device in devices
        for precision in dict.fromkeys((parameters.precision, "fp32"))
    ]
    if parameters.backend == "auto" or (parameters.backend == "tensorrt" and not has_cuda):
        return groups
    named = Candidate(devices[0], parameters.backend, parameters.precision)
    others = [[candidate for candidate in group if candidate != named] for group in groups]
    return [[named], *(group for group in others if group)]

"""How a network is run: the ``inference`` group of every tracker that has one."""

from dataclasses import dataclass

from lmtrack_ros.core.parameters import parameter


@dataclass(frozen=True)
class InferenceParameters:
    """Where and how a network runs."""

    device: str = parameter(
        "auto", "auto: CUDA where there is one, else the CPU", choices=("auto", "cpu", "cuda")
    )
    backend: str = parameter(
        "auto",
        "what runs the network; auto: the fastest on this machine that agrees with eager fp32",
        choices=("auto", "eager", "compile", "tensorrt", "openvino"),
    )
    precision: str = parameter(
        "fp32",
        "floating-point format of convolutions and matrix products; lower ones need a device that has them",
        choices=("fp32", "fp16", "bf16"),
    )

    def __post_init__(self) -> None:
        for backend, device in (("openvino", "cpu"), ("tensorrt", "cuda")):
            if self.backend == backend and self.device not in ("auto", device):
                raise ValueError(f"backend {backend} runs on {device} only, not on device {self.device}")

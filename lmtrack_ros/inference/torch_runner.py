"""Runs a function on tensors, as eager and compiled networks are, between fixed buffers."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from lmtrack_ros.inference.task import Runner, Task

Function = Callable[..., Sequence[Tensor]]
"""From the inputs to the float32 outputs, all on the task's device."""

_WARM_UP_RUNS = 3


def torch_runner(function: Function, task: Task) -> Runner:
    """Return a runner of the function on the task's device."""
    return _CudaGraphRunner(function, task) if task.device == "cuda" else _HostRunner(function, task)


class _HostRunner:
    def __init__(self, function: Function, task: Task) -> None:
        self._function = function
        self._inputs = task.placed_probe()
        self.inputs = [i.numpy() for i in self._inputs]
        self.outputs = [np.empty(shape, np.float32) for shape in task.output_shapes]

    def __call__(self) -> None:
        with torch.inference_mode():
            for output, result in zip(self.outputs, self._function(*self._inputs), strict=True):
                np.copyto(output, result.numpy())


class _CudaGraphRunner:
    """Records the kernels of one call and launches them as one; copies go through pinned memory."""

    def __init__(self, function: Function, task: Task) -> None:
        self._host_inputs = [p.clone().pin_memory() for p in task.probe]
        self._host_outputs = [torch.empty(s, pin_memory=True) for s in task.output_shapes]
        self.inputs = [i.numpy() for i in self._host_inputs]
        self.outputs = [o.numpy() for o in self._host_outputs]
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._graph = torch.cuda.CUDAGraph()
        with (
            torch.inference_mode(),
            # the graph keeps the kernels chosen here: the same ones at every start, in true float32
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
        ):
            self._inputs = task.placed_probe()
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                for _ in range(_WARM_UP_RUNS):
                    function(*self._inputs)
            self._stream.synchronize()
            # other threads of the process may use CUDA meanwhile
            with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
                self._outputs = function(*self._inputs)
        # the graph points into what the function holds
        self._function = function

    def __call__(self) -> None:
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            for device, host in zip(self._inputs, self._host_inputs, strict=True):
                device.copy_(host, non_blocking=True)
            self._graph.replay()
            for host, device in zip(self._host_outputs, self._outputs, strict=True):
                host.copy_(device, non_blocking=True)
        self._stream.synchronize()

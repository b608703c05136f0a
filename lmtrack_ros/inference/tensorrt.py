"""TensorRT on CUDA; torch-tensorrt translates the network."""

import tensorrt as trt
import torch
from torch import Tensor

from lmtrack_ros.inference.task import Runner, Task
from lmtrack_ros.inference.torch_runner import torch_runner


def build(task: Task) -> bytes:
    """Translate the whole network into one engine for the graphics card at hand."""
    # to run an engine takes TensorRT alone
    from torch_tensorrt.dynamo import convert_exported_program_to_serialized_trt_engine

    return bytes(
        convert_exported_program_to_serialized_trt_engine(
            task.exported(task.placed()), arg_inputs=task.placed_probe(), disable_tf32=True
        )
    )


def load(engine: bytes, task: Task) -> Runner:
    """Return the engine ready to run."""
    return torch_runner(_TensorRtFunction(engine, task), task)


class _TensorRtFunction:
    def __init__(self, engine: bytes, task: Task) -> None:
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            raise RuntimeError("TensorRT does not read this engine")
        self._context = self._engine.create_execution_context()
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        modes = {name: self._engine.get_tensor_mode(name) for name in names}
        self._input_names = [n for n in names if modes[n] == trt.TensorIOMode.INPUT]
        output_names = [n for n in names if modes[n] == trt.TensorIOMode.OUTPUT]
        self._outputs = tuple(torch.empty(shape, device=task.device) for shape in task.output_shapes)
        for name, output in zip(output_names, self._outputs, strict=True):
            self._context.set_tensor_address(name, output.data_ptr())

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        for name, tensor in zip(self._input_names, inputs, strict=True):
            self._context.set_tensor_address(name, tensor.data_ptr())
        if not self._context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise RuntimeError("TensorRT did not run")
        return self._outputs

"""OpenVINO, the fastest on the CPU."""

from dataclasses import replace
from typing import Any

import numpy as np
import openvino as ov

from lmtrack_ros.inference.task import Runner, Task

_PRECISION_HINTS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}


def build(task: Task) -> bytes:
    """Convert and compile.

    Raises:
        RuntimeError: the processor has no arithmetic of this precision.
    """
    core = ov.Core()
    # asked for a precision that the processor lacks, OpenVINO silently computes in float32
    if task.precision.upper() not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise RuntimeError(f"this processor does not compute in {task.precision}")
    program = task.exported(replace(task, precision="fp32").placed())
    model = ov.convert_model(program, input=[ov.PartialShape(list(p.shape)) for p in task.probe])
    return bytes(core.compile_model(model, "CPU", _settings(task)).export_model().getvalue())


def load(engine: bytes, task: Task) -> Runner:
    """Return the compiled network ready to run."""
    return _OpenVinoRunner(ov.Core().import_model(engine, "CPU", _settings(task)), task)


def _settings(task: Task) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": task.threads,
        "INFERENCE_PRECISION_HINT": _PRECISION_HINTS[task.precision],
    }


class _OpenVinoRunner:
    """Reads and writes the buffers in place: nothing is allocated or copied per call."""

    def __init__(self, compiled: ov.CompiledModel, task: Task) -> None:
        self.inputs = [np.array(p.numpy()) for p in task.probe]
        self.outputs = [np.empty(shape, np.float32) for shape in task.output_shapes]
        self._request = compiled.create_infer_request()
        for index, array in enumerate(self.inputs):
            self._request.set_input_tensor(index, ov.Tensor(array, shared_memory=True))
        for index, array in enumerate(self.outputs):
            self._request.set_output_tensor(index, ov.Tensor(array, shared_memory=True))

    def __call__(self) -> None:
        self._request.infer()

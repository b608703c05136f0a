"""The compiler of torch.compile, ahead of time: its result outlives the process and serves any thread."""

import io

import torch._inductor

from lmtrack_ros.inference.task import Runner, Task
from lmtrack_ros.inference.torch_runner import torch_runner


def build(task: Task) -> bytes:
    """Compile; needs a C++ compiler."""
    package = io.BytesIO()
    torch._inductor.aoti_compile_and_package(
        task.exported(task.placed()), package_path=package, inductor_configs={"freezing": True}
    )
    return package.getvalue()


def load(engine: bytes, task: Task) -> Runner:
    """Return the compiled network ready to run."""
    # its own synchronisation cannot be recorded in a CUDA graph
    function = torch._inductor.aoti_load_package(
        io.BytesIO(engine), run_single_threaded=task.device == "cuda"
    )
    return torch_runner(lambda *inputs: _as_tuple(function(*inputs)), task)


def _as_tuple(outputs: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)

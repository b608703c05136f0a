"""The network as it is written; on CUDA as a graph of its kernels. What every backend is compared with."""

from lmtrack_ros.inference.task import Runner, Task
from lmtrack_ros.inference.torch_runner import torch_runner


def load(task: Task) -> Runner:
    """Return the network ready to run."""
    return torch_runner(task.placed(), task)

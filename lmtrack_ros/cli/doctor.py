"""``lmtrack doctor``: what of the environment is there, in plain words."""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from lmtrack_ros.core.errors import EXIT_USER_ERROR
from lmtrack_ros.ros import environment

_SHARED_MEMORY = Path("/dev/shm")
_NEEDED_SHARED_MEMORY_MIB = 512


class Finding(NamedTuple):
    """One part of the environment.

    Attributes:
        part: its name.
        state: ``ok``, ``optional`` (missing, and some features with it) or ``missing`` (nothing runs).
        found: what is there, or what is not.
        advice: what to do about it; empty where nothing is.
    """

    part: str
    state: str
    found: str
    advice: str = ""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; exit code 2 where something needed is missing."""
    environment.prepare()
    findings = [check() for check in _CHECKS]
    if arguments.json:
        sys.stdout.write(json.dumps({"findings": [f._asdict() for f in findings]}) + "\n")
    else:
        console = Console(highlight=False)
        marks: Mapping[str, str] = {
            "ok": "[green]✓[/]",
            "optional": "[yellow]○[/]",
            "missing": "[red]✗[/]",
        }
        for finding in findings:
            console.print(f"{marks[finding.state]} {finding.part:16} {finding.found}", soft_wrap=True)
            if finding.advice:
                console.print(f"  {'':16} → {finding.advice}", soft_wrap=True)
    return EXIT_USER_ERROR if any(f.state == "missing" for f in findings) else 0


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 10) <= sys.version_info[:2] <= (3, 13):
        return Finding("Python", "ok", f"{version} in {sys.prefix}")
    return Finding("Python", "missing", version, "use Python 3.10 to 3.13")


def _ros() -> Finding:
    try:
        import_module("rclpy").init()
        import_module("rclpy").try_shutdown()
    except Exception as error:  # whatever is wrong with an installation is to be told, not raised
        return Finding(
            "ROS 2", "missing", f"rclpy does not start: {error}", "run 'make setup', or source a ROS 2 Jazzy"
        )
    full = shutil.which("ros2") is not None
    where = (
        "a full installation" if full else "from wheels (no ros2 command; 'lmtrack operate' arms the gate)"
    )
    return Finding("ROS 2", "ok", f"{os.environ.get('ROS_DISTRO', 'jazzy')}, {where}")


def _messages() -> Finding:
    try:
        import_module("lmtrack_ros.msg")
        import_module("lmtrack_ros.srv")
    except ImportError as error:
        return Finding("messages", "missing", str(error), "run 'make setup', or 'colcon build' and source it")
    return Finding("messages", "ok", "lmtrack_ros.msg and lmtrack_ros.srv are built")


def _middleware() -> Finding:
    name = os.environ["RMW_IMPLEMENTATION"]
    profile = os.environ.get(environment.FASTDDS_PROFILE)
    if name != "rmw_fastrtps_cpp":
        return Finding("middleware", "ok", f"{name}; make sure it carries frames of some MiB")
    if not profile or not Path(profile).is_file():
        return Finding(
            "middleware",
            "optional",
            f"{name} without a profile for large frames: they will be lost",
            f"unset {environment.FASTDDS_PROFILE}, or let it name a profile with a large segment_size",
        )
    return Finding("middleware", "ok", f"{name}, profile {profile}")


def _shared_memory() -> Finding:
    if not _SHARED_MEMORY.is_dir():
        return Finding("shared memory", "optional", "there is no /dev/shm: frames go through UDP")
    free_mib = shutil.disk_usage(_SHARED_MEMORY).free // 2**20
    if free_mib < _NEEDED_SHARED_MEMORY_MIB:
        return Finding(
            "shared memory",
            "optional",
            f"only {free_mib} MiB free in /dev/shm; each process may take 64 MiB",
            "start the container with --shm-size=1g, or --ipc=host",
        )
    return Finding("shared memory", "ok", f"{free_mib} MiB free")


def _graphics_card() -> Finding:
    if shutil.which("nvidia-smi") is None:
        return Finding("GPU", "optional", "no NVIDIA driver; the classical tracker needs none")
    return Finding("GPU", "ok", "NVIDIA driver found; the classical tracker does not use it")


def _torch() -> Finding:
    try:
        torch = import_module("torch")
    except ImportError as error:
        return Finding(
            "torch",
            "optional",
            f"does not import ({error}): only the classical tracker runs",
            "pip install -r requirements/models.txt",
        )
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU"
    return Finding("torch", "ok", f"{torch.__version__}, runs models on {device}")


def _optional(part: str, module: str, missing: str, advice: str) -> Callable[[], Finding]:
    def check() -> Finding:
        try:
            found = import_module(module)
        except ImportError:
            return Finding(part, "optional", missing, advice)
        version = getattr(found, "__version__", None)
        # a version may go on with the build it is of
        told = version.partition("-")[0] if version else f"{module.partition('.')[0]} is installed"
        return Finding(part, "ok", told)

    return check


_CHECKS: tuple[Callable[[], Finding], ...] = (
    _python,
    _ros,
    _messages,
    _middleware,
    _shared_memory,
    _graphics_card,
    _torch,
    _optional(
        "openvino",
        "openvino",
        "not installed: on the CPU the models run several times slower",
        "pip install -r requirements/models.txt",
    ),
    _optional(
        "torch-tensorrt",
        "torch_tensorrt",
        "not installed: optional, for models on an NVIDIA card",
        "pip install -r requirements/tensorrt.txt",
    ),
    _optional(
        "launch",
        "launch_ros",
        "no launch_ros: the launch files do not run",
        "'lmtrack run' starts the same nodes",
    ),
    _optional("tf", "tf2_msgs.msg", "no tf2_msgs: /tf is not published", "needs a full ROS 2 Jazzy"),
    _optional("synchroniser", "message_filters", "no message_filters: our own exact matching is used", ""),
    _optional("cv_bridge", "cv_bridge", "no cv_bridge: Bayer and YUV images are refused", ""),
)

"""The card of trained weights: where they come from and how good they are, in Markdown."""

import os
import platform
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

import torch

import lmtrack_ros
from lmtrack_ros.models.description import Description
from lmtrack_ros.models.figures import figures, number
from lmtrack_ros.models.trainee import Trainee
from lmtrack_ros.training.plan import command
from lmtrack_ros.training.run_folder import Progress

_PACKAGES = ("torch", "torchvision", "numpy", "safetensors")


def card(description: Description, trainee: Trainee, progress: Progress) -> str:
    """Return the card of a run that is at its end."""
    best = progress.best or {}
    parameters = sum(p.numel() for p in trainee.network.parameters())
    sections = [
        f"# {description.model}, {description.preset}, trained on {', '.join(description.data)}",
        f"{description.declared.summary}\n\nResearch software, not a medical device.",
        f"```sh\n{command(description)}\n```",
        _table(
            ("training", ""),
            [
                ("seed", str(description.seed)),
                ("began from", description.start or "nothing"),
                ("epochs", f"{len(progress.history)} of {trainee.steps_per_epoch} steps"),
                ("best epoch", f"{best['epoch']}: " + figures(best["validation"])),
                ("wall time", f"{progress.trained_s / 60:.1f} min on {_machine(trainee.device)}"),
                ("versions", _versions()),
                ("parameters", f"{parameters:,}"),
            ],
        ),
        _table(("data", "what is in it"), trainee.split().items()),
        _table(("score on the test set", ""), [(name, number(v)) for name, v in description.scores.items()]),
        "Scores are of the weights in half precision, as they are shipped.",
        _table(("configuration", ""), [(name, str(v)) for name, v in description.values.items()]),
    ]
    return "\n\n".join(sections) + "\n"


def _table(head: tuple[str, str], rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"| {left} | {right} |" for left, right in [head, ("---", "---"), *rows])


def _machine(device: torch.device) -> str:
    cores = f"{os.cpu_count()} cores ({platform.machine()})"
    return f"{torch.cuda.get_device_name(device)}, {cores}" if device.type == "cuda" else cores


def _versions() -> str:
    found = [f"lmtrack_ros {lmtrack_ros.__version__}", f"Python {sys.version.split()[0]}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:  # a package may be there without its metadata
            continue
    return ", ".join(found)

"""What to train: from the words of a command to a description, and back."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmtrack_ros.core.errors import UserError, unknown_name
from lmtrack_ros.core.parameters import build
from lmtrack_ros.models import find_model
from lmtrack_ros.models.description import Description, find_weights, plain_values
from lmtrack_ros.models.model import Mode, Model

_FOLDER = Path("runs")


def plan(
    model: str,
    *,
    mode: str | None = None,
    preset: str | None = None,
    data: Sequence[str] = (),
    seed: int | None = None,
    start: str | None = None,
    epochs: int | None = None,
) -> Description:
    """Return what a run with these words trains; what is not said is the mode's, or the model's default.

    Raises:
        UserError: an unknown model, mode, preset or data set, or weights that are not there.
    """
    declared = find_model(model)
    if mode is not None:
        chosen = _mode(declared, mode)
        preset, data, start = preset or chosen.preset, data or [chosen.data], start or chosen.start or None
    preset = preset or next(iter(declared.presets))
    if preset not in declared.presets:
        raise unknown_name(f"preset of {model}", preset, declared.presets)
    goes_with = [one.data for one in declared.modes.values() if one.preset == preset]
    data = tuple(data) or (*goes_with, *declared.data)[:1]
    for what in data:
        if what not in declared.data and not declared.own_images:
            raise UserError(f"{model} trains on phantoms alone ({', '.join(declared.data)}), not on {what}")
        if what not in declared.data and not Path(what).exists():
            raise unknown_name(f"data of {model} (and no such folder)", what, declared.data)
        if what in declared.data and Path(what).exists():
            raise UserError(f"{what} is a data set of {model} and a folder: for the folder, say ./{what}")
    if len(set(data)) < len(data):
        raise UserError(f"the same data twice: {', '.join(data)}")
    if seed is not None and seed < 0:
        raise UserError(f"the seed must be at least 0, got {seed}")
    if start is not None:
        find_weights(declared, start)
    configuration = declared.presets[preset]
    if epochs is not None:
        given = {**plain_values(configuration), "epochs": epochs}
        configuration = build(declared.configuration, given, model)
    return Description(model, preset, data, seed or 0, plain_values(configuration), start or "")


def _mode(declared: Model, name: str) -> Mode:
    if not declared.modes:
        raise UserError(f"{declared.name} is trained in one way: leave out --mode")
    if name not in declared.modes:
        raise unknown_name(f"mode of {declared.name}", name, declared.modes)
    return declared.modes[name]


def default_folder(planned: Description) -> Path:
    """Return where a run goes that was given no folder."""
    data = "+".join(Path(what).resolve().name if Path(what).exists() else what for what in planned.data)
    return _FOLDER / f"{planned.model}-{planned.preset}-{data}"


def check_same(begun: Description, folder: Path, said: Mapping[str, Any]) -> None:
    """See that what is said of a run agrees with how it was begun.

    Args:
        begun: what the run is.
        folder: where it is.
        said: words of the command by option, None or empty where not said.

    Raises:
        UserError: something else was said.
    """
    is_ = {
        "MODEL": begun.model,
        "--preset": begun.preset,
        "--data": list(begun.data),
        "--seed": begun.seed,
        "--weights": begun.start,
        "--epochs": begun.configuration.epochs,
    }
    for option, value in said.items():
        if value not in (None, [], is_[option]):
            raise UserError(
                f"the run in {folder} was begun with {option} {_word(is_[option]) or 'left out'}, not "
                f"{_word(value)}: leave it out to resume, or begin another run with another --out"
            )


def command(planned: Description) -> str:
    """Return the command line that trains the same, to a folder of its own choice."""
    words = ["lmtrack", "train", planned.model, "--preset", planned.preset, "--data", *planned.data]
    words += ["--seed", str(planned.seed)]
    if planned.start:
        words += ["--weights", planned.start]
    epochs = planned.configuration.epochs
    if epochs != planned.declared.presets[planned.preset].epochs:
        words += ["--epochs", str(epochs)]
    return shlex.join(words)


def resume_command(planned: Description, folder: Path) -> str:
    """Return the command line that goes on with a run."""
    return shlex.join(["lmtrack", "train", planned.model, "--out", str(folder), "--resume"])


def _word(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)

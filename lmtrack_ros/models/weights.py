"""Weights in files: safetensors that know their model and configuration."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.models.description import FORMAT, Description, description_file, read_description
from lmtrack_ros.models.files import write_whole

_NAMED = 3


def halved(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state with float32 rounded to half precision, the rest as it is.

    Raises:
        UserError: a value is beyond what half precision holds.
    """
    rounded = {name: t.half() if t.dtype == torch.float32 else t for name, t in state.items()}
    _check_finite(rounded, "in half precision, the network")
    return rounded


def widened(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state with all that is not an integer as float32."""
    return {name: t.float() if t.is_floating_point() else t for name, t in state.items()}


def save_weights(path: Path, state: Mapping[str, Tensor], description: Description) -> None:
    """Write weights; what describes them is written by itself.

    Raises:
        UserError: a value is not finite.
        OSError: the folder cannot be written.
    """
    _check_finite(state, "the network")
    # cloned, because safetensors refuses tensors that share memory
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    write_whole(path, save(tensors, _metadata(description)))


def load_weights(path: Path, model: str = "") -> tuple[Description, dict[str, Tensor]]:
    """Read weights and what describes them.

    Args:
        path: of the file.
        model: that they must be of; empty: of whatever one.

    Returns:
        The description, and the state on the CPU; half precision becomes float32.

    Raises:
        UserError: they cannot be read, are not finite, are of another model, or are not what is described
            beside them.
    """
    description = read_description(description_file(path))
    if model and description.model != model:
        raise UserError(f"{path} holds weights of {description.model}, not of {model}")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - is no mapping
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if metadata != _metadata(description):
        raise UserError(f"{path} was not made with the configuration that lies beside it")
    state = widened(state)
    _check_finite(state, str(path))
    return description, state


def fill(network: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Give a network its weights, all of them and no others.

    Args:
        network: to fill, on any device.
        state: by the names of the network's own.
        where: what an error calls the source of the state.

    Raises:
        UserError: a weight is missing, unexpected or of another shape.
    """
    own = network.state_dict()
    shapes = [name for name in own if name in state and own[name].shape != state[name].shape]
    for problem, names in (
        ("lacks", own.keys() - state.keys()),
        ("has unknown", state.keys() - own.keys()),
        ("has other shapes of", shapes),
    ):
        if names:
            first = ", ".join(sorted(names)[:_NAMED])
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            raise UserError(f"{where} does not fit the network: it {problem} {first}{more}")
    network.load_state_dict(dict(state))


def _metadata(description: Description) -> dict[str, str]:
    said = {"model": description.model, "format": FORMAT, "configuration": description.digest}
    # in one entry: several would stand in another order each time, and the same weights be another file
    return {"lmtrack": json.dumps(said)}


def _check_finite(state: Mapping[str, Tensor], what: str) -> None:
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{what} has a weight that is not finite: {name}")

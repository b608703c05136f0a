"""Networks with their weights, as whatever runs them takes them up."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import nn

from lmtrack_ros.models import find_model
from lmtrack_ros.models.description import Description, find_weights
from lmtrack_ros.models.weights import fill, load_weights

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class Loaded(Generic[Network]):
    """A network that is ready to be called.

    Attributes:
        network: in evaluation mode.
        description: of its weights.
        name: of the weights' file, without its ending.
    """

    network: Network
    description: Description
    name: str


def load_network(model: str, weights: str, build: Callable[[Any], Network]) -> Loaded[Network]:
    """Return a model's network with weights.

    Args:
        model: its name.
        weights: a name, a file, or the folder of a run.
        build: makes the network from the model's configuration.

    Raises:
        UserError: there are no such weights, or they cannot be read.
    """
    path = find_weights(find_model(model), weights)
    description, state = load_weights(path, model)
    network = build(description.configuration).eval()
    fill(network, state, str(path))
    return Loaded(network, description, path.stem)

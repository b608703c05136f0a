"""What lies beside weights: enough to build the network again, and what is known of it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lmtrack_ros.core.errors import UserError, unknown_name
from lmtrack_ros.core.parameters import build
from lmtrack_ros.models import Configuration, Model, find_model
from lmtrack_ros.models.files import write_whole

FORMAT = 1
SUFFIX = ".safetensors"
BEST = f"best{SUFFIX}"
CARD = "card.md"
RUN_FILE = "config.yaml"


@dataclass(frozen=True)
class Description:
    """Of trained weights.

    Attributes:
        model: name of the model.
        preset: that it was trained with.
        data: names of data sets, or paths as they were given.
        seed: of the run.
        values: plain values of the configuration.
        start: weights that the run began from; empty where it began anew.
        scores: on the test set, by name with unit; empty until they are measured.
        calibration: from the network's uncertainty to confidence and radius; empty until it is fitted.
    """

    model: str
    preset: str
    data: tuple[str, ...]
    seed: int
    values: Mapping[str, Any]
    start: str = ""
    scores: Mapping[str, float | None] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)

    @property
    def declared(self) -> Model:
        """Return the model."""
        return find_model(self.model)

    @property
    def configuration(self) -> Configuration:
        """Return the configuration.

        Raises:
            UserError: it has a value that the model does not know.
        """
        return build(self.declared.configuration, self.values, f"{self.model}: configuration")

    @property
    def digest(self) -> str:
        """Return a digest of model and configuration, which the weights carry too."""
        said = json.dumps([self.model, self.values], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def write(self, path: Path) -> None:
        """Write as YAML."""
        said = asdict(self)
        configuration = said.pop("values")
        text = yaml.safe_dump({"format": FORMAT, **said, "configuration": configuration}, sort_keys=False)
        write_whole(path, text.encode())


def read_description(path: Path) -> Description:
    """Read a description.

    Raises:
        UserError: it cannot be read, or is not one.
    """
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(said, dict) or said.pop("format", None) != FORMAT:
        raise UserError(f"{path} does not describe weights, or those of another version")
    try:
        return Description(values=said.pop("configuration"), data=tuple(said.pop("data")), **said)
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} does not describe weights: {error}") from error


def plain_values(configuration: Configuration) -> dict[str, Any]:
    """Return the values of a configuration as YAML and JSON know them."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(configuration)))
    return values


def description_file(weights: Path) -> Path:
    """Return what describes a weights file: of its own name, or that of its run.

    Raises:
        UserError: there is none.
    """
    for path in (weights.with_suffix(".yaml"), weights.with_name(RUN_FILE)):
        if path.is_file():
            return path
    raise UserError(f"{weights} has no {weights.stem}.yaml or {RUN_FILE} beside it that describes it")


def shipped_weights(model: Model) -> dict[str, Path]:
    """Return the weights files that come with the package, by name."""
    return {path.stem: path for path in sorted(model.weights_folder.glob(f"*{SUFFIX}"))}


def find_weights(model: Model, name: str) -> Path:
    """Return a weights file: shipped ones by name, a file, or the best of a run's folder.

    Raises:
        UserError: there is none.
    """
    shipped = shipped_weights(model)
    if name in shipped:
        return shipped[name]
    path = Path(name)
    if path.is_dir():
        path = path / BEST
    if not path.is_file():
        if path.suffix == SUFFIX:
            raise UserError(f"there are no weights at '{path}'")
        raise unknown_name(f"weights of {model.name}", name, shipped)
    return path

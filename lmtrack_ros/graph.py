"""Which nodes make up the system: the one description that ``lmtrack run`` and the launch files start."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lmtrack_ros.configuration import load
from lmtrack_ros.core.errors import UserError, unknown_name

PACKAGE = "lmtrack_ros"
EXECUTABLES = ("couch_simulator", "gating", "image_source", "recorder", "tracker")
# first what listens to the others; stopped in this order from the gate on, the recorder last
START_ORDER = ("recorder", "couch_simulator", "gating", "tracker", "image_source")
STOP_ORDER = ("gating", "image_source", "tracker", "couch_simulator", "recorder")


@dataclass(frozen=True)
class NodeDescription:
    """One node of the graph.

    Attributes:
        name: of the node and of its executable.
        config: the parameter file.
        overrides: parameters that win over the file's.
    """

    name: str
    config: Path
    overrides: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def ros_arguments(self, namespace: str = "") -> list[str]:
        """Return the command-line arguments that give the node its name, namespace and parameters."""
        arguments = ["--ros-args", "--params-file", str(self.config)]
        if namespace:
            arguments += ["-r", f"__ns:=/{namespace.strip('/')}"]
        for key, value in self.overrides.items():
            arguments += ["-p", f"{key}:={_yaml(value)}"]
        return arguments


def describe(config: Path, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> list[NodeDescription]:
    """Return the nodes that a configuration has sections for, in the order to start them.

    Args:
        config: ROS parameter file; a section per node.
        overrides: parameters by node name, such as a replay's clock.

    Raises:
        UserError: a section names no node of ours.
    """
    sections = load(config)
    for name in sections:
        if name not in EXECUTABLES:
            raise UserError(f"'{config}': {unknown_name('node', name, EXECUTABLES)}")
    given = overrides or {}
    return [
        NodeDescription(name, config, MappingProxyType(dict(given.get(name, {}))))
        for name in START_ORDER
        if name in sections
    ]


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # quoted, so that a name like "12" stays a text
        return "'" + value.replace("'", "''") + "'"
    return str(value)

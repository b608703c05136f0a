"""Which nodes make up the system: the one description that ``lmtrack run`` and the launch files start."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lmtrack_ros.configuration import load
from lmtrack_ros.core.errors import UserError, unknown_name

PACKAGE = "lmtrack_ros"
# first what listens to the others
START_ORDER = ("recorder", "couch_simulator", "gating", "tracker", "image_source")
# the gate holds while the others still listen; the recorder hears all of it
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
    """Return the nodes of a configuration, in the order to start them.

    Args:
        config: ROS parameter file; a section per node.
        overrides: parameters by node name; a node without a section in the file joins the graph.

    Raises:
        UserError: a section names no node of ours.
    """
    given = overrides or {}
    sections = load(config)
    for name in sections:
        if name not in START_ORDER:
            raise UserError(f"'{config}': {unknown_name('node', name, START_ORDER)}")
    return [
        NodeDescription(name, config, MappingProxyType(dict(given.get(name, {}))))
        for name in START_ORDER
        if name in sections or name in given
    ]


def live(config: Path, uri: str = "", record: str = "") -> list[NodeDescription]:
    """Return the nodes of a configuration for a live run.

    Args:
        config: ROS parameter file.
        uri: of the image source, in place of the configuration's.
        record: where to record; empty: where the configuration says, if it does.
    """
    overrides: dict[str, dict[str, Any]] = {}
    if uri:
        overrides["image_source"] = {"uri": uri}
    if record:
        overrides["recorder"] = {"path": record}
    return describe(config, overrides)


def replay(config: Path, bag: str, rate: float = 1.0, record: str = "") -> list[NodeDescription]:
    """Return the nodes that decide on a recording, on its own time, which the image source publishes.

    Args:
        config: ROS parameter file.
        bag: the recording, or any other source.
        rate: in multiples of real time.
        record: where to record; empty: nowhere.
    """
    simulated = {"use_sim_time": True}
    overrides = {
        "image_source": {"uri": bag, "speed": float(rate), "publish_clock": True},
        "tracker": simulated,
        "gating": simulated,
        "recorder": {"path": record, **simulated},
    }
    wanted = {"image_source", "tracker", "gating"} | ({"recorder"} if record else set())
    return [node for node in describe(config, overrides) if node.name in wanted]


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # quoted, so that a name like "12" stays a text
        return "'" + value.replace("'", "''") + "'"
    return str(value)

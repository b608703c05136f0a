"""Which nodes make up the system: the one description that ``lmtrack run`` and the launch files start."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lmtrack_ros.configuration import load
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.parameters import check

PACKAGE = "lmtrack_ros"
# first what listens to the others
START_ORDER = ("recorder", "couch_simulator", "gating", "tracker", "image_source")
# the gate holds while the others still listen; the recorder hears all of it
STOP_ORDER = ("gating", "image_source", "tracker", "couch_simulator", "recorder")

_IMAGE_LISTENERS = ("tracker", "recorder")

_NAMESPACE = re.compile(r"/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*/?")


@dataclass(frozen=True)
class NodeDescription:
    """One node of the graph.

    Attributes:
        name: of the node and of its executable.
        parameters: those that differ from their defaults, by dotted name. They are handed over one by
            one, for a ROS parameter file would silently not apply to a node in a namespace.
        remappings: other names for the node's topics, or for itself (``__node``).
    """

    name: str
    parameters: Mapping[str, Any]
    remappings: Mapping[str, str] = field(default_factory=dict)

    def ros_arguments(self, namespace: str = "") -> list[str]:
        """Return the command-line arguments that give the node its namespace, names and parameters.

        Raises:
            UserError: the namespace is not one.
        """
        arguments = ["--ros-args"]
        if namespace:
            arguments += ["-r", f"__ns:=/{check_namespace(namespace).strip('/')}"]
        for name, other in self.remappings.items():
            arguments += ["-r", f"{name}:={other}"]
        for key, value in self.parameters.items():
            # JSON is YAML that keeps a text a text and a float a float
            arguments += ["-p", f"{key}:={json.dumps(value)}"]
        return arguments


def check_namespace(namespace: str) -> str:
    """Return a ROS namespace.

    Raises:
        UserError: it is none.
    """
    if namespace and not _NAMESPACE.fullmatch(namespace):
        raise UserError(f"'{namespace}' is no ROS namespace: letters, digits and _, with / between")
    return namespace


def describe(config: Path, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> list[NodeDescription]:
    """Return the nodes of a configuration, in the order to start them.

    Args:
        config: ROS parameter file; a section per node.
        overrides: parameters by node name; a node without a section in the file joins the graph.

    Raises:
        UserError: the configuration is wrong anywhere.
    """
    sections = load(config)
    for name, values in (overrides or {}).items():
        sections[name] = {**sections.get(name, {}), **values}
    checked = check(sections, config)
    return [NodeDescription(name, checked[name]) for name in START_ORDER if name in checked]


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
    return _heard_by_all(describe(config, overrides))


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
        # a replay's clock neither runs evenly nor at the pace of the monotonic one
        "gating": {**simulated, "max_clock_jump_ms": 0.0},
        "recorder": {"path": record, **simulated},
    }
    wanted = {"image_source", "tracker", "gating"} | ({"recorder"} if record else set())
    return _heard_by_all([node for node in describe(config, overrides) if node.name in wanted])


def _heard_by_all(nodes: list[NodeDescription]) -> list[NodeDescription]:
    """Have the source wait for all that take images: a model is ready long after the recorder."""
    listeners = sum(node.name in _IMAGE_LISTENERS for node in nodes)
    if listeners < 2:
        return nodes
    waits = {"wait_for_subscribers": listeners}
    return [
        replace(node, parameters={**waits, **node.parameters}) if node.name == "image_source" else node
        for node in nodes
    ]

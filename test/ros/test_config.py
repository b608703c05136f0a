"""The configurations that come with the package: every key is a parameter, every value builds."""

from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest

from lmtrack_ros.configuration import load
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.parameters import build, field_types
from lmtrack_ros.gating.parameters import GatingParameters
from lmtrack_ros.phantoms.couch import CouchSimulatorParameters
from lmtrack_ros.recording import RecorderParameters
from lmtrack_ros.sources.parameters import SourceParameters
from lmtrack_ros.trackers import parameters_class, tracker_names
from lmtrack_ros.trackers.parameters import TrackerParameters

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "config").glob("*.yaml"))
CLASSES: dict[str, type] = {
    "image_source": SourceParameters,
    "tracker": TrackerParameters,
    "gating": GatingParameters,
    "couch_simulator": CouchSimulatorParameters,
    "recorder": RecorderParameters,
}


def build_section(node: str, section: dict[str, Any]) -> None:
    """Build a node's parameters, and those of each tracker under its name."""
    own = dict(section)
    if node == "tracker":
        for name in tracker_names():
            build(parameters_class(name), own.pop(name, {}), name)
    build(CLASSES[node], own, node)


SECTIONS = [
    pytest.param(node, section, id=f"{config.stem}-{node}")
    for config in CONFIGS
    for node, section in load(config).items()
]


def test_every_setting_has_a_configuration() -> None:
    assert {"demo", "liver_ultrasound", "lung_fluoroscopy", "liver_mr"} <= {c.stem for c in CONFIGS}


@pytest.mark.parametrize(("node", "section"), SECTIONS)
def test_configuration_builds(node: str, section: dict[str, Any]) -> None:
    build_section(node, section)


@pytest.mark.parametrize(("node", "section"), SECTIONS)
def test_misspelt_key_is_refused(node: str, section: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="unknown parameter 'misspelt'"):
        build_section(node, {**section, "misspelt": 1})


@pytest.mark.parametrize(("node", "section"), SECTIONS)
def test_numbers_are_written_as_ros_wants_them(node: str, section: dict[str, Any]) -> None:
    """ROS refuses ``1`` where a parameter is a float: every float has its point, in lists too."""
    classes = {node: CLASSES[node]}
    parts: list[tuple[type, dict[str, Any]]] = [(classes[node], section)]
    if node == "tracker":
        parts += [(parameters_class(n), section.get(n, {})) for n in tracker_names()]
    wrong = []
    while parts:
        cls, values = parts.pop()
        kinds = field_types(cls)
        for name, value in values.items():
            kind = kinds.get(name)
            if is_dataclass(kind):
                parts.append((kind, value))  # type: ignore[arg-type]
            elif kind is float or kind == tuple[float, ...]:
                items = value if isinstance(value, list) else [value]
                wrong += [f"{name}: {item}" for item in items if type(item) is not float]
    assert wrong == []

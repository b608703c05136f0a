"""The parameters of every node's section in a configuration, checked before anything starts."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from lmtrack_ros.core.errors import UserError, unknown_name
from lmtrack_ros.core.parameters import build, defaults, values_of
from lmtrack_ros.gating.parameters import GatingParameters
from lmtrack_ros.phantoms.couch import CouchSimulatorParameters
from lmtrack_ros.recording import RecorderParameters
from lmtrack_ros.sources.parameters import SourceParameters
from lmtrack_ros.trackers import parameters_class, tracker_names
from lmtrack_ros.trackers.parameters import TrackerParameters

# of every ROS node, or of every node of ours
_COMMON = ("use_sim_time", "autostart")

SECTIONS: Mapping[str, type] = {
    "image_source": SourceParameters,
    "tracker": TrackerParameters,
    "gating": GatingParameters,
    "couch_simulator": CouchSimulatorParameters,
    "recorder": RecorderParameters,
}
"""The parameter dataclass of each node."""


def check(sections: Mapping[str, Mapping[str, Any]], path: Path) -> dict[str, dict[str, Any]]:
    """Return each node's parameters that differ from their defaults, typed and with dotted names.

    Args:
        sections: plain values by node, as :func:`lmtrack_ros.configuration.load` reads them.
        path: what the error message calls them.

    Raises:
        UserError: an unknown node or parameter, a value of a wrong type or out of range, or sections that
            do not fit together.
    """
    checked: dict[str, dict[str, Any]] = {}
    for node, section in sections.items():
        if node not in SECTIONS:
            raise UserError(f"{path}: {unknown_name('node', node, SECTIONS)}")
        read: Callable[[Mapping[str, Any], str], Iterator[tuple[str, Any]]]
        read = _read_tracker if node == "tracker" else lambda s, w, c=SECTIONS[node]: _read(c, s, w, "")
        own = {k: v for k, v in section.items() if k not in _COMMON}
        common = {k: section[k] for k in _COMMON if k in section}
        checked[node] = {**common, **dict(read(own, f"{path}: {node}"))}
    if "tracker" in checked and "gating" in checked:
        gives = checked["tracker"].get("second_opinion", False)
        asks = checked["gating"].get("max_second_opinion_mm", 0.0) > 0
        if gives != asks:
            raise UserError(
                f"{path}: a second opinion needs both second_opinion of the tracker and "
                "max_second_opinion_mm of the gate"
            )
    return checked


def _read_tracker(section: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    names = tracker_names()
    own = {key: value for key, value in section.items() if key not in names}
    yield from _read(TrackerParameters, own, where, "")
    for name in (n for n in names if n in section):
        if not isinstance(section[name], Mapping):
            raise UserError(f"{where}: '{name}' must be a group of parameters, got {section[name]!r}")
        yield from _read(parameters_class(name), section[name], f"{where}: {name}", f"{name}.")


def _read(cls: type, values: Mapping[str, Any], where: str, prefix: str) -> Iterator[tuple[str, Any]]:
    yield from _changed(build(cls, values, where), defaults(cls), prefix)


def _changed(parameters: Any, initial: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for field in fields(parameters):
        value = getattr(parameters, field.name)
        if is_dataclass(value):
            yield from _changed(value, values_of(initial[field.name]), f"{prefix}{field.name}.")
        elif value != initial[field.name]:
            yield prefix + field.name, list(value) if isinstance(value, tuple) else value

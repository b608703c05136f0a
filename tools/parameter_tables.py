"""Writes docs/parameters.md from the parameter dataclasses: .venv/bin/python tools/parameter_tables.py."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lmtrack_ros.core.parameters import constraint_of, defaults, field_types, values_of
from lmtrack_ros.gating.parameters import GatingParameters
from lmtrack_ros.phantoms.couch import CouchSimulatorParameters
from lmtrack_ros.recording import RecorderParameters
from lmtrack_ros.sources.parameters import SourceParameters
from lmtrack_ros.trackers import parameters_class, tracker_names
from lmtrack_ros.trackers.parameters import TrackerParameters

PAGE = Path(__file__).resolve().parents[1] / "docs" / "parameters.md"

NODES = {
    "image_source": SourceParameters,
    "tracker": TrackerParameters,
    "gating": GatingParameters,
    "couch_simulator": CouchSimulatorParameters,
    "recorder": RecorderParameters,
}


def rows(cls: type, initial: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield a table row for each parameter of a class, which has these defaults."""
    kinds = field_types(cls)
    for field in fields(cls):
        name, kind = prefix + field.name, kinds[field.name]
        if is_dataclass(kind):
            yield from rows(kind, values_of(initial[field.name]), f"{name}.")
            continue
        constraint = constraint_of(cls, field.name)
        low, high = constraint.minimum, constraint.maximum
        bounds = "" if low is None and high is None else f"{shown(low)} … {shown(high)}"
        if constraint.choices:
            bounds = ", ".join(f"`{c}`" for c in constraint.choices if c)
        yield f"| `{name}` | {default(initial[field.name])} | {bounds} | {constraint.description} |"


def shown(bound: float | None) -> str:
    """Return a bound as text; empty where there is none."""
    return "" if bound is None else f"{bound:g}"


def default(value: Any) -> str:
    """Return a default as YAML would have it."""
    if isinstance(value, tuple):
        return "`[" + ", ".join(default(v).strip("`") for v in value) + "]`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value!r}`".replace("'", '"')


def page() -> str:
    """Return the text of the page."""
    parts = [
        "# Parameters\n",
        "Made by `tools/parameter_tables.py` from the parameter dataclasses; do not edit. Names carry",
        "their unit.",
        "Every node also has `autostart` (default `true`): configure and activate by itself.\n",
    ]
    head = "| name | default | range | meaning |\n|---|---|---|---|"
    for node, cls in NODES.items():
        parts += [f"## {node}\n", head, *rows(cls, defaults(cls))]
        if node == "tracker":
            for name in tracker_names():
                own = parameters_class(name)
                parts += rows(own, defaults(own), f"{name}.")
        parts.append("")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())

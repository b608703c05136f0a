"""Configuration files: ROS parameter YAML, one section per node, read without ROS."""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from lmtrack_ros.core.errors import UserError, unknown_name
from lmtrack_ros.core.geometry import Modality

CONFIG_OF_MODALITY: Mapping[Modality | None, str] = {
    Modality.ULTRASOUND: "liver_ultrasound",
    Modality.FLUOROSCOPY: "lung_fluoroscopy",
    Modality.MR: "liver_mr",
    Modality.ULTRASOUND_VOLUME: "volume_ultrasound",
}
"""The configuration for images of a modality, where the user names none."""

_PACKAGE = "lmtrack_ros"


def share_directories() -> tuple[Path, ...]:
    """Return where the package's config and msg folders are: the source tree first, then installations."""
    source_tree = Path(__file__).resolve().parent.parent
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    shares = [Path(prefix, "share", _PACKAGE) for prefix in prefixes if prefix]
    return tuple(d for d in (source_tree, *shares) if (d / "config").is_dir() or (d / "msg").is_dir())


def cache_directory(name: str) -> Path:
    """Return where the user's cache keeps what can be made anew, such as ``engines``; it need not exist."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / _PACKAGE / name


def config_names() -> tuple[str, ...]:
    """Return the names of the configurations that come with the package, sorted."""
    return tuple(sorted({f.stem for d in share_directories() for f in (d / "config").glob("*.yaml")}))


def find_config(name_or_path: str | Path) -> Path:
    """Return the file of a configuration given by name (``demo``) or by path.

    Raises:
        UserError: there is none.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UserError(f"no configuration file at '{path}'")
        return path
    for directory in share_directories():
        candidate = directory / "config" / f"{name_or_path}.yaml"
        if candidate.is_file():
            return candidate
    raise unknown_name("configuration", str(name_or_path), config_names())


def load(path: Path) -> dict[str, dict[str, Any]]:
    """Return the parameters of each node in a ROS parameter file, by node name.

    Dotted names and nested mappings are the same thing in such a file; here all are nested.

    Raises:
        UserError: the file is not a ROS parameter file.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"cannot read '{path}': {' '.join(str(error).split())}") from error
    if not isinstance(content, Mapping):
        raise UserError(f"'{path}' has no 'node: ros__parameters:' sections")
    nodes = {}
    for node, section in content.items():
        if not isinstance(section, Mapping) or set(section) != {"ros__parameters"}:
            raise UserError(f"'{path}': section '{node}' must hold 'ros__parameters:' and nothing else")
        parameters = section["ros__parameters"] or {}
        if not isinstance(parameters, Mapping):
            raise UserError(f"'{path}': 'ros__parameters:' of '{node}' must hold parameters by name")
        try:
            nodes[str(node)] = nested(parameters)
        except UserError as error:
            raise UserError(f"'{path}': {node}: {error}") from error
    return nodes


def nested(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with every dotted name as a nested mapping.

    Raises:
        UserError: a name stands for two values, or for a value and for a group.
    """
    result: dict[str, Any] = {}
    for path, value in _leaves(parameters, ()):
        into = result
        for group in path[:-1]:
            into = into.setdefault(group, {})
            if not isinstance(into, dict):
                raise UserError(f"'{group}' is both a parameter and a group of parameters")
        if path[-1] in into:
            raise UserError(f"'{'.'.join(path)}' is given twice")
        into[path[-1]] = value
    return result


def _leaves(parameters: Mapping[str, Any], prefix: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in parameters.items():
        path = (*prefix, *str(name).split("."))
        if isinstance(value, Mapping):
            yield from _leaves(value, path)
        else:
            yield path, value

"""Trackers by name: the classical one here, and whatever the entry-point group ``lmtrack.trackers`` adds."""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from lmtrack_ros.core.errors import unknown_name
from lmtrack_ros.core.parameters import build
from lmtrack_ros.trackers.protocol import Tracker

ENTRY_POINT_GROUP = "lmtrack.trackers"

_BUILT_IN = {
    "correlation": "lmtrack_ros.trackers.correlation:CorrelationTracker",
}


def tracker_names() -> tuple[str, ...]:
    """Return the names that :func:`create_tracker` knows, sorted."""
    return tuple(sorted({*_BUILT_IN, *_entry_points()}))


def tracker_class(name: str) -> type[Tracker]:
    """Import and return the class of a tracker; its ``Parameters`` is its parameter dataclass.

    Raises:
        UserError: there is no tracker of that name.
    """
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        return cast("type[Tracker]", getattr(import_module(module), attribute))
    if name in (others := _entry_points()):
        return cast("type[Tracker]", others[name].load())
    raise unknown_name("tracker", name, tracker_names())


def create_tracker(name: str, parameters: Mapping[str, Any] | None = None) -> Tracker:
    """Return a new tracker.

    Args:
        name: one of :func:`tracker_names`.
        parameters: plain values by name; the rest keep their defaults.

    Raises:
        UserError: an unknown name or a bad parameter.
    """
    cls = cast(Any, tracker_class(name))
    return cast(Tracker, cls(build(cls.Parameters, parameters or {}, name)))


def _entry_points() -> dict[str, EntryPoint]:
    return {e.name: e for e in entry_points(group=ENTRY_POINT_GROUP)}


__all__ = ["Tracker", "create_tracker", "tracker_class", "tracker_names"]

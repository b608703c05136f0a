"""Trackers by name: the classical one here, and whatever the entry-point group ``lmtrack.trackers`` adds."""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, cast

from lmtrack_ros.core.errors import UserError, unknown_name
from lmtrack_ros.core.parameters import build
from lmtrack_ros.trackers.protocol import Tracker

ENTRY_POINT_GROUP = "lmtrack.trackers"

_BUILT_IN: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "correlation": (
            "lmtrack_ros.trackers.correlation:CorrelationTracker",
            "lmtrack_ros.trackers.correlation:CorrelationParameters",
        ),
        "attention_mask_rcnn": (
            "lmtrack_ros.models.attention_mask_rcnn.tracker:AttentionMaskRcnnTracker",
            "lmtrack_ros.models.attention_mask_rcnn.parameters:AttentionMaskRcnnParameters",
        ),
        "coarse_to_fine_unet": (
            "lmtrack_ros.models.coarse_to_fine_unet.tracker:CoarseToFineUnetTracker",
            "lmtrack_ros.models.coarse_to_fine_unet.parameters:CoarseToFineUnetParameters",
        ),
        "landmark_net": (
            "lmtrack_ros.models.landmark_net.tracker:LandmarkNetTracker",
            "lmtrack_ros.models.landmark_net.parameters:LandmarkNetParameters",
        ),
        "patch_iterative": (
            "lmtrack_ros.models.patch_iterative.tracker:PatchIterativeTracker",
            "lmtrack_ros.models.patch_iterative.parameters:PatchIterativeParameters",
        ),
        "template_matching": (
            "lmtrack_ros.models.template_matching.tracker:TemplateMatchingTracker",
            "lmtrack_ros.models.template_matching.parameters:TemplateMatchingParameters",
        ),
    }
)
"""The class of each tracker and that of its parameters, which loads no library that a model runs with."""

_OF_MODELS = ("torch", "torchvision", "safetensors")
"""Libraries that may be missing where no model runs."""


def tracker_names() -> tuple[str, ...]:
    """Return the names that :func:`create_tracker` knows, sorted."""
    return tuple(sorted({*_BUILT_IN, *_entry_points()}))


def tracker_class(name: str) -> type[Tracker]:
    """Import and return the class of a tracker.

    Raises:
        UserError: there is no tracker of that name, or what it runs with is not installed.
    """
    if name not in _BUILT_IN:
        return _other(name)
    try:
        return cast("type[Tracker]", _imported(_BUILT_IN[name][0]))
    except ModuleNotFoundError as error:
        if error.name in _OF_MODELS:
            raise UserError(
                f"the {name} tracker needs {error.name}: pip install -r requirements/models.txt"
            ) from error
        raise


def parameters_class(name: str) -> type[Any]:
    """Import and return the parameter dataclass of a tracker.

    Raises:
        UserError: there is no tracker of that name.
    """
    if name in _BUILT_IN:
        return cast("type[Any]", _imported(_BUILT_IN[name][1]))
    return cast("type[Any]", cast(Any, _other(name)).Parameters)


def create_tracker(name: str, parameters: Mapping[str, Any] | None = None) -> Tracker:
    """Return a new tracker.

    Args:
        name: one of :func:`tracker_names`.
        parameters: plain values by name; the rest keep their defaults.

    Raises:
        UserError: an unknown name or a bad parameter.
    """
    values = build(parameters_class(name), parameters or {}, name)
    return cast(Tracker, cast(Any, tracker_class(name))(values))


def _imported(where: str) -> Any:
    module, _, attribute = where.partition(":")
    return getattr(import_module(module), attribute)


def _other(name: str) -> type[Tracker]:
    if name not in (others := _entry_points()):
        raise unknown_name("tracker", name, tracker_names())
    return cast("type[Tracker]", others[name].load())


def _entry_points() -> dict[str, EntryPoint]:
    return {e.name: e for e in entry_points(group=ENTRY_POINT_GROUP)}


__all__ = ["Tracker", "create_tracker", "parameters_class", "tracker_class", "tracker_names"]

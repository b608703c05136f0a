"""Models by name: one folder per paper, each declared by a ``MODEL`` that does not load torch."""

from importlib import import_module

from lmtrack_ros.core.errors import unknown_name
from lmtrack_ros.models.model import Configuration, Model

_MODELS = {
    "attention_mask_rcnn": "lmtrack_ros.models.attention_mask_rcnn:MODEL",
    "coarse_to_fine_unet": "lmtrack_ros.models.coarse_to_fine_unet:MODEL",
    "landmark_net": "lmtrack_ros.models.landmark_net:MODEL",
    "patch_iterative": "lmtrack_ros.models.patch_iterative:MODEL",
    "template_matching": "lmtrack_ros.models.template_matching:MODEL",
}


def model_names() -> tuple[str, ...]:
    """Return the names that :func:`find_model` knows, sorted."""
    return tuple(sorted(_MODELS))


def find_model(name: str) -> Model:
    """Return what is declared of a model.

    Raises:
        UserError: there is no model of that name.
    """
    if name not in _MODELS:
        raise unknown_name("model", name, _MODELS)
    module, _, attribute = _MODELS[name].partition(":")
    declared: Model = getattr(import_module(module), attribute)
    return declared


__all__ = ["Configuration", "Model", "find_model", "model_names"]

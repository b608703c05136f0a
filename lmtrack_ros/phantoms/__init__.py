"""Simulated anatomy with exact ground truth."""

from collections.abc import Mapping
from typing import Any

from lmtrack_ros.core.errors import unknown_name
from lmtrack_ros.core.parameters import build
from lmtrack_ros.phantoms.phantom import Phantom
from lmtrack_ros.phantoms.ultrasound import UltrasoundParameters, UltrasoundPhantom

_PHANTOMS = {"ultrasound": (UltrasoundPhantom, UltrasoundParameters)}


def open_phantom(name: str, parameters: Mapping[str, Any] | None = None) -> Phantom:
    """Return a phantom by the name of its modality.

    Raises:
        UserError: an unknown name or a bad parameter.
    """
    if name not in _PHANTOMS:
        raise unknown_name("phantom", name, _PHANTOMS)
    phantom_class, parameter_class = _PHANTOMS[name]
    return phantom_class(build(parameter_class, parameters or {}, f"phantom:{name}"))

"""Simulated anatomy with exact ground truth."""

from lmtrack_ros.core.errors import unknown_name
from lmtrack_ros.phantoms.phantom import Phantom
from lmtrack_ros.phantoms.ultrasound import UltrasoundParameters, UltrasoundPhantom

_DEFAULTS = {"ultrasound": UltrasoundParameters()}


def open_phantom(name: str, parameters: UltrasoundParameters | None = None) -> Phantom:
    """Return a phantom by the name of its modality.

    Raises:
        UserError: there is no phantom of that name.
    """
    if name not in _DEFAULTS:
        raise unknown_name("phantom", name, _DEFAULTS)
    return UltrasoundPhantom(parameters or _DEFAULTS[name])

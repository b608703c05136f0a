"""Simulated anatomy with exact ground truth."""

from collections.abc import Mapping
from importlib import import_module

from lmtrack_ros.core.errors import unknown_name
from lmtrack_ros.phantoms.phantom import Phantom, PhantomParameters, Preset

__all__ = ["MODALITIES", "Phantom", "PhantomParameters", "Preset", "open_phantom", "presets"]

_CLASSES = {
    "ultrasound": "UltrasoundPhantom",
    "mr": "MrPhantom",
    "fluoroscopy": "FluoroscopyPhantom",
    "portal": "PortalPhantom",
    "volume_ultrasound": "VolumeUltrasoundPhantom",
    "prostate": "ProstatePhantom",
}
"""The phantom of each modality: a module of that name holds the class and its PRESETS."""

MODALITIES = tuple(_CLASSES)


def open_phantom(modality: str, parameters: PhantomParameters | None = None) -> Phantom:
    """Return a phantom by the name of its modality.

    Raises:
        UserError: there is no such phantom or preset, or its trace cannot be read.
    """
    if modality not in _CLASSES:
        raise unknown_name("phantom", modality, _CLASSES)
    made: Phantom = getattr(_module(modality), _CLASSES[modality])(parameters or PhantomParameters())
    return made


def presets(modality: str) -> Mapping[str, Preset]:
    """Return the presets of a modality, the default first."""
    found: Mapping[str, Preset] = _module(modality).PRESETS
    return found


def _module(modality: str):  # type: ignore[no-untyped-def]
    # imported here, so that one phantom does not load what another needs
    return import_module(f"lmtrack_ros.phantoms.{modality}")

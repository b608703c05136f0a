"""Engines on disk, so that only the first start on a machine waits for their building."""

import hashlib
import inspect
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import torch
from torch import nn

logger = logging.getLogger(__name__)

_LIBRARIES = ("lmtrack_ros", "torch", "openvino", "torch-tensorrt")
_DIGEST_BYTES = hashlib.sha256().digest_size


def digest_of(**what: Any) -> str:
    """Return a name for what depends on plain values, the library versions and the machine."""
    depends = {"versions": {name: _version(name) for name in _LIBRARIES}, "machine": _machine(), **what}
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()


def digest_of_network(network: nn.Module) -> str:
    """Return a name for the layers and weights of a network, and for the code of its layers."""
    digest = hashlib.sha256(f"{type(network).__qualname__} {network!r}".encode())
    for kind in sorted({type(layer) for layer in network.modules()}, key=str):
        # a class that was typed in has no source
        with suppress(OSError, TypeError):
            digest.update(inspect.getsource(kind).encode())
    for name, value in network.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _machine() -> Mapping[str, Any]:
    cuda = torch.cuda.is_available()
    return {
        "cpu": dict(torch.cpu.get_capabilities()),
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "compute_capability": torch.cuda.get_device_capability() if cuda else None,
    }


class Cache:
    """Byte strings by digest; a directory that cannot be used is one warning, and nothing is kept.

    Args:
        directory: made when first written to.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._usable = True

    def load(self, digest: str) -> bytes | None:
        """Return what was stored, or None where there is nothing, or nothing sound."""
        if not self._usable:
            return None
        path = self._directory / digest
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._give_up(error)
            return None
        checksum, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        # the libraries may crash on a damaged engine
        if hashlib.sha256(payload).digest() != checksum:
            logger.warning("%s in the cache of engines is damaged and is made anew", path)
            return None
        return payload

    def store(self, digest: str, payload: bytes) -> None:
        """Keep the bytes, whole or not at all."""
        if not self._usable:
            return
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=self._directory, prefix=".", delete=False) as file:
                temporary = Path(file.name)
                try:
                    file.write(hashlib.sha256(payload).digest() + payload)
                    file.flush()
                    temporary.replace(self._directory / digest)
                except OSError:
                    temporary.unlink()
                    raise
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._usable = False
        logger.warning("engines are not kept, so the next start builds them again: %s", error)

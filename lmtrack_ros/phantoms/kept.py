"""Rendered pictures in files, named after all that they depend on."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any


def name_of(*said: Any) -> str:
    """Return the name of what is rendered from such values, all of which JSON knows."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:24]


def keep(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write a file whole or not at all; several processes may write the same.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    with os.fdopen(handle, "wb") as file:
        write(file)
    os.replace(partial, path)

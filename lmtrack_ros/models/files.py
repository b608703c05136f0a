"""Files that are either wholly there or not at all."""

import os
import tempfile
from pathlib import Path

_PARTIAL = ".partial"


def remove_partial(folder: Path) -> None:
    """Remove what a process that was killed while it wrote has left in a folder."""
    for left in folder.glob(f".*{_PARTIAL}"):
        left.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file so that a kill or a power cut leaves the old or the new one, never a part.

    Raises:
        OSError: the folder cannot be written.
    """
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PARTIAL)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(partial, 0o644)  # a temporary file is its owner's alone
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

"""What results that are kept were made of, so that they are made anew once it changes."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from lmtrack_ros.models.files import write_whole

_FILE = "made_of.txt"


def fingerprint(files: Sequence[Path]) -> str:
    """Return a digest of what is in some files, in this order."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def is_made_of(folder: Path, said: str) -> bool:
    """Return whether what a folder holds was made of what has this fingerprint."""
    path = folder / _FILE
    return path.is_file() and path.read_text() == said


def say_made_of(folder: Path, said: str) -> None:
    """Note what a folder's results are made of."""
    write_whole(folder / _FILE, said.encode())

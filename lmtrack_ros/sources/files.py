"""Which source reads which files."""

import re
from collections.abc import Sequence
from pathlib import Path

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.sources import dicom, image_folder, metaimage, video
from lmtrack_ros.sources.options import SourceOptions
from lmtrack_ros.sources.source import Source


def natural_order(path: Path) -> list[tuple[int, str]]:
    """Return a sort key by which ``frame2`` comes before ``frame10``."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in parts]


def folder_files(folder: Path) -> list[Path]:
    """Return the frames in a folder: the files of the one readable kind that it holds, in order.

    Raises:
        UserError: there is none, or there are several kinds.
    """
    kinds: dict[object, list[Path]] = {}
    for file in sorted((f for f in folder.iterdir() if f.is_file()), key=natural_order):
        if not file.name.startswith(".") and (kind := _kind(file)) is not None:
            kinds.setdefault(kind, []).append(file)
    if not kinds:
        raise UserError(
            f"{folder} holds no images: expected a sequence.yaml, a recording, or files like {_EXAMPLES}"
        )
    if len(kinds) > 1:
        examples = ", ".join(files[0].name for files in kinds.values())
        raise UserError(
            f"{folder} holds several kinds of images ({examples}): open one file, or add a sequence.yaml"
        )
    (files,) = kinds.values()
    return files


def open_files(files: Sequence[Path], options: SourceOptions, name: str) -> Source:
    """Open image files, in order, as one source.

    Args:
        files: at least one, all of one kind.
        options: what the user says about them.
        name: for logs and recordings.

    Raises:
        UserError: the kind is unknown, or the files do not make one source.
    """
    kind = _kind(files[0])
    if kind is None:
        raise UserError(f"{files[0]} is of no kind that is read here: expected {_EXAMPLES}")
    if kind is video.VideoSource:
        if len(files) > 1:
            raise UserError(f"{name} has {len(files)} videos: open one of them, such as {files[0]}")
        return video.VideoSource(files[0], options, name)
    if kind is image_folder.ImageFolderSource:
        return image_folder.ImageFolderSource(files, options, name)
    if kind is metaimage.MetaImageSource:
        return metaimage.MetaImageSource(files, options, name)
    return dicom.DicomSource(files, options, name)


_EXAMPLES = ".png, .mp4, .mha, .dcm"

_SUFFIXES: dict[type, tuple[str, ...]] = {
    image_folder.ImageFolderSource: image_folder.SUFFIXES,
    video.VideoSource: video.SUFFIXES,
    metaimage.MetaImageSource: metaimage.SUFFIXES,
    dicom.DicomSource: dicom.SUFFIXES,
}


def _kind(file: Path) -> type | None:
    name = file.name.lower()
    for kind, suffixes in _SUFFIXES.items():
        if name.endswith(suffixes):
            return kind
    # DICOM files from a scanner's disk often have no suffix, or one that is a number
    return dicom.DicomSource if dicom.is_dicom(file) else None

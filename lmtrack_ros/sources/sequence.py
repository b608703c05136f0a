"""A recording described by a ``sequence.yaml`` beside it.

Keys: ``images`` (file or glob pattern, relative), ``modality``, ``spacing_mm`` (columns, rows[, slices]),
``rate_hz``, ``view`` (longitudinal, sagittal, coronal or axial: the image's centre is then at the
isocentre), and of a projection ``sad_mm`` and ``sid_mm`` (source to isocentre, source to detector: with
both, the spacing is at the detector and positions are at the isocentre plane, without them the spacing
is taken as it is), ``pose`` (three rows of the transform image → isocenter, mm, in place of a view); all but
``images`` may be missing where the files themselves or the user say it. Others, such as the licence, are
for people.
"""

from pathlib import Path
from typing import Any

import yaml

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.sources.files import natural_order, open_files
from lmtrack_ros.sources.options import SourceOptions
from lmtrack_ros.sources.source import Source

FILE_NAME = "sequence.yaml"


def open_sequence(folder: Path, options: SourceOptions) -> Source:
    """Open the recording in a folder with a ``sequence.yaml``.

    Args:
        folder: where the description lies.
        options: win over the description.

    Raises:
        UserError: the description is not readable or names no existing file, or something is missing.
    """
    path = folder / FILE_NAME
    described = _load(path)
    pattern = described.get("images")
    if not isinstance(pattern, str) or not pattern:
        raise UserError(f"{path} must name its files: 'images: frames/*.png', for one")
    try:
        files = sorted((f for f in folder.glob(pattern) if f.is_file()), key=natural_order)
    except (ValueError, NotImplementedError) as error:
        raise UserError(f"{path}: 'images' must be a relative pattern, got '{pattern}'") from error
    if not files:
        raise UserError(f"{path}: no file matches '{pattern}'")
    stated = SourceOptions.parse(
        # a modality that we do not know matters only where the user does not give another
        modality=options.modality or described.get("modality"),
        spacing_mm=options.spacing_mm or described.get("spacing_mm"),
        rate_hz=options.rate_hz,
        nominal_rate_hz=described.get("rate_hz"),
        view=options.view or described.get("view"),
        sad_mm=options.sad_mm or described.get("sad_mm"),
        sid_mm=options.sid_mm or described.get("sid_mm"),
        pose=None if options.view else described.get("pose"),
    )
    return open_files(files, stated, folder.resolve().name)


def _load(path: Path) -> dict[str, Any]:
    try:
        described = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read: {reason}") from error
    if not isinstance(described, dict):
        raise UserError(f"{path} must hold 'key: value' lines")
    return described

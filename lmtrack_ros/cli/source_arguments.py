"""What the user may say about images that do not describe themselves."""

import argparse
from typing import Any

from lmtrack_ros.core.frames import View
from lmtrack_ros.core.geometry import Modality

_NAMES = ("modality", "spacing_mm", "rate_hz", "view", "sad_mm", "sid_mm")


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that describe images."""
    parser.add_argument("--modality", choices=[m.value for m in Modality], help="what made the images")
    parser.add_argument(
        "--spacing-mm",
        type=float,
        nargs="+",
        metavar=("COLUMNS", "ROWS"),
        help="pixel pitch along columns, rows and, for volumes, slices; at the detector where the two "
        "distances below are known, else taken as it is",
    )
    parser.add_argument("--rate-hz", type=float, help="frame rate, instead of the file's own times")
    parser.add_argument(
        "--view", choices=[v.value for v in View], help="how the image plane stands in the room"
    )
    parser.add_argument(
        "--sad-mm",
        type=float,
        help="of a projection, source to isocentre, with --sid-mm: positions are at the isocentre plane",
    )
    parser.add_argument("--sid-mm", type=float, help="of a projection, source to detector, with --sad-mm")


def source_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return them for :func:`lmtrack_ros.sources.open_source`."""
    return {name: getattr(arguments, name) for name in _NAMES}

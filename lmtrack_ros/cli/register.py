"""``lmtrack register CONFIG IMAGES``: how a patient lies off plan, from a pair of radiographs."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from lmtrack_ros.configuration import find_config, load
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import Frame, LandmarkSet, Status
from lmtrack_ros.parameters import check
from lmtrack_ros.sources import open_source
from lmtrack_ros.trackers.pair_follower import PairFollower
from lmtrack_ros.trackers.parameters import read_groups, read_section
from lmtrack_ros.trackers.selection import create_follower

_SESSION = 1
_EXIT_NO_SHIFT = 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("config", help="configuration with the plan's landmarks, by name or file")
    parser.add_argument(
        "images",
        nargs="+",
        type=Path,
        help="DICOM RT Images of two views, or a recording of them; of more, the first pair counts",
    )


def run(arguments: argparse.Namespace) -> int:
    """Register the first pair of images; the exit code tells whether there is a shift."""
    config = find_config(arguments.config)
    parameters = load(config)
    check(parameters, config)
    if "tracker" not in parameters:
        raise UserError(f"{config} has no section 'tracker'")
    settings, _ = read_section(parameters["tracker"])
    follower = create_follower(settings, read_groups(parameters["tracker"]), _SESSION)
    if not isinstance(follower, PairFollower):
        raise UserError(f"{config} has no plan: give names and positions_mm in the tracker's registration")
    found = _first_pair(follower, arguments.images)
    sys.stdout.write(f"{follower.remarks['registration']}\n")
    return 0 if found.estimates[0].status is Status.TRACKED else _EXIT_NO_SHIFT


def _first_pair(follower: PairFollower, images: list[Path]) -> LandmarkSet:
    for number, frame in enumerate(_frames(images), 1):
        # of files, whenever they were taken, it is the user who says that they are a pair
        found = follower.update(replace(frame, stamp_ns=number))
        if found is not None and found.faults:
            raise UserError(f"image {number} cannot be used: {found.faults.name}")
        if found is not None:
            return found
    raise UserError("there are no two images of two views, each by a source whose place is known")


def _frames(images: list[Path]) -> Iterator[Frame]:
    for image in images:
        with closing(open_source(image)) as source:
            yield from source

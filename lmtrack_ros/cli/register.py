"""``lmtrack register CONFIG IMAGES``: how a patient lies off plan, from a pair of radiographs; or a plan."""

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmtrack_ros.configuration import find_config, load
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import ISOCENTER, ImageGeometry
from lmtrack_ros.core.records import Frame, LandmarkSet, Status
from lmtrack_ros.parameters import check
from lmtrack_ros.registration.parameters import PlanParameters
from lmtrack_ros.registration.planning import planned_positions
from lmtrack_ros.registration.sights import Sight, sights_of
from lmtrack_ros.sources import open_source
from lmtrack_ros.trackers.frame_check import same_geometry
from lmtrack_ros.trackers.pair_follower import PairFollower
from lmtrack_ros.trackers.parameters import TrackerParameters, read_groups, read_section
from lmtrack_ros.trackers.selection import create_follower

_SESSION = 1
_EXIT_NO_SHIFT = 1
_VIEWS = 2
_NO_PAIR = "there are no two images of two views, each by a source whose place is known"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("config", help="configuration with tracker and plan, by name or file")
    parser.add_argument(
        "images",
        nargs="+",
        type=Path,
        help="DICOM RT Images of two views, or a recording of them; of more, the first pair counts",
    )
    parser.add_argument(
        "--plan",
        action="store_true",
        help="the images are the plan's own: print the landmarks that they show, for a configuration",
    )


def run(arguments: argparse.Namespace) -> int:
    """Register the first pair of images; the exit code tells whether there is a shift."""
    config = find_config(arguments.config)
    parameters = load(config)
    check(parameters, config)
    if "tracker" not in parameters:
        raise UserError(f"{config} has no section 'tracker'")
    settings, _ = read_section(parameters["tracker"])
    groups = read_groups(parameters["tracker"])
    if arguments.plan:
        return _write_plan(settings, groups, arguments.images)
    follower = create_follower(settings, groups, _SESSION)
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
    raise UserError(_NO_PAIR)


def _write_plan(
    settings: TrackerParameters, groups: Mapping[str, Mapping[str, Any]], images: list[Path]
) -> int:
    """Print what the first pair of images shows; the exit code tells whether that is anything."""
    alone = replace(settings, registration=PlanParameters())
    views: list[ImageGeometry] = []
    sights: list[Sight] = []
    for number, frame in enumerate(_frames(images), 1):
        geometry = frame.geometry
        if geometry is None or geometry.projection is None or geometry.frame_id != ISOCENTER:
            raise UserError(f"image {number} cannot be used: the place of its source is not known")
        if any(same_geometry(view, geometry) for view in views):
            continue
        found = create_follower(alone, groups, _SESSION).update(frame)
        assert found is not None
        if found.faults:
            raise UserError(f"image {number} cannot be used: {found.faults.name}")
        sights += sights_of(found, len(views), geometry)
        views.append(geometry)
        if len(views) == _VIEWS:
            break
    if len(views) < _VIEWS:
        raise UserError(_NO_PAIR)
    positions = planned_positions(sights, settings.registration.most_misfit)
    if not positions:
        sys.stderr.write("both images show no landmark in common\n")
        return _EXIT_NO_SHIFT
    numbers = ", ".join(f"{value:.1f}" for position in positions.values() for value in position)
    sys.stdout.write(f"registration:\n  names: [{', '.join(positions)}]\n  positions_mm: [{numbers}]\n")
    return 0


def _frames(images: list[Path]) -> Iterator[Frame]:
    for image in images:
        with closing(open_source(image)) as source:
            yield from source

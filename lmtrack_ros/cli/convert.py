"""``lmtrack convert``: any image source, or an interrupted recording, becomes a recording."""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import View
from lmtrack_ros.core.geometry import Modality
from lmtrack_ros.core.records import Estimate, Frame, Landmark, LandmarkSet, Status
from lmtrack_ros.recording import INITIAL_LANDMARKS, RecordingWriter, is_unfinished, recover
from lmtrack_ros.sources import CAMERA_PREFIX, PHANTOM_PREFIX, open_source

HELP = "turn images, a video, DICOM or an interrupted recording into a rosbag2 recording"

LANDMARKS_FILE = "landmarks.csv"

_MARKING_ERROR_PX = 0.5
_SIGMAS_OF_95_PERCENT = 2.45  # of two independent axes


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("input", help="folder, file, or recording left by an interrupted recorder")
    parser.add_argument(
        "--out", required=True, help="recording to write: NAME.mcap for one file, else a folder"
    )
    parser.add_argument("--modality", choices=[m.value for m in Modality], help="what made the images")
    parser.add_argument(
        "--spacing-mm",
        type=float,
        nargs="+",
        metavar=("COLUMNS", "ROWS"),
        help="pixel pitch along columns, rows and, for volumes, slices",
    )
    parser.add_argument("--rate-hz", type=float, help="frame rate, instead of the file's own times")
    parser.add_argument(
        "--view", choices=[v.value for v in View], help="how the image plane stands in the room"
    )


def run(args: argparse.Namespace) -> int:
    """Convert; an interruption or error leaves nothing behind.

    Raises:
        UserError: the input is not readable, something is missing, or the output exists.
    """
    said = {
        "modality": args.modality,
        "spacing_mm": args.spacing_mm,
        "rate_hz": args.rate_hz,
        "view": args.view,
    }
    try:
        if is_unfinished(Path(args.input)):
            if any(value is not None for value in said.values()):
                raise UserError(f"{args.input} is recovered as it is: leave out what describes images")
            count = recover(args.input, args.out)
            sys.stdout.write(f"{args.out}: recovered {count} messages\n")
            return 0
        if args.input.startswith((CAMERA_PREFIX, PHANTOM_PREFIX)):
            raise UserError(f"{args.input} never ends: record it with 'lmtrack record'")
        with RecordingWriter(args.out) as writer:
            count, landmarks = _convert(args.input, said, writer)
    except OSError as error:
        raise UserError(f"cannot write {args.out}: {error.strerror or error}") from error
    named = f", landmarks of the first: {', '.join(landmarks)}" if landmarks else ""
    sys.stdout.write(f"{args.out}: {count} frames{named}\n")
    return 0


def _convert(uri: str, said: dict[str, object], writer: RecordingWriter) -> tuple[int, tuple[str, ...]]:
    source = open_source(uri, **said)  # type: ignore[arg-type]
    landmarks = first_landmarks(Path(uri))
    count = 0
    console = Console(stderr=True)
    try:
        with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
            for frame in progress.track(source, total=source.info.frames, description=source.info.name):
                writer.write_frame(frame)
                if count == 0 and landmarks:
                    marked = _as_marked(landmarks, frame)
                    writer.write_record(INITIAL_LANDMARKS, marked, frame.received_ns or frame.stamp_ns)
                count += 1
    finally:
        source.close()
    if not count:
        raise UserError(f"{uri} has no readable frame")
    return count, tuple(landmark.id for landmark, _ in landmarks)


def first_landmarks(folder: Path) -> list[tuple[Landmark, float]]:
    """Return the landmarks marked on the first frame of a folder's sequence, and their spread in px.

    Args:
        folder: where ``landmarks.csv`` may lie; without one there are none.

    Raises:
        UserError: the file is not a table of landmarks.
    """
    path = folder / LANDMARKS_FILE
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if int(row["frame"]) == 0]
        return [(_landmark(row), float(row.get("spread_px") or 0)) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a table 'frame,landmark,x_px,y_px,...': {error}") from error


def _landmark(row: dict[str, str]) -> Landmark:
    axes = row.get("axes") or "xy"
    return Landmark(
        row["landmark"],
        (float(row["x_px"]), float(row["y_px"])),
        ("x" in axes, "y" in axes),
    )


def _as_marked(landmarks: Sequence[tuple[Landmark, float]], frame: Frame) -> LandmarkSet:
    if frame.geometry is None:
        raise UserError(
            f"landmarks need the image's geometry: give the modality and spacing, or remove {LANDMARKS_FILE}"
        )
    geometry = frame.geometry
    estimates = []
    for landmark, spread_px in landmarks:
        sigma_px = max(spread_px, _MARKING_ERROR_PX)
        estimates.append(
            Estimate(
                landmark.id,
                Status.TRACKED,
                landmark.uv_px,
                geometry.position_mm(landmark.uv_px),
                geometry.covariance_mm2(np.full(2, sigma_px**2), landmark.axes),
                geometry.observed_axes(landmark.axes),
                confidence=1.0,
                radius_mm=_SIGMAS_OF_95_PERCENT * sigma_px * max(geometry.plane_spacing_mm[:2]),
            )
        )
    return LandmarkSet(frame.stamp_ns, tuple(estimates), geometry.frame_id, model="marked")

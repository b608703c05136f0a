"""``lmtrack convert``: any source of frames, or an interrupted recording, becomes a recording."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from lmtrack_ros import interface
from lmtrack_ros.cli.source_arguments import add_source_arguments, source_options
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.recording import IMAGER_FRAME, INITIAL_LANDMARKS, RecordingWriter, is_unfinished, recover
from lmtrack_ros.sources import CAMERA_PREFIX, PHANTOM_PREFIX, open_source
from lmtrack_ros.sources.landmarks import marked_landmarks


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("input", help="folder, file, or recording left by an interrupted recorder")
    parser.add_argument(
        "--out", required=True, help="recording to write: NAME.mcap for one file, else a folder"
    )
    add_source_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Convert; an interruption or error leaves nothing behind.

    Raises:
        UserError: the input is not readable, something is missing, or the output exists.
    """
    said = source_options(args)
    if not Path(args.out).name:
        raise UserError(f"--out '{args.out}' is no name for a recording: give NAME or NAME.mcap")
    try:
        if is_unfinished(Path(args.input)):
            if any(value is not None for value in said.values()):
                raise UserError(f"{args.input} is recovered as it is: leave out what describes images")
            count = recover(args.input, args.out)
            sys.stdout.write(f"{args.out}: recovered {count} messages\n")
            return 0
        if args.input.startswith((CAMERA_PREFIX, PHANTOM_PREFIX)):
            raise UserError(f"{args.input} never ends: only files and recordings are converted")
        with RecordingWriter(args.out) as writer:
            count, landmarks = _convert(args.input, said, writer)
    except OSError as error:
        raise UserError(f"cannot convert {args.input} to {args.out}: {error}") from error
    named = f", landmarks of the first: {', '.join(landmarks)}" if landmarks else ""
    sys.stdout.write(f"{args.out}: {count} frames{named}\n")
    return 0


def _convert(uri: str, said: dict[str, Any], writer: RecordingWriter) -> tuple[int, tuple[str, ...]]:
    source = open_source(uri, **said)
    marked = marked_landmarks(Path(uri))
    unwritten = bool(marked.landmarks)
    count = 0
    console = Console(stderr=True)
    try:
        with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
            for frame in progress.track(source, total=source.info.frames, description=source.info.name):
                writer.write_frame(frame)
                count += 1
                if unwritten and frame.stamp_ns >= marked.stamp_ns:
                    message = interface.initial_landmarks(
                        writer.make, replace(marked, stamp_ns=frame.stamp_ns), IMAGER_FRAME
                    )
                    writer.write(INITIAL_LANDMARKS, message, frame.received_ns or frame.stamp_ns)
                    unwritten = False
    finally:
        source.close()
    if not count:
        raise UserError(f"{uri} has no readable frame")
    return count, tuple(landmark.id for landmark in marked.landmarks)

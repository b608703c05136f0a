"""``lmtrack evaluate``: score a tracker on an annotated sequence."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.progress import Progress

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import Modality
from lmtrack_ros.core.parameters import build
from lmtrack_ros.evaluation import clust
from lmtrack_ros.evaluation.baselines import usual_trackers
from lmtrack_ros.evaluation.metrics import evaluation
from lmtrack_ros.evaluation.overlay import atomic_file, check_overlay, write_overlay
from lmtrack_ros.evaluation.report import clust_table, table, write_page
from lmtrack_ros.evaluation.runs import Run, follow
from lmtrack_ros.evaluation.tracker_settings import tracker_parameters
from lmtrack_ros.models.figures import figures as in_words
from lmtrack_ros.sources import open_source
from lmtrack_ros.sources.annotations import Annotation, parse_landmark, read_annotations
from lmtrack_ros.sources.clust import sequences
from lmtrack_ros.trackers import Tracker, create_tracker, parameters_class, tracker_class

_PLAIN_WIDTH = 140
_CYCLIC_TRACKER = "template_matching"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--sequence",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="folder with images, sequence.yaml and landmarks.csv; several only with --report or a table",
    )
    what.add_argument(
        "--clust", type=Path, metavar="DIR", help="folder of sequences in the layout of the CLUST challenge"
    )
    parser.add_argument("--tracker", default="correlation", metavar="NAME", help="default: correlation")
    parser.add_argument(
        "--config", metavar="FILE", help="configuration, by path or name; default: that of the modality"
    )
    parser.add_argument(
        "--landmark",
        action="append",
        default=[],
        metavar="ID:COLUMN,ROW[:AXES]",
        help="follow this from frame 0 instead of the annotation, unscored; AXES as y; may be repeated",
    )
    parser.add_argument("--baselines", action="store_true", help="measure the usual trackers beside it")
    parser.add_argument("--overlay", type=Path, metavar="FILE", help="write .mp4, .avi or .png")
    parser.add_argument(
        "--cyclic",
        type=Path,
        metavar="FILE",
        help="instead: measure template_matching without annotations, there and back; write a .png of it",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    output.add_argument("--report", type=Path, metavar="FILE", help="write a Markdown page with the figures")


def run(args: argparse.Namespace) -> int:
    """Evaluate, and print or write what was asked for."""
    if args.clust:
        return _clust(args)
    if args.cyclic:
        return _cyclic(args)
    if len(args.sequence) > 1 and (args.json or args.overlay):
        raise UserError("--json and --overlay take one sequence")
    if args.overlay:
        check_overlay(args.overlay)
    _check_report(args)
    tracker_class(args.tracker)
    by_sequence = [_evaluate(folder, args) for folder in args.sequence]
    if args.json:
        (reports,) = by_sequence
        others = {"baselines": reports[1:]} if args.baselines else {}
        sys.stdout.write(json.dumps({**reports[0], **others}, allow_nan=False) + "\n")
    elif args.report:
        write_page(args.report, by_sequence, _command(args))
    else:
        # a file or pipe has no width to fit the table into
        console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
        for reports in by_sequence:
            console.print(table(reports))
    return 0


def _check_report(args: argparse.Namespace) -> None:
    if args.report and not args.report.parent.is_dir():
        raise UserError(f"cannot write '{args.report}': there is no folder '{args.report.parent}'")


def _clust(args: argparse.Namespace) -> int:
    """Score on every sequence of a folder, and print or write the challenge's table."""
    if args.landmark or args.overlay or args.cyclic:
        raise UserError("--clust does not go with --landmark, --overlay and --cyclic")
    _check_report(args)
    folders = sequences(args.clust)
    parameters = _parameters(folders[0], args)
    trackers: dict[str, Callable[[], Tracker]] = {
        args.tracker: lambda: create_tracker(args.tracker, parameters)
    }
    trackers |= _beside(folders[0], args)
    console = Console(stderr=True)
    scores = {}
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for name, new_tracker in trackers.items():
            task = progress.add_task(name, total=len(folders))
            scores[name] = clust.score(folders, new_tracker, name, partial(progress.advance, task))
    if args.json:
        said = {
            name: {source: clust.figures(some) for source, some in clust.by_source(found).items()}
            for name, found in scores.items()
        }
        sys.stdout.write(json.dumps(said, allow_nan=False) + "\n")
    elif args.report:
        with atomic_file(args.report) as temporary:
            temporary.write_text(clust.page(args.clust.resolve(), scores, _command(args)), encoding="utf-8")
    else:
        shown = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
        for name, found in scores.items():
            shown.print(clust_table(name, found))
    return 0


def _cyclic(args: argparse.Namespace) -> int:
    """Measure cyclic errors, and write their map."""
    if args.tracker != _CYCLIC_TRACKER:
        raise UserError(f"--cyclic needs --tracker {_CYCLIC_TRACKER}: {args.tracker} does not match patches")
    if len(args.sequence) > 1 or args.landmark or args.baselines or args.overlay or args.report:
        raise UserError("--cyclic takes one sequence and, besides it, only --tracker, --config and --json")
    if args.cyclic.suffix != ".png" or not args.cyclic.parent.is_dir():
        raise UserError(f"cannot write '{args.cyclic}': it must end in .png, in a folder that is there")
    (folder,) = args.sequence
    parameters = build(parameters_class(args.tracker), _parameters(folder, args), args.tracker)
    # they load torch and matplotlib
    from lmtrack_ros.evaluation.cyclic import cyclic_errors, open_matcher, read_key_frames
    from lmtrack_ros.evaluation.cyclic_picture import cyclic_picture

    frames = read_key_frames(folder)
    matcher = open_matcher(parameters.weights, parameters.inference)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"{folder.name} · cyclic error")
        errors = cyclic_errors(
            matcher, frames.source, frames.targets, lambda n, of: progress.update(task, completed=n, total=of)
        )
    name, figures = folder.resolve().name, errors.figures()
    with atomic_file(args.cyclic) as temporary:
        temporary.write_bytes(cyclic_picture(frames.source.image, errors, f"{name}: {parameters.weights}"))
    source, *targets = frames.numbers
    if args.json:
        said = {"sequence": name, "tracker": args.tracker, "weights": parameters.weights}
        compared = {"source_frame": source, "target_frames": targets, "stride_px": errors.stride_px}
        sys.stdout.write(json.dumps({**said, **compared, **figures}, allow_nan=False) + "\n")
    else:
        sys.stdout.write(f"{name}, frame {source} to {', '.join(map(str, targets))} and back: ")
        sys.stdout.write(f"{in_words(figures)}\nmap in {args.cyclic}\n")
    return 0


def _evaluate(folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the reports of one sequence: of the tracker, then of the usual ones."""
    if not folder.is_dir():
        raise UserError(f"no sequence folder at '{folder}'")
    annotations: Sequence[Annotation] = (
        [parse_landmark(text) for text in args.landmark] if args.landmark else read_annotations(folder)
    )
    parameters = _parameters(folder, args)
    name = folder.resolve().name

    def measure(new_tracker: Callable[[], Tracker], label: str, configuration: dict[str, Any]) -> Run:
        measured = _follow(folder, annotations, new_tracker, label)
        reports.append(evaluation(measured, annotations, name, configuration))
        return measured

    reports: list[dict[str, Any]] = []
    effective = asdict(cast(Any, build(parameters_class(args.tracker), parameters, args.tracker)))
    measured = measure(lambda: create_tracker(args.tracker, parameters), args.tracker, effective)
    if args.overlay:
        source = open_source(folder)
        try:
            write_overlay(args.overlay, source, measured, annotations)
        finally:
            source.close()
    for usual, new_tracker in _beside(folder, args).items():
        measure(new_tracker, usual, {})
    return reports


def _beside(folder: Path, args: argparse.Namespace) -> dict[str, Callable[[], Tracker]]:
    """Return what makes the other trackers that were asked for."""
    usual = usual_trackers(_modality(folder)) if args.baselines else {}
    return {name: new_tracker for name, new_tracker in usual.items() if name != args.tracker}


def _follow(
    folder: Path, annotations: Sequence[Annotation], new_tracker: Callable[[], Tracker], label: str
) -> Run:
    console = Console(stderr=True)
    source = open_source(folder)
    try:
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task(f"{folder.name} · {label}", total=source.info.frames)
            return follow(source, annotations, new_tracker, label, lambda: progress.advance(task))
    finally:
        source.close()


def _parameters(folder: Path, args: argparse.Namespace) -> Mapping[str, Any]:
    """Return the tracker's parameters from the configuration given, or the modality's own."""
    return tracker_parameters(args.tracker, _modality(folder), args.config)


def _modality(folder: Path) -> Modality | None:
    source = open_source(folder)
    source.close()
    return source.info.geometry.modality if source.info.geometry else None


def _command(args: argparse.Namespace) -> str:
    words = ["lmtrack evaluate"]
    words += ["--clust", str(args.clust)] if args.clust else ["--sequence", *map(str, args.sequence)]
    words += ["--tracker", args.tracker]
    if args.config:
        words += ["--config", str(args.config)]
    for landmark in args.landmark:
        words += ["--landmark", landmark]
    if args.baselines:
        words.append("--baselines")
    return " ".join([*words, "--report", str(args.report)])

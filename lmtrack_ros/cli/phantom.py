"""``lmtrack phantom``: moving anatomy with exact ground truth, written, inserted, shown and measured."""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from rich.console import Console
from rich.progress import Progress, track

from lmtrack_ros.cli.source_arguments import add_source_arguments, source_options
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.parameters import build, constraint_of, defaults
from lmtrack_ros.phantoms import MODALITIES, PhantomParameters, open_phantom, presets
from lmtrack_ros.phantoms.clust import PARTS, missing
from lmtrack_ros.phantoms.clust import write as write_population
from lmtrack_ros.phantoms.export import frame_count, partial_of, samples, write
from lmtrack_ros.phantoms.insertion import insert
from lmtrack_ros.phantoms.motion import EVENTS, MotionParameters, MotionRange, open_motion
from lmtrack_ros.phantoms.planned_patient import Imager, write_breaths
from lmtrack_ros.phantoms.planning_ct import Ball, PlanningCt
from lmtrack_ros.phantoms.target_appearance import TargetParameters
from lmtrack_ros.recording import LONE_FILE_SUFFIX
from lmtrack_ros.sources import CAMERA_PREFIX, PHANTOM_PREFIX, open_source

_SECONDS = 20.0
_MOST_SECONDS = 86_400.0
_MEASURED = ("ultrasound", "fluoroscopy", "mr")

T = TypeVar("T")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    kinds = parser.add_subparsers(dest="kind", metavar="MODALITY | COMMAND", required=True)
    for modality in MODALITIES:
        listed = "\n".join(f"  {name:18} {preset.description}" for name, preset in presets(modality).items())
        _configure_phantom(
            _add(
                kinds,
                modality,
                f"presets: {', '.join(presets(modality))}",
                f"presets, default first:\n{listed}",
            )
        )
    listed = "\n".join(
        f"  {field.name:18} {defaults(TargetParameters)[field.name]}; "
        f"{constraint_of(TargetParameters, field.name).description}"
        for field in fields(TargetParameters)
    )
    _configure_insert(
        _add(kinds, "insert", "put a moving target into a real recording", f"of the target:\n{listed}")
    )
    clust = _add(kinds, "clust", "write a study population in the layout of the CLUST challenge")
    clust.add_argument("part", choices=(*PARTS, "all"), help="24 sequences to train on, 39 to test, or both")
    clust.add_argument("--out", required=True, type=Path, metavar="DIR", help="goes on where it was")
    _configure_ct4d(
        _add(kinds, "ct4d", "write the breaths of one patient to train on, from his planning 4-D CT")
    )
    gallery = _add(kinds, "gallery", "draw every preset with its truth")
    likeness = _add(kinds, "likeness", "set phantoms beside real recordings")
    likeness.add_argument(
        "--with-frames", action="store_true", help="show frames of the recordings too, for your own eyes"
    )
    difficulty = _add(kinds, "difficulty", "track phantoms and real recordings with the usual trackers")
    for command in (likeness, difficulty):
        command.add_argument("--data", required=True, type=Path, help="folder with the real recordings")
        command.add_argument("--modality", choices=_MEASURED, help="one alone")
    for command in (gallery, likeness, difficulty):
        command.add_argument("--out", required=True, type=Path, help="folder for pages and pictures")


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked for."""
    return _COMMANDS.get(arguments.kind, _write_phantom)(arguments)


def _add(kinds: Any, name: str, help_line: str, epilog: str = "") -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = kinds.add_parser(
        name,
        help=help_line,
        description=help_line,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return added


def _configure_phantom(parser: argparse.ArgumentParser) -> None:
    _configure_output(parser)
    parser.add_argument(
        "--seconds", type=float, default=_SECONDS, metavar="S", help=f"how long; default {_SECONDS:g}"
    )
    parser.add_argument("--preset", default="", metavar="NAME", help="anatomy and imager, listed below")
    parser.add_argument(
        "--rate-hz", type=float, default=0.0, metavar="HZ", help="frame rate, instead of the preset's"
    )


def _configure_insert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", help="folder, file or recording of images")
    _configure_output(parser)
    parser.add_argument(
        "--at", required=True, type=float, nargs=2, metavar=("COLUMN", "ROW"), help="where it starts, px"
    )
    parser.add_argument(
        "--target", action="append", default=[], metavar="NAME=VALUE", help="how it looks, listed below"
    )
    add_source_arguments(parser)


def _configure_ct4d(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "scan",
        type=Path,
        help="folder with a volume, or a folder of DICOM slices, for each phase of a breath",
    )
    parser.add_argument(
        "--tumor",
        required=True,
        nargs="+",
        metavar="WHAT",
        help="in the first phase: file of a mask, or X Y Z DIAMETER of a ball, in the scan's coordinates, mm",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to train from")
    parser.add_argument(
        "--water", type=float, default=0.0, metavar="GREY", help="grey value of water, where it is not 0 HU"
    )
    parser.add_argument(
        "--detector-mm",
        required=True,
        type=float,
        metavar="MM",
        help="width of the square detector that will see the patient, 1.5 m from the source",
    )
    parser.add_argument(
        "--gantry-deg", type=float, default=0.0, metavar="DEG", help="IEC 61217; 0: in front of the patient"
    )


def _configure_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", required=True, type=Path, help="NAME.mcap for a recording, anything else for a folder"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all that is drawn by chance")
    parser.add_argument(
        "--trace",
        default="",
        metavar="CSV",
        help="motion to follow (time_s, x_mm, y_mm, z_mm) instead of breathing",
    )
    parser.add_argument(
        "--event",
        action="append",
        default=[],
        metavar="NAME@S",
        help=f"interrupts the breathing at a time: {', '.join(EVENTS)}; may be repeated",
    )


def _motion(arguments: argparse.Namespace) -> dict[str, Any]:
    said: dict[str, Any] = {"events": arguments.event}
    return {**said, "kind": "trace", "trace": arguments.trace} if arguments.trace else said


def _write_phantom(arguments: argparse.Namespace) -> int:
    if not 0 < arguments.seconds <= _MOST_SECONDS:
        raise UserError(f"--seconds must be positive, and at most {_MOST_SECONDS:g}")
    said = {
        "preset": arguments.preset,
        "seed": arguments.seed,
        "rate_hz": arguments.rate_hz,
        "motion": _motion(arguments),
    }
    phantom = open_phantom(arguments.kind, build(PhantomParameters, said, f"phantom {arguments.kind}"))
    shown = _tracked(
        samples(phantom, arguments.seconds, with_masks=arguments.out.suffix != LONE_FILE_SUFFIX),
        phantom.info.name,
        frame_count(phantom, arguments.seconds),
    )
    count = write(arguments.out, phantom.info, shown)
    names = ", ".join(phantom.positions_mm(0.0))
    sys.stdout.write(f"{arguments.out}: {count} frames, landmarks {names}\n")
    return 0


def _insert(arguments: argparse.Namespace) -> int:
    target = build(TargetParameters, dict(_setting(text) for text in arguments.target), "--target")
    moves = build(MotionParameters, _motion(arguments), "motion")
    motion = open_motion(moves, MotionRange(), arguments.seed)
    if arguments.input.startswith((CAMERA_PREFIX, PHANTOM_PREFIX)):
        raise UserError(f"{arguments.input} never ends: a target is put into files and recordings only")
    source = open_source(arguments.input, **source_options(arguments))
    try:
        column, row = arguments.at
        shown = insert(source, (column, row), target, motion, arguments.seed)
        count = write(
            arguments.out, source.info, _tracked(shown, f"{source.info.name} with target", source.info.frames)
        )
    finally:
        source.close()
    sys.stdout.write(f"{arguments.out}: {count} frames, landmark target\n")
    return 0


def _clust(arguments: argparse.Namespace) -> int:
    parts = PARTS if arguments.part == "all" else {arguments.part: PARTS[arguments.part]}
    for part, patients in parts.items():
        folder = arguments.out / part
        with _progress(part, sum(patient.frames for patient in missing(folder, patients))) as advance:
            write_population(folder, patients, advance)
        landmarks = sum(patient.landmarks for patient in patients)
        sys.stdout.write(f"{folder}: {len(patients)} sequences, {landmarks} landmarks\n")
    return 0


def _ct4d(arguments: argparse.Namespace) -> int:
    # imported where it is needed: it loads torch
    from lmtrack_ros.models.coarse_to_fine_unet.populations import patient_amplitudes

    if not (arguments.detector_mm > 0 and np.isfinite(arguments.gantry_deg)):
        raise UserError("--detector-mm must be positive, and --gantry-deg finite")
    # before minutes of registration, too
    partial_of(arguments.out)
    with _steps("registration of the phases") as show:
        ct = PlanningCt(arguments.scan, _tumor(arguments.tumor), arguments.water, show)
    imager = Imager(arguments.detector_mm, arguments.gantry_deg)
    amplitudes = {part.value: some for part, some in patient_amplitudes(0).items()}
    breaths = sum(map(len, amplitudes.values()))
    with _progress("projections", breaths) as advance:
        write_breaths(arguments.out, ct, amplitudes, imager, advance)
    before, after = ct.differences_hu
    sys.stdout.write(
        f"{arguments.out}: {breaths} breaths of {ct.phases} phases; these differ from the first by "
        f"{before:.0f} HU in the mean, by {after:.0f} HU once registered\n"
    )
    return 0


def _tumor(said: list[str]) -> Path | Ball:
    if len(said) == 1:
        return Path(said[0])
    try:
        x, y, z, diameter_mm = (float(word) for word in said)
    except ValueError:
        raise UserError("--tumor is the file of a mask, or four numbers: X Y Z DIAMETER") from None
    return Ball((x, y, z), diameter_mm)


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--target is NAME=VALUE, for one lumen_db=-15, not '{text}'")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"--target {name}: '{value}' is no value") from None


def _gallery(arguments: argparse.Namespace) -> int:
    # imported where they are needed: matplotlib would delay every phantom
    from lmtrack_ros.evaluation.gallery import draw_gallery, draw_overview

    folder = _folder(arguments.out)
    for modality in _tracked(MODALITIES, "gallery", len(MODALITIES)):
        draw_gallery(folder / f"{modality}.png", modality)
    draw_overview(folder / "all.png")
    sys.stdout.write(f"{folder}: {', '.join(f'{name}.png' for name in ('all', *MODALITIES))}\n")
    return 0


def _likeness(arguments: argparse.Namespace) -> int:
    from lmtrack_ros.evaluation import likeness_report as report

    folder = _folder(arguments.out)
    pairs = [p for p in report.PAIRS if arguments.modality in (None, p.modality)]
    with _progress("likeness", report.STEPS * len(pairs)) as advance:
        compared = [report.compare(arguments.data, pair, advance) for pair in pairs]
    report.write_page(folder, _page("likeness", arguments), compared, with_real_frames=arguments.with_frames)
    sys.stdout.write(report.table(compared) + "\n")
    return 0


def _difficulty(arguments: argparse.Namespace) -> int:
    from lmtrack_ros.evaluation import difficulty, difficulty_report

    folder = _folder(arguments.out)
    settings = [s for s in difficulty.SETTINGS if arguments.modality in (None, s.modality)]
    with _progress("difficulty", sum(map(difficulty.sequence_count, settings))) as advance:
        measured = [
            one
            for setting in settings
            for one in difficulty.measure(setting, arguments.data, on_sequence=advance)
        ]
    page = _page("difficulty", arguments)
    difficulty_report.write_table(folder / f"{page}.md", measured, difficulty.SEEDS)
    difficulty_report.draw(folder / f"{page}.png", measured)
    sys.stdout.write(difficulty_report.table(measured) + "\n")
    return 0


def _page(name: str, arguments: argparse.Namespace) -> str:
    """Return the name of the page; that of one modality alone does not take the place of the whole."""
    return f"{name}_of_{arguments.modality}" if arguments.modality else name


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to '{path}': {error.strerror}") from error
    return path


def _tracked(items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
    console = Console(stderr=True)
    return iter(
        track(items, description, total, console=console, disable=not console.is_terminal, transient=True)
    )


@contextmanager
def _steps(description: str) -> Iterator[Callable[[int, int], None]]:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def _progress(description: str, total: int) -> Iterator[Callable[[], None]]:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=total)
        yield lambda: progress.advance(task)


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "insert": _insert,
    "clust": _clust,
    "ct4d": _ct4d,
    "gallery": _gallery,
    "likeness": _likeness,
    "difficulty": _difficulty,
}

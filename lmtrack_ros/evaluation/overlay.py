"""Pictures and videos of a track over the images it was made on."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import Frame, Status
from lmtrack_ros.evaluation.runs import Run, Track
from lmtrack_ros.sources import Source
from lmtrack_ros.sources.annotations import Annotation

_VIDEO_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
SUFFIXES = (*_VIDEO_CODECS, ".png")

_LEAST_HEIGHT_PX = 480
_SHEET_TILES = 8
_COLOURS_RGB = {Status.LOST: (230, 60, 60), Status.UNCERTAIN: (255, 190, 40), Status.TRACKED: (80, 220, 100)}
_TRUTH_RGB = (90, 170, 255)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary file of the same suffix beside ``path``, which replaces it at the end.

    Raises:
        UserError: the folder cannot be written to.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=".", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise UserError(f"cannot write '{path}': {error.strerror}") from error
    temporary = Path(name)
    try:
        yield temporary
        # a temporary file is private; what the user asked for is as open as any other
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write '{path}': {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def check_overlay(path: Path) -> None:
    """Check, before the work, that an overlay can be written.

    Raises:
        UserError: the suffix is of no known kind or the folder cannot be written to.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"an overlay ends in {', '.join(SUFFIXES)}, not '{path.name}'")
    if path.is_dir():
        raise UserError(f"cannot write '{path}': it is a folder")
    if not path.parent.is_dir():
        raise UserError(f"cannot write '{path}': there is no folder '{path.parent}'")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"cannot write '{path}': the folder is read-only")


def write_overlay(path: Path, source: Source, run: Run, annotations: Sequence[Annotation]) -> None:
    """Write a video of every frame, or a picture of eight frames above the traces.

    Args:
        path: .mp4, .avi or .png.
        source: the sequence the run was made on, opened again.
        run: what the tracker reported.
        annotations: one per track.

    Raises:
        UserError: the file cannot be written.
    """
    check_overlay(path)
    with atomic_file(path) as temporary:
        if path.suffix.lower() == ".png":
            _write_sheet(temporary, source, run, annotations)
        else:
            _write_video(temporary, source, run, annotations)


def _write_video(path: Path, source: Source, run: Run, annotations: Sequence[Annotation]) -> None:
    writer = None
    codec = cv2.VideoWriter.fourcc(*_VIDEO_CODECS[path.suffix.lower()])
    painter = _Painter(run, annotations)
    try:
        for number, frame in enumerate(source):
            picture = painter.paint(number, frame)
            if writer is None:
                size = (picture.shape[1], picture.shape[0])
                writer = cv2.VideoWriter(str(path), codec, max(1.0, run.rate_hz), size)
                if not writer.isOpened():
                    raise UserError(f"this OpenCV cannot write {path.suffix} videos")
            writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    finally:
        if writer is not None:
            writer.release()


def _write_sheet(path: Path, source: Source, run: Run, annotations: Sequence[Annotation]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    chosen = np.unique(np.linspace(0, run.frames - 1, _SHEET_TILES).round().astype(int))
    painter = _Painter(run, annotations)
    pictures = {n: painter.paint(n, f) for n, f in enumerate(source) if n in chosen}
    height, width = next(iter(pictures.values())).shape[:2]
    columns = 4
    sheet_height = 16 / columns * height / width * -(-len(chosen) // columns)
    figure = Figure(figsize=(16, sheet_height + 2 * len(run.tracks)), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subfigures(2, 1, height_ratios=[sheet_height, 2 * len(run.tracks)])
    tiles = above.subplots(-(-len(chosen) // columns), columns, squeeze=False).ravel()
    for axes in tiles:
        axes.set_axis_off()
    for axes, (number, picture) in zip(tiles, pictures.items(), strict=False):
        axes.imshow(picture)
        axes.set_title(f"frame {number}", fontsize=8)
    rows = below.subplots(len(run.tracks), 1, sharex=True, squeeze=False).ravel()
    for axes, track, annotation in zip(rows, run.tracks, annotations, strict=True):
        _plot_trace(axes, track, annotation, run)
    rows[-1].set_xlabel("frame")
    figure.suptitle(f"{run.tracker}: green TRACKED, yellow UNCERTAIN, red LOST, blue annotation")
    figure.savefig(path, format="png")


def _plot_trace(axes: Any, track: Track, annotation: Annotation, run: Run) -> None:
    """Plot the row, or the column of a landmark without one, in mm from where it started."""
    axis = 1 if track.landmark.axes[1] else 0
    spacing_mm = run.geometry.plane_spacing_mm[axis]
    start_px = track.landmark.uv_px[axis]
    position_mm = (track.uv_px[:, axis] - start_px) * spacing_mm
    radius_mm = np.where(np.isfinite(track.radius_mm), track.radius_mm, 0.0)
    axes.fill_between(track.frames, position_mm - radius_mm, position_mm + radius_mm, color="0.85")
    # the radius of what is lost is wider than any motion
    margin_mm = 0.1 * float(np.ptp(position_mm)) + 1.0
    axes.set_ylim(position_mm.min() - margin_mm, position_mm.max() + margin_mm)
    marked = sorted(annotation.marks)
    truth_mm = [(annotation.marks[n].uv_px[axis] - start_px) * spacing_mm for n in marked]
    axes.plot(marked, truth_mm, color=np.array(_TRUTH_RGB) / 255, linewidth=0.8)
    for status, colour in _COLOURS_RGB.items():
        here = track.status == status
        axes.plot(track.frames[here], position_mm[here], ".", markersize=2.5, color=np.array(colour) / 255)
    axes.set_ylabel(f"{track.landmark.id}\n{'row' if axis else 'column'}, mm", fontsize=8)


class _Painter:
    """Draws the estimates of a frame on its image."""

    def __init__(self, run: Run, annotations: Sequence[Annotation]) -> None:
        self._annotations = annotations
        self._tracks = run.tracks
        self._index = [{int(n): i for i, n in enumerate(t.frames)} for t in run.tracks]
        self._spacing_mm = min(run.geometry.plane_spacing_mm[:2])
        self._grey_range: tuple[float, float] | None = None

    def paint(self, number: int, frame: Frame) -> NDArray[np.uint8]:
        """Return the image in RGB with crosses (reported), circles (radius) and dots (annotated)."""
        if self._grey_range is None:
            low, high = np.nanpercentile(frame.image, [0.5, 99.7])
            self._grey_range = (float(low), float(max(high, low + 1)))
        low, high = self._grey_range
        grey = np.clip((np.nan_to_num(frame.image.astype(np.float32)) - low) * 255 / (high - low), 0, 255)
        zoom = max(1, -(-_LEAST_HEIGHT_PX // grey.shape[0]))
        large = cv2.resize(grey.astype(np.uint8), None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR)
        picture = np.ascontiguousarray(cv2.cvtColor(large, cv2.COLOR_GRAY2RGB))
        for track, index, annotation in zip(self._tracks, self._index, self._annotations, strict=True):
            if number in annotation.marks:
                cv2.circle(picture, _at(annotation.marks[number].uv_px, zoom), 3, _TRUTH_RGB, -1)
            if (i := index.get(number)) is None:
                continue
            colour = _COLOURS_RGB[Status(int(track.status[i]))]
            centre = _at(track.uv_px[i], zoom)
            cv2.drawMarker(picture, centre, colour, cv2.MARKER_CROSS, 14, 1, cv2.LINE_AA)
            if np.isfinite(track.radius_mm[i]):
                radius_px = round(float(track.radius_mm[i]) / self._spacing_mm * zoom)
                cv2.circle(picture, centre, max(1, radius_px), colour, 1, cv2.LINE_AA)
            label = (centre[0] + 8, centre[1] - 8)
            cv2.putText(picture, track.landmark.id, label, cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1)
        return np.asarray(picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2], dtype=np.uint8)


def _at(uv_px: Any, zoom: int) -> tuple[int, int]:
    """Return the pixel of the enlarged picture that a pixel of the image, by its centre, lies on."""
    column, row = ((float(v) + 0.5) * zoom - 0.5 for v in uv_px)
    return round(column), round(row)

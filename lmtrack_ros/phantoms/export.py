"""Phantoms as recordings and as folders, each frame with its truth."""

import csv
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import SimpleITK
import yaml
from numpy.typing import NDArray

from lmtrack_ros import interface
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import Mount
from lmtrack_ros.core.records import Frame, LandmarkSet, MarkedLandmarks
from lmtrack_ros.phantoms.phantom import Phantom, marked
from lmtrack_ros.recording import (
    IMAGER_FRAME,
    INITIAL_LANDMARKS,
    LONE_FILE_SUFFIX,
    PARTIAL_SUFFIX,
    RecordingWriter,
)
from lmtrack_ros.sources import landmarks, sequence
from lmtrack_ros.sources.source import SourceInfo

TRUTH = "truth"

_COLUMNS = ("frame", "landmark", "x_px", "y_px", "z_px", "certain", "spread_px", "axes")
_POSITION_COLUMNS = ("x_mm", "y_mm", "z_mm")


class Sample(NamedTuple):
    """One frame and what is true of it.

    Attributes:
        frame: the picture.
        truth: where every landmark is.
        masks: pixels of each structure that has an extent, of the picture's shape, by name.
        edges: landmarks of which only the row is defined.
    """

    frame: Frame
    truth: LandmarkSet
    masks: Mapping[str, NDArray[np.bool_]]
    edges: Collection[str] = ()


def samples(phantom: Phantom, seconds: float, *, with_masks: bool = True) -> Iterator[Sample]:
    """Yield what a phantom shows at its own rate, the couch at zero; a recording needs no masks."""
    for time_s, frames in islice(phantom.exposures(), frame_count(phantom, seconds)):
        masks = phantom.masks(time_s) if with_masks else {}
        for frame in frames:
            yield Sample(frame, phantom.truth(frame.stamp_ns, time_s), masks, phantom.edges)


def frame_count(phantom: Phantom, seconds: float) -> int:
    """Return how many moments a phantom shows in some seconds, at least one."""
    return max(1, round(seconds * phantom.info.rate_hz))


def write(path: Path, info: SourceInfo, shown: Iterable[Sample]) -> int:
    """Write a recording where the path ends in a recording's suffix, else a folder; return the frames.

    A recording holds ``image`` or ``volume``, ``image_geometry``, ``initial_landmarks`` and ``truth``. A
    folder holds ``sequence.yaml``, ``frames``, ``masks`` where there are any, and ``landmarks.csv``, whose
    columns ``x_mm``, ``y_mm``, ``z_mm`` are the position in isocenter. An interruption or error leaves
    nothing behind.

    Args:
        path: where to; must not exist.
        info: of the source.
        shown: what to write.

    Raises:
        UserError: the path exists, or cannot be written.
    """
    if not path.name:
        raise UserError(f"'{path}' is no name to write to: give NAME{LONE_FILE_SUFFIX} or a folder")
    try:
        if path.suffix == LONE_FILE_SUFFIX:
            return _write_recording(path, shown)
        return _write_folder(path, info, shown)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def _write_recording(path: Path, shown: Iterable[Sample]) -> int:
    count = 0
    with RecordingWriter(path) as writer:
        for sample in shown:
            writer.write_frame(sample.frame)
            stamp_ns = sample.frame.stamp_ns
            if not count:
                first = tuple(marked(e.id, e.uv_px, sample.edges) for e in sample.truth.estimates)
                message = interface.initial_landmarks(
                    writer.make, MarkedLandmarks(first, stamp_ns), IMAGER_FRAME
                )
                writer.write(INITIAL_LANDMARKS, message, stamp_ns)
            writer.write_record(TRUTH, sample.truth, stamp_ns)
            count += 1
    return count


def partial_of(path: Path) -> Path:
    """Return the folder in which a new one is filled.

    Raises:
        UserError: either is there already.
    """
    if path.exists():
        raise UserError(f"{path} exists and is not overwritten: choose another name or remove it")
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    if partial.exists():
        raise UserError(f"{partial} is left from an interrupted run: remove it")
    return partial


def _write_folder(path: Path, info: SourceInfo, shown: Iterable[Sample]) -> int:
    partial = partial_of(path)
    assert info.geometry is not None
    if info.geometry.mount is not Mount.ROOM:
        raise UserError(f"a folder cannot say that the imager moves: give {path.name}{LONE_FILE_SUFFIX}")
    try:
        (partial / "frames").mkdir(parents=True)
        count = _fill(partial, info, shown)
        os.replace(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return count


def _fill(folder: Path, info: SourceInfo, shown: Iterable[Sample]) -> int:
    count = 0
    suffix = ""
    with (folder / landmarks.FILE_NAME).open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        for sample in shown:
            image = sample.frame.image
            if sample.frame.geometry is not info.geometry:
                raise UserError(
                    f"a folder cannot hold two views: give a name that ends in {LONE_FILE_SUFFIX}"
                )
            if not count:
                suffix = ".png" if image.ndim == 2 and image.dtype in (np.uint8, np.uint16) else ".mha"
                columns = _COLUMNS if image.ndim == 3 else [c for c in _COLUMNS if c != "z_px"]
                table.writerow([*columns, *_POSITION_COLUMNS])
            table.writerows(_rows(count, sample))
            _write_image(folder / "frames" / f"{count:06d}{suffix}", image)
            for name, mask in sample.masks.items():
                (folder / "masks" / name).mkdir(parents=True, exist_ok=True)
                of_mask = ".png" if mask.ndim == 2 else ".mha"
                _write_image(folder / "masks" / name / f"{count:06d}{of_mask}", mask.astype(np.uint8) * 255)
            count += 1
    described = {"images": f"frames/*{suffix}", **_description(info)}
    (folder / sequence.FILE_NAME).write_text(
        yaml.safe_dump(described, sort_keys=False, default_flow_style=None), encoding="utf-8"
    )
    return count


def _rows(index: int, sample: Sample) -> Iterator[list[Any]]:
    shape = sample.frame.image.shape[::-1]
    for estimate in sample.truth.estimates:
        inside = all(0 <= value <= size - 1 for value, size in zip(estimate.uv_px, shape, strict=True))
        pixels = [f"{value:.3f}" for value in estimate.uv_px]
        position = [f"{value:.3f}" for value in estimate.position_mm]
        axes = "y" if estimate.id in sample.edges else "xyz"[: len(pixels)]
        yield [index, estimate.id, *pixels, int(inside), "0.0", axes, *position]


def _write_image(path: Path, image: NDArray[Any]) -> None:
    try:
        if path.suffix == ".mha":
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(image), str(path), useCompression=True)
        elif not cv2.imwrite(str(path), image, (cv2.IMWRITE_PNG_COMPRESSION, 3)):
            raise UserError(f"cannot write {path}")
    except RuntimeError as error:  # of ITK, for a full disk too
        raise UserError(f"cannot write {path}: {' '.join(str(error).split())}") from error


def _description(info: SourceInfo) -> dict[str, Any]:
    geometry = info.geometry
    assert geometry is not None
    axes: Sequence[float] = geometry.spacing_mm if geometry.spacing_mm[2] > 0 else geometry.spacing_mm[:2]
    described: dict[str, Any] = {
        "modality": geometry.modality.value,
        "spacing_mm": [float(v) for v in axes],
        "rate_hz": float(info.rate_hz),
        "pose": [[float(v) for v in row] for row in geometry.pose[:3]],
        "source": info.name,
    }
    if geometry.sid_mm:
        described |= {"sad_mm": float(geometry.sad_mm), "sid_mm": float(geometry.sid_mm)}
    return described

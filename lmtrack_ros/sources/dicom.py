"""DICOM: a multi-frame object, or a series of single-frame files. Times and spacing are the header's.

Only what pydicom decodes by itself is read: uncompressed and RLE, or more where its plug-ins are installed.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import accumulate, pairwise
from pathlib import Path

import cv2
import numpy as np
import pydicom
from numpy.typing import ArrayLike, NDArray
from pydicom.pixels.utils import pixel_array
from pydicom.valuerep import DT

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import Modality
from lmtrack_ros.core.records import NS_PER_S, Frame
from lmtrack_ros.sources.options import SourceOptions
from lmtrack_ros.sources.rt_image import RT_IMAGE, rt_geometry
from lmtrack_ros.sources.source import SourceInfo
from lmtrack_ros.sources.stream import GuardedSource, Unreadable, grey, grey_of_colour, stamp_at

logger = logging.getLogger(__name__)

SUFFIXES = (".dcm", ".dicom", ".ima")

_MODALITIES = {
    "US": Modality.ULTRASOUND,
    "XA": Modality.FLUOROSCOPY,
    "RF": Modality.FLUOROSCOPY,
    "DX": Modality.FLUOROSCOPY,
    "CR": Modality.FLUOROSCOPY,
    "MR": Modality.MR,
    RT_IMAGE: Modality.PORTAL,
}
_CENTIMETRES = 3  # PhysicalUnitsXDirection of an ultrasound region
_TISSUE = 1  # its RegionDataType
_MM_PER_CM = 10.0
_MS_PER_S = 1000.0
_PREAMBLE_BYTES = 128
_RATE_OF_ONE_HZ = 1.0
"""Said of a single image that does not say its rate: it has none."""


def is_dicom(file: Path) -> bool:
    """Return whether a file carries the mark of DICOM."""
    try:
        with file.open("rb") as stream:
            return stream.read(_PREAMBLE_BYTES + 4)[_PREAMBLE_BYTES:] == b"DICM"
    except OSError:
        return False


class DicomSource(GuardedSource):
    """Frames of one DICOM series as (H, W); colour becomes grey, stored values are not rescaled.

    Stamps are absolute where each frame carries a date and time (in the file's time zone, else
    taken as UTC). Otherwise they follow the frame time, the vector of frame times or the rate in
    the header, or the user's rate.

    Args:
        files: one multi-frame object, or single-frame files in any order.
        options: what the user says; a rate replaces the header's times.
        name: for logs and recordings.

    Raises:
        UserError: a file cannot be read or decoded, or something is missing.
    """

    def __init__(self, files: Sequence[Path], options: SourceOptions, name: str) -> None:
        self._files = _in_order(files, name)
        try:
            shape = _decode(_read(self._files[0]), 0).shape
        except _UndecodableError as error:
            raise UserError(f"{self._files[0]}: {error}") from error
        with _usable_header(self._files[0]):
            super().__init__(self._described(shape, options, name))

    def _described(self, shape: Sequence[int], options: SourceOptions, name: str) -> SourceInfo:
        """Return what the headers say, and keep the stamps of the frames."""
        headers = [_read_header(file) for file in self._files]
        header = headers[0]
        count = len(headers) if len(headers) > 1 else _frame_count(header)
        stamps_ns = _series_stamps_ns(headers) if len(headers) > 1 else _frame_stamps_ns(header)
        stated_hz = _rate_of(stamps_ns) or _stated_rate_hz(header)
        if count == 1 and options.rate_hz is None:
            rate_hz = stated_hz or _RATE_OF_ONE_HZ
        else:
            rate_hz = options.rate(name, stated_hz)
        if options.rate_hz is not None or stamps_ns is None:
            stamps_ns = [stamp_at(index / rate_hz) for index in range(count)]
        self._stamps_ns = stamps_ns
        spacing_mm, at_detector = _spacing_mm(header)
        sad_mm, sid_mm = _distances_mm(header) if at_detector or options.spacing_mm else (0.0, 0.0)
        geometry = options.geometry(
            name,
            shape,
            modality=_MODALITIES.get(str(header.get("Modality", ""))),
            spacing_mm=spacing_mm,
            sad_mm=sad_mm,
            sid_mm=sid_mm,
        )
        # each portal image of a pair or of an arc was taken at another angle
        self._geometries = [
            options.applied_to(name, shape, rt_geometry(h, shape) or geometry) for h in headers
        ]
        return SourceInfo(name, self._geometries[0], rate_hz, count)

    def _read(self) -> Iterator[Frame | Unreadable]:
        single = _read(self._files[0]) if len(self._files) == 1 else None
        for index, stamp_ns in enumerate(self._stamps_ns):
            try:
                if single is not None:
                    image = _decode(single, index)
                else:
                    image = _decode(_read(self._files[index]), 0)
            except (_UndecodableError, UserError) as error:
                yield Unreadable(str(error))
                continue
            geometry = self._geometries[min(index, len(self._geometries) - 1)]
            yield Frame(stamp_ns, image, geometry, stamp_ns)


class _UndecodableError(Exception):
    """Pixels that cannot be decoded; the message is one line."""


def _read(file: Path) -> pydicom.Dataset:
    return _parse(file, header_only=False)


def _read_header(file: Path) -> pydicom.Dataset:
    return _parse(file, header_only=True)


def _parse(file: Path, *, header_only: bool) -> pydicom.Dataset:
    try:
        return pydicom.dcmread(file, stop_before_pixels=header_only)
    except Exception as error:  # pydicom raises many kinds for a broken file
        raise UserError(f"{file} cannot be read as DICOM: {_one_line(error)}") from error


@contextmanager
def _usable_header(file: Path) -> Iterator[None]:
    """Make a UserError of whatever a broken value in the header of a file raises."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # pydicom raises many kinds, and gives some values as they stand
        raise UserError(f"{file} has a broken value in its DICOM header: {_one_line(error)}") from error


def _decode(dataset: pydicom.Dataset, index: int) -> NDArray[np.generic]:
    try:
        image = pixel_array(dataset, index=index)
    except Exception as error:  # pydicom raises many kinds, some from its plug-ins
        raise _UndecodableError(f"frame {index} cannot be decoded: {_one_line(error)}") from error
    if image.ndim == 3:
        return grey_of_colour(image, cv2.COLOR_RGB2GRAY)
    return grey(image)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _frame_count(header: pydicom.Dataset) -> int:
    return int(header.get("NumberOfFrames") or 1)


def _in_order(files: Sequence[Path], name: str) -> list[Path]:
    """Return single-frame files by instance number; those of one series only."""
    if len(files) == 1:
        return list(files)
    headers = {}
    places = {}
    multi_frame = False
    for file in files:
        try:
            with _usable_header(file):
                header = _read_header(file)
                place = int(header.get("InstanceNumber") or 0)
                multi_frame |= _frame_count(header) > 1
                headers[file], places[file] = header, place
        except UserError as error:
            # without what is in its header, neither its place nor its time is known
            logger.warning("%s: a file is left out: %s", name, error)
    if not headers:
        raise UserError(f"{name}: none of the {len(files)} files can be read as DICOM, such as {files[0]}")
    if len({header.get("SeriesInstanceUID") for header in headers.values()}) > 1:
        raise UserError(f"{name} holds files of several DICOM series: keep one series in a folder")
    if multi_frame:
        raise UserError(f"{name} holds several multi-frame DICOM files: open one of them")
    # sorted() keeps the natural order of names where the number is missing
    return sorted(places, key=places.__getitem__)


# times -------------------------------------------------------------------------------------------


def _series_stamps_ns(headers: Sequence[pydicom.Dataset]) -> list[int] | None:
    """Return the stamps of single-frame files, or None where they do not all have growing times."""
    for date, time in (("AcquisitionDate", "AcquisitionTime"), ("ContentDate", "ContentTime")):
        stamps = [_epoch_ns(h.get(date), h.get(time), h) for h in headers]
        if (growing := _growing(stamps)) is not None:
            return growing
    return _growing([_moment_ns(h.get("AcquisitionDateTime"), h) for h in headers])


def _frame_stamps_ns(header: pydicom.Dataset) -> list[int] | None:
    """Return the stamps of a multi-frame object's frames, or None where it does not say them."""
    count = _frame_count(header)
    functional = [
        content[0]
        for group in header.get("PerFrameFunctionalGroupsSequence") or []
        if (content := group.get("FrameContentSequence"))
    ]
    if len(functional) == count:
        for key in ("FrameReferenceDateTime", "FrameAcquisitionDateTime"):
            if (stamps := _growing([_moment_ns(c.get(key), header) for c in functional])) is not None:
                return stamps
    vector_ms = header.get("FrameTimeVector")
    if vector_ms is not None:
        # the first entry is the time before the first frame; a single value is not a list
        steps_ms = [float(v) for v in np.atleast_1d(vector_ms)]
        if len(steps_ms) == count:
            return [stamp_at(ms / _MS_PER_S) for ms in accumulate([0.0, *steps_ms[1:]])]
    frame_ms = float(header.get("FrameTime") or 0)
    if frame_ms > 0:
        return [stamp_at(index * frame_ms / _MS_PER_S) for index in range(count)]
    return None


def _stated_rate_hz(header: pydicom.Dataset) -> float | None:
    for key in ("CineRate", "RecommendedDisplayFrameRate"):
        if float(header.get(key) or 0) > 0:
            return float(header[key].value)
    return None


def _rate_of(stamps_ns: Sequence[int] | None) -> float | None:
    if stamps_ns is None or len(stamps_ns) < 2 or stamps_ns[-1] <= stamps_ns[0]:
        return None
    return (len(stamps_ns) - 1) * NS_PER_S / (stamps_ns[-1] - stamps_ns[0])


def _growing(stamps_ns: Sequence[int | None]) -> list[int] | None:
    known = [s for s in stamps_ns if s is not None]
    # a scanner that gives one time to the whole series does not say when each frame was
    if len(known) < len(stamps_ns) or any(later <= earlier for earlier, later in pairwise(known)):
        return None
    return known


def _epoch_ns(date: object, time: object, header: pydicom.Dataset) -> int | None:
    if not date or not time:
        return None
    return _moment_ns(f"{date}{time}", header)


def _moment_ns(text: object, header: pydicom.Dataset) -> int | None:
    """Return a DICOM date-time (VR DT) in ns since the epoch, or None where it is not one."""
    if not text:
        return None
    zone = str(header.get("TimezoneOffsetFromUTC") or "+0000").strip()
    digits = str(text).strip()
    if not any(sign in digits for sign in "+-"):
        digits += zone
    try:
        moment = DT(digits)
    except ValueError:
        return None
    if not isinstance(moment, datetime):
        return None
    seconds = int(moment.replace(microsecond=0).timestamp())
    return seconds * NS_PER_S + moment.microsecond * 1000


# geometry ----------------------------------------------------------------------------------------


def _spacing_mm(header: pydicom.Dataset) -> tuple[tuple[float, float] | None, bool]:
    """Return the (column, row) spacing, or None, and whether it is that of a projection's detector."""
    for key in ("ImagerPixelSpacing", "ImagePlanePixelSpacing"):
        if header.get(key):
            return _column_row(header[key].value), True
    if header.get("PixelSpacing"):
        return _column_row(header.PixelSpacing), False
    for group in header.get("SharedFunctionalGroupsSequence") or []:
        for measures in group.get("PixelMeasuresSequence") or []:
            if measures.get("PixelSpacing"):
                return _column_row(measures.PixelSpacing), False
    for region in header.get("SequenceOfUltrasoundRegions") or []:
        in_cm = {region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")} == {
            _CENTIMETRES
        }
        if in_cm and region.get("RegionDataType", _TISSUE) == _TISSUE:
            column, row = float(region.PhysicalDeltaX), float(region.PhysicalDeltaY)
            return (abs(column) * _MM_PER_CM, abs(row) * _MM_PER_CM), False
    if header.get("NominalScannedPixelSpacing"):
        return _column_row(header.NominalScannedPixelSpacing), False
    return None, False


def _column_row(between_rows_then_columns: ArrayLike) -> tuple[float, float]:
    # a single value is not a list
    values_mm = [float(str(v)) for v in np.atleast_1d(between_rows_then_columns)]
    if len(values_mm) != 2:
        raise ValueError(f"a pixel spacing has two values, not {values_mm}")
    row, column = values_mm
    return column, row


def _distances_mm(header: pydicom.Dataset) -> tuple[float, float]:
    """Return the source-isocentre and source-detector distances, both 0 unless both are known."""
    pairs = (
        ("RadiationMachineSAD", "RTImageSID"),
        ("DistanceSourceToIsocenter", "DistanceSourceToDetector"),
        ("DistanceSourceToPatient", "DistanceSourceToDetector"),
    )
    for axis_key, detector_key in pairs:
        axis_mm, detector_mm = float(header.get(axis_key) or 0), float(header.get(detector_key) or 0)
        if axis_mm > 0 and detector_mm > 0:
            return axis_mm, detector_mm
    return 0.0, 0.0

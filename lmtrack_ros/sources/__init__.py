"""Where frames come from: files, recordings, cameras and phantoms, all opened by :func:`open_source`."""

from collections.abc import Callable, Sequence
from pathlib import Path

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import View
from lmtrack_ros.core.geometry import Modality
from lmtrack_ros.sources.options import SourceOptions
from lmtrack_ros.sources.source import Source, SourceInfo

__all__ = ["Source", "SourceInfo", "open_source"]

CAMERA_PREFIX = "camera:"
PHANTOM_PREFIX = "phantom:"


def open_source(
    uri: str | Path,
    *,
    modality: Modality | str | None = None,
    spacing_mm: Sequence[float] | None = None,
    rate_hz: float | None = None,
    view: View | str | None = None,
    sad_mm: float | None = None,
    sid_mm: float | None = None,
    latency_ms: float = 0.0,
    clock: Callable[[], int] | None = None,
) -> Source:
    """Open whatever ``uri`` names as a stream of grey frames.

    A folder may hold a ``sequence.yaml``, a rosbag2 recording, a sequence of the CLUST challenge, or files
    of one kind: still images, MetaImage volumes, single-frame DICOM. A file may be a video, a MetaImage or
    NIfTI series, a DICOM object, or a lone ``.mcap`` or ``.db3``. ``camera:0`` and ``camera:/dev/video0``
    are live; ``phantom:NAME`` is simulated.

    What is given here wins over what the source says by itself. Stamps of a source without
    absolute times start at 1 s. Where no pose is known, the image's centre lies at the isocentre
    in the view given, or in the modality's usual one: longitudinal for ultrasound (the probe on the
    abdomen: columns run to the feet, depth to the back), sagittal for MR, coronal for fluoroscopy and
    portal images, axial for volumes.

    Args:
        uri: path, or one of the prefixes above.
        modality: what made the images.
        spacing_mm: pixel pitch along columns, rows and, for volumes, slices; with the two distances
            below, at the detector.
        rate_hz: frame rate; replaces the times of a file. A recording and a camera keep theirs.
        view: how the image plane stands in the room.
        sad_mm: source to isocentre of a projection, given together with ``sid_mm``: the spacing is
            then that of the detector, and positions are in mm at the isocentre plane. Where neither
            the caller nor the source says them, the spacing is taken as it is.
        sid_mm: source to detector, likewise.
        latency_ms: of a camera, the time from mid-exposure to arrival.
        clock: of a camera, ns since the epoch; the system's where not given.

    Raises:
        UserError: nothing is there, it is of no known kind, or something that is needed is neither
            said by it nor given here.
    """
    options = SourceOptions.parse(
        modality=modality, spacing_mm=spacing_mm, rate_hz=rate_hz, view=view, sad_mm=sad_mm, sid_mm=sid_mm
    )
    text = str(uri)
    if text.startswith(CAMERA_PREFIX):
        from lmtrack_ros.sources.camera import CameraSource, wall_clock_ns

        return CameraSource(
            text.removeprefix(CAMERA_PREFIX), options, latency_ms=latency_ms, clock=clock or wall_clock_ns
        )
    if text.startswith(PHANTOM_PREFIX):
        if options != SourceOptions():
            raise UserError(f"{text} knows its modality, spacing, rate, view and distances: leave them out")
        from lmtrack_ros.phantoms import open_phantom

        return open_phantom(text.removeprefix(PHANTOM_PREFIX))
    return _open_path(Path(uri), options)


def _open_path(path: Path, options: SourceOptions) -> Source:
    # imported here, so that a camera or phantom does not load ITK, pydicom and the bag reader
    from lmtrack_ros.recording import is_recording
    from lmtrack_ros.sources import clust, files, rosbag, sequence

    if not path.exists():
        raise UserError(f"{path} does not exist")
    if is_recording(path):
        return rosbag.RosbagSource(path, options)
    if not path.is_dir():
        return files.open_files([path], options, path.name)
    if (path / sequence.FILE_NAME).is_file():
        return sequence.open_sequence(path, options)
    if clust.is_sequence(path):
        return clust.open_sequence(path, options)
    return files.open_files(files.folder_files(path), options, path.resolve().name)

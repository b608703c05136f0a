"""Image folders, videos, MetaImage series, described sequences, cameras and the guard they share."""

import logging
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import View, isocenter_from_image
from lmtrack_ros.core.geometry import ImageGeometry, Modality
from lmtrack_ros.core.records import NS_PER_S, Frame
from lmtrack_ros.sources import camera, open_source
from lmtrack_ros.sources.options import SourceOptions
from lmtrack_ros.sources.stream import FIRST_STAMP_NS, Unreadable, guarded

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

KNOWN = {"modality": "ultrasound", "spacing_mm": (0.2, 0.3), "rate_hz": 10}


def pixels(count: int, shape: tuple[int, ...] = (24, 32), dtype: str = "uint8") -> NDArray[np.generic]:
    return np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (count, *shape)).astype(dtype)


def write_pngs(folder: Path, images: NDArray[np.generic]) -> Path:
    folder.mkdir()
    for index, image in enumerate(images):
        assert cv2.imwrite(str(folder / f"f{index}.png"), image)
    return folder


def write_video(path: Path, count: int, rate_hz: float = 25.0) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), rate_hz, (64, 48))
    assert writer.isOpened()
    for index in range(count):
        writer.write(np.full((48, 64, 3), 10 * index, np.uint8))
    writer.release()


def test_a_png_folder_is_read_in_natural_order_and_pixel_exact(tmp_path: Path) -> None:
    images = pixels(12, dtype="uint16")
    folder = write_pngs(tmp_path / "scan", images)
    with open_source(folder, **KNOWN) as source:
        frames = list(source)
        again = list(source)
    assert [f.image.tolist() for f in frames] == images.tolist()
    assert [f.stamp_ns for f in frames] == [FIRST_STAMP_NS + i * NS_PER_S // 10 for i in range(12)]
    assert all(f.image.dtype == np.uint16 and f.received_ns == f.stamp_ns for f in frames)
    assert [f.stamp_ns for f in again] == [f.stamp_ns for f in frames]
    assert source.info.name == "scan"
    assert source.info.frames == 12


def test_the_image_centre_lies_at_the_isocentre_in_the_usual_view(tmp_path: Path) -> None:
    folder = write_pngs(tmp_path / "scan", pixels(1))
    geometry = open_source(folder, **KNOWN).info.geometry
    assert geometry is not None
    np.testing.assert_allclose(geometry.position_mm((15.5, 11.5)), 0, atol=1e-9)
    # longitudinal: columns run to the feet, rows to the back
    np.testing.assert_allclose(geometry.position_mm((16.5, 12.5)), (0, -0.2, -0.3), atol=1e-9)
    # of MR, sagittal: columns run to the back, rows to the feet
    sagittal = open_source(folder, **{**KNOWN, "modality": "mr"}).info.geometry
    assert sagittal is not None
    np.testing.assert_allclose(sagittal.position_mm((16.5, 12.5)), (0, -0.3, -0.2), atol=1e-9)
    coronal = open_source(folder, **KNOWN, view="coronal").info.geometry
    assert coronal is not None
    np.testing.assert_allclose(coronal.position_mm((16.5, 12.5)), (0.2, -0.3, 0), atol=1e-9)


def test_colour_becomes_grey_and_equal_channels_keep_their_value(tmp_path: Path) -> None:
    grey = pixels(2)
    folder = write_pngs(tmp_path / "scan", np.repeat(grey[..., np.newaxis], 3, axis=-1))
    assert [f.image.tolist() for f in open_source(folder, **KNOWN)] == grey.tolist()


def test_broken_pictures_are_reported_once_and_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_pngs(tmp_path / "scan", pixels(6))
    for name in ("f1.png", "f3.png"):
        (folder / name).write_text("not a picture")
    (folder / "f4.png").write_bytes(b"")
    cv2.imwrite(str(folder / "f5.png"), pixels(1, (10, 10))[0])
    with caplog.at_level(logging.WARNING):
        stamps = [f.stamp_ns for f in open_source(folder, **KNOWN)]
    # a frame keeps the time of its place
    assert stamps == [FIRST_STAMP_NS, FIRST_STAMP_NS + 2 * NS_PER_S // 10]
    reports = [r.getMessage() for r in caplog.records]
    assert len(reports) == 3
    assert "f1.png is not an image" in reports[0]
    assert "differs in size" in reports[1]
    assert "skipped 3 frames that each cannot be read" in reports[2]


def test_a_folder_with_a_broken_first_picture_starts_with_the_next(tmp_path: Path) -> None:
    folder = write_pngs(tmp_path / "scan", pixels(3))
    (folder / "f0.png").write_text("not a picture")
    assert len(list(open_source(folder, **KNOWN))) == 2


def frame(stamp_ns: int, image: NDArray[np.generic] | None = None) -> Frame:
    return Frame(stamp_ns, np.zeros((4, 5), np.uint8) if image is None else image)


def test_the_guard_skips_time_that_does_not_grow_and_other_pixel_types(
    caplog: pytest.LogCaptureFixture,
) -> None:
    raw: list[Frame | Unreadable] = [
        frame(10),
        frame(10),
        frame(5),
        frame(20, np.zeros((4, 5), np.uint16)),
        Unreadable("torn"),
        frame(30),
    ]
    with caplog.at_level(logging.WARNING):
        assert [f.stamp_ns for f in guarded(iter(raw), "test")] == [10, 30]
    reports = " | ".join(r.getMessage() for r in caplog.records)
    assert "frame 1 is not later than the one before" in reports
    assert "uint16 instead of uint8" in reports
    assert "torn" in reports
    assert "skipped 2 frames" in reports


def test_a_video_has_the_times_of_its_container(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", 5)
    source = open_source(tmp_path / "clip.mp4", modality="fluoroscopy", spacing_mm=(0.4, 0.4))
    frames = list(source)
    assert [f.stamp_ns for f in frames] == [FIRST_STAMP_NS + i * 40_000_000 for i in range(5)]
    assert source.info.rate_hz == 25
    assert source.info.frames == 5
    assert frames[0].image.shape == (48, 64)
    assert frames[3].image.dtype == np.uint8
    assert abs(int(frames[3].image.mean()) - 30) <= 2


def test_a_given_rate_replaces_the_times_of_a_video(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", 3)
    stamps = [f.stamp_ns for f in open_source(tmp_path / "clip.mp4", **KNOWN)]
    assert stamps == [FIRST_STAMP_NS, FIRST_STAMP_NS + 100_000_000, FIRST_STAMP_NS + 200_000_000]


def test_a_truncated_video_gives_what_is_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for image in pixels(40, (48, 64, 3)):
        writer.write(image)
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with caplog.at_level(logging.WARNING):
        frames = list(open_source(path, modality="ultrasound", spacing_mm=(1, 1)))
    assert 5 < len(frames) < 40
    assert "of the 40 frames it promises" in caplog.text


def write_series(path: Path, array: NDArray[np.generic], spacing_mm: tuple[float, ...]) -> None:
    image = SimpleITK.GetImageFromArray(array, isVector=False)
    image.SetSpacing(spacing_mm)
    SimpleITK.WriteImage(image, str(path))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_metaimage_series_is_pixel_exact(tmp_path: Path, dtype: str) -> None:
    images = pixels(7, dtype=dtype)
    write_series(tmp_path / "cine.mha", images, (1.5, 2.5, 0.2))
    source = open_source(tmp_path / "cine.mha", modality="mr", rate_hz=5)
    assert [f.image.tolist() for f in source] == images.tolist()
    assert source.info.geometry is not None
    assert source.info.geometry.spacing_mm == (1.5, 2.5, 0)
    assert source.info.frames == 7


def test_signed_pixels_become_float32(tmp_path: Path) -> None:
    images = (pixels(2).astype(np.int16) - 100).astype(np.int16)
    write_series(tmp_path / "cine.mha", images, (1, 1, 1))
    frames = list(open_source(tmp_path / "cine.mha", modality="mr", rate_hz=5))
    assert frames[0].image.dtype == np.float32
    assert [f.image.tolist() for f in frames] == images.tolist()


def test_volumes_are_one_frame_per_file_or_the_fourth_axis(tmp_path: Path) -> None:
    volumes = pixels(3, (4, 6, 8))
    folder = tmp_path / "phases"
    folder.mkdir()
    for index, volume in enumerate(volumes):
        write_series(folder / f"phase{index}.mha", volume, (1, 2, 3))
    source = open_source(folder, modality=Modality.ULTRASOUND_VOLUME, rate_hz=2)
    assert [f.image.tolist() for f in source] == volumes.tolist()
    assert source.info.geometry is not None
    assert source.info.geometry.spacing_mm == (1, 2, 3)
    np.testing.assert_allclose(source.info.geometry.position_mm((3.5, 2.5, 1.5)), 0, atol=1e-9)
    write_series(tmp_path / "all.mha", volumes, (1, 2, 3, 1))
    in_one = open_source(tmp_path / "all.mha", modality="ultrasound_volume", rate_hz=2)
    assert [f.image.tolist() for f in in_one] == volumes.tolist()


def test_a_sequence_description_says_what_files_do_not(tmp_path: Path) -> None:
    write_pngs(tmp_path / "frames", pixels(3))
    (tmp_path / "sequence.yaml").write_text(
        "modality: ultrasound\nimages: frames/*.png\nspacing_mm: [0.1, 0.2]\nrate_hz: 20\n"
        "view: axial\nlicence: none\n"
    )
    source = open_source(tmp_path)
    assert source.info.rate_hz == 20
    geometry = source.info.geometry
    assert geometry is not None
    assert geometry.spacing_mm == (0.1, 0.2, 0)
    np.testing.assert_allclose(geometry.position_mm((16.5, 12.5)), (0.1, 0, -0.2), atol=1e-9)
    # what the caller gives wins
    assert open_source(tmp_path, rate_hz=5).info.rate_hz == 5
    overridden = open_source(tmp_path, modality="mr").info.geometry
    assert overridden is not None
    assert overridden.modality is Modality.MR


def test_the_distances_of_a_projection_bring_positions_to_the_isocentre_plane(tmp_path: Path) -> None:
    write_pngs(tmp_path / "frames", pixels(1))
    description = "modality: fluoroscopy\nimages: frames/*.png\nspacing_mm: [0.4, 0.4]\nrate_hz: 15\n"
    (tmp_path / "sequence.yaml").write_text(description)
    taken_as_it_is = open_source(tmp_path).info.geometry
    assert taken_as_it_is is not None
    assert taken_as_it_is.plane_spacing_mm == (0.4, 0.4, 0)
    (tmp_path / "sequence.yaml").write_text(description + "sad_mm: 1000\nsid_mm: 1500\n")
    geometry = open_source(tmp_path).info.geometry
    assert geometry is not None
    assert geometry.spacing_mm == (0.4, 0.4, 0)
    assert geometry.plane_spacing_mm == pytest.approx((0.2667, 0.2667, 0), abs=1e-4)
    np.testing.assert_allclose(geometry.position_mm((15.5, 11.5)), 0, atol=1e-9)
    # what the caller gives wins
    overridden = open_source(tmp_path, sad_mm=1000, sid_mm=1600).info.geometry
    assert overridden is not None
    assert overridden.plane_spacing_mm == pytest.approx((0.25, 0.25, 0))


@pytest.mark.parametrize(
    ("distances", "complaint"),
    [
        ({"sad_mm": 1000}, "or neither"),
        ({"sid_mm": 1500}, "or neither"),
        ({"sad_mm": 0, "sid_mm": 1500}, "sad_mm must be a positive number"),
        ({"sad_mm": 1000, "sid_mm": np.nan}, "sid_mm must be a positive number"),
        ({"sad_mm": np.inf, "sid_mm": 1500}, "sad_mm must be a positive number"),
    ],
)
def test_wrong_distances_are_one_clear_line(distances: dict[str, float], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        open_source("anything", **distances)
    assert "\n" not in str(caught.value)


def test_given_distances_replace_those_of_a_recording() -> None:
    pose = isocenter_from_image(View.CORONAL, (1, 2, 3))
    recorded = ImageGeometry(
        Modality.FLUOROSCOPY, (0.4, 0.4, 0), pose=pose, sad_mm=1000, sid_mm=1500, projection=np.ones((3, 4))
    )
    assert SourceOptions.parse().applied_to("rec", (24, 32), recorded) is recorded
    applied = SourceOptions.parse(sad_mm=1000, sid_mm=1600).applied_to("rec", (24, 32), recorded)
    assert applied.plane_spacing_mm == pytest.approx((0.25, 0.25, 0))
    np.testing.assert_array_equal(applied.pose, pose)
    assert applied.projection is None
    kept = SourceOptions.parse(spacing_mm=(0.2, 0.2)).applied_to("rec", (24, 32), recorded)
    assert (kept.sad_mm, kept.sid_mm) == (1000, 1500)
    assert kept.projection is recorded.projection


def test_the_nominal_rate_of_a_description_leaves_the_times_of_a_video(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", 3)
    (tmp_path / "sequence.yaml").write_text(
        "modality: fluoroscopy\nimages: clip.mp4\nspacing_mm: [1, 1]\nrate_hz: 24"
    )
    assert [f.stamp_ns for f in open_source(tmp_path)][1] == FIRST_STAMP_NS + 40_000_000


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("images: [", "cannot be read"),
        ("just words", "key: value"),
        ("modality: mr", "must name its files"),
        ("images: '*.png'", "no file matches"),
        ("images: sequence.yaml", "no kind that is read here"),
        ("images: /etc/*.png", "relative pattern"),
        ("images: sequence.yaml\nmodality: mri", "Did you mean 'mr'"),
        ("images: sequence.yaml\nspacing_mm: 3", "two or three positive numbers"),
        ("images: sequence.yaml\nrate_hz: fast", "positive number"),
        ("images: sequence.yaml\nsad_mm: 1000", "both sad_mm .* or neither"),
        ("images: sequence.yaml\nsad_mm: 1000\nsid_mm: far", "sid_mm must be a positive number"),
        ("images: sequence.yaml\nsad_mm: -1000\nsid_mm: 1500", "sad_mm must be a positive number"),
        ("images: sequence.yaml\nsad_mm: 0\nsid_mm: 0", "sad_mm must be a positive number"),
    ],
)
def test_a_wrong_description_is_one_clear_line(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "sequence.yaml").write_text(text)
    with pytest.raises(UserError, match=complaint) as caught:
        open_source(tmp_path)
    assert "\n" not in str(caught.value)


def test_what_nothing_says_is_asked_for(tmp_path: Path) -> None:
    folder = write_pngs(tmp_path / "scan", pixels(1))
    with pytest.raises(UserError, match="frame rate"):
        open_source(folder, modality="mr", spacing_mm=(1, 1))
    with pytest.raises(UserError, match="pixel spacing"):
        open_source(folder, modality="mr", rate_hz=1)
    with pytest.raises(UserError, match="give the modality"):
        open_source(folder, spacing_mm=(1, 1), rate_hz=1)
    with pytest.raises(UserError, match="Did you mean 'ultrasound'"):
        open_source(folder, modality="ultrasuond", spacing_mm=(1, 1), rate_hz=1)


def test_what_cannot_be_opened_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "mixed").mkdir()
    for name in ("a.png", "b.mp4"):
        (tmp_path / "mixed" / name).touch()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "a.png").write_text("not a picture")
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 999)
    (tmp_path / "broken.mha").write_text("ObjectType = Image\n")
    (tmp_path / "notes.txt").write_text("hello")
    for name, complaint in (
        ("missing", "does not exist"),
        ("empty", "holds no images"),
        ("mixed", "several kinds"),
        ("torn", "none of the 1 image files"),
        ("broken.mp4", "cannot be read as a video"),
        ("broken.mha", "cannot be read"),
        ("notes.txt", "no kind that is read here"),
    ):
        with pytest.raises(UserError, match=complaint) as caught:
            open_source(tmp_path / name, **KNOWN)
        assert "\n" not in str(caught.value)


class FakeCapture:
    """A device that delivers a given list; None stands for a failed read."""

    def __init__(self, images: list[NDArray[np.uint8] | None]) -> None:
        self.images = images
        self.released = False

    def __call__(self, device: int | str) -> "FakeCapture":
        self.device = device
        return self

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        image = self.images.pop(0) if self.images else None
        return image is not None, image

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return not self.released

    def get(self, _: int) -> float:
        return 30.0

    def set(self, *_: object) -> bool:
        return True

    def release(self) -> None:
        self.released = True


def test_a_camera_stamps_arrival_minus_latency_and_ends_when_unplugged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = np.full((4, 5, 3), 7, np.uint8)
    capture = FakeCapture([image, image, None, image])
    monkeypatch.setattr(camera.cv2, "VideoCapture", capture)
    clock: Iterator[int] = iter(range(NS_PER_S, 100 * NS_PER_S, NS_PER_S))
    source = open_source(
        "camera:0", modality="ultrasound", spacing_mm=(1, 1), latency_ms=30, clock=lambda: next(clock)
    )
    frames = list(source)
    assert capture.device == 0
    assert [f.stamp_ns for f in frames] == [970_000_000, 2_970_000_000]
    assert [f.received_ns for f in frames] == [NS_PER_S, 3 * NS_PER_S]
    assert frames[0].image.tolist() == [[7] * 5] * 4
    assert source.info.rate_hz == 30
    source.close()
    assert capture.released


def test_a_camera_that_is_not_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    capture = FakeCapture([])
    monkeypatch.setattr(camera.cv2, "VideoCapture", capture)
    with pytest.raises(UserError, match="delivers no frame"):
        open_source("camera:/dev/video9", **KNOWN)
    assert capture.device == "/dev/video9"
    assert capture.released


def test_a_phantom_knows_itself() -> None:
    with pytest.raises(UserError, match="leave them out"):
        open_source("phantom:ultrasound", rate_hz=3)
    with pytest.raises(UserError, match="unknown phantom"):
        open_source("phantom:unicorn")


@pytest.mark.parametrize(
    ("name", "count", "shape", "dtype"),
    [
        ("us_kidney", 227, (584, 770), "uint8"),
        ("us_muscle", 33, (600, 800), "uint8"),
        ("xray_chest", 248, (1072, 880), "uint8"),
        ("cine_liver", 498, (176, 140), "uint16"),
        ("cine_liver_noisy", 498, (176, 160), "uint16"),
        ("cine_thorax", 200, (270, 270), "uint8"),
    ],
)
def test_the_reference_recordings_open(name: str, count: int, shape: tuple[int, int], dtype: str) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"reference recording {name} is not at ../shared/data beside the repository")
    source = open_source(DATA / name)
    first = next(iter(source))
    assert source.info.frames == count
    assert first.image.shape == shape
    assert first.image.dtype == dtype
    assert first.geometry is source.info.geometry


@pytest.mark.parametrize(("name", "count"), [("ct4d_lung", 10), ("us3d_prostate", 25)])
def test_the_reference_volumes_open(name: str, count: int) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"reference recording {name} is not at ../shared/data beside the repository")
    frames = list(open_source(DATA / name, modality="ultrasound_volume", rate_hz=1))
    assert len(frames) == count
    assert frames[0].image.ndim == 3

"""DICOM: times, spacing and pixels from the header."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import Modality
from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S
from lmtrack_ros.sources import open_source
from lmtrack_ros.sources.stream import FIRST_STAMP_NS

IMAGES = np.random.default_rng(2).integers(0, 60000, (4, 6, 8)).astype(np.uint16)


def region(**fields: Any) -> Dataset:
    dataset = Dataset()
    for key, value in fields.items():
        setattr(dataset, key, value)
    return dataset


def write(path: Path, images: NDArray[np.generic] = IMAGES, **fields: Any) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.Modality = "US"
    dataset.SeriesInstanceUID = "1.2.3"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = images.shape[:3]
    dataset.SamplesPerPixel = images.shape[3] if images.ndim == 4 else 1
    dataset.PhotometricInterpretation = "RGB" if images.ndim == 4 else "MONOCHROME2"
    if images.ndim == 4:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * images.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = images.tobytes()
    for key, value in fields.items():
        setattr(dataset, key, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_frame_time_and_spacing_of_a_multi_frame_object(tmp_path: Path) -> None:
    path = write(tmp_path / "cine.dcm", FrameTime=40, PixelSpacing=[0.5, 0.25])
    source = open_source(path)
    frames = list(source)
    assert [f.image.tolist() for f in frames] == IMAGES.tolist()
    assert [f.stamp_ns for f in frames] == [FIRST_STAMP_NS + i * 40 * NS_PER_MS for i in range(4)]
    assert source.info.rate_hz == pytest.approx(25)
    assert source.info.geometry is not None
    # DICOM gives the distance between rows first
    assert source.info.geometry.spacing_mm == (0.25, 0.5, 0)
    assert source.info.geometry.modality is Modality.ULTRASOUND


def test_a_vector_of_frame_times_and_ultrasound_regions(tmp_path: Path) -> None:
    tissue = region(
        PhysicalUnitsXDirection=3,
        PhysicalUnitsYDirection=3,
        RegionDataType=1,
        PhysicalDeltaX=0.03,
        PhysicalDeltaY=-0.04,
    )
    path = write(
        tmp_path / "no_suffix", FrameTimeVector=[0, 100, 50, 50], SequenceOfUltrasoundRegions=[tissue]
    )
    source = open_source(path)
    assert [f.stamp_ns - FIRST_STAMP_NS for f in source] == [0, 100_000_000, 150_000_000, 200_000_000]
    assert source.info.geometry is not None
    assert source.info.geometry.spacing_mm == pytest.approx((0.3, 0.4, 0))


def test_the_display_rate_is_used_where_there_are_no_frame_times(tmp_path: Path) -> None:
    path = write(tmp_path / "cine.dcm", RecommendedDisplayFrameRate=20, PixelSpacing=[1, 1])
    assert [f.stamp_ns for f in open_source(path)][1] == FIRST_STAMP_NS + 50 * NS_PER_MS
    with pytest.raises(UserError, match="frame rate"):
        open_source(write(tmp_path / "still.dcm", PixelSpacing=[1, 1]))


def test_absolute_times_of_enhanced_frames(tmp_path: Path) -> None:
    groups = [
        region(FrameContentSequence=[region(FrameReferenceDateTime=f"20240102102000.{i}50000+0100")])
        for i in range(4)
    ]
    path = write(
        tmp_path / "mr.dcm", Modality="MR", PerFrameFunctionalGroupsSequence=groups, PixelSpacing=[1, 1]
    )
    stamps = [f.stamp_ns for f in open_source(path)]
    assert stamps[0] == 1704187200 * NS_PER_S + 50 * NS_PER_MS
    assert np.diff(stamps).tolist() == [100 * NS_PER_MS] * 3


def test_a_folder_of_single_frames_is_ordered_by_instance_and_timed_by_content(tmp_path: Path) -> None:
    for place, instance in enumerate((2, 0, 3, 1)):
        write(
            tmp_path / f"IM{place}",
            IMAGES[instance : instance + 1],
            Modality="MR",
            InstanceNumber=instance,
            ContentDate="20240102",
            ContentTime=f"10200{instance}.250000",
            PixelSpacing=[1, 1],
        )
    source = open_source(tmp_path)
    frames = list(source)
    assert [f.image.tolist() for f in frames] == IMAGES.tolist()
    assert [f.stamp_ns for f in frames] == [(1704190800 + i) * NS_PER_S + 250 * NS_PER_MS for i in range(4)]
    assert source.info.rate_hz == 1


def test_a_projection_keeps_its_distances_only_with_the_spacing_of_the_detector(tmp_path: Path) -> None:
    distances = {
        "Modality": "XA",
        "DistanceSourceToDetector": 1500,
        "DistanceSourceToPatient": 1000,
        "FrameTime": 50,
    }
    at_detector = open_source(write(tmp_path / "a.dcm", **distances, ImagerPixelSpacing=[0.3, 0.3]))
    assert at_detector.info.geometry is not None
    assert (at_detector.info.geometry.sad_mm, at_detector.info.geometry.sid_mm) == (1000, 1500)
    assert at_detector.info.geometry.plane_spacing_mm[0] == pytest.approx(0.2)
    assert at_detector.info.geometry.position_mm((3.5, 2.5)) == pytest.approx(np.zeros(3), abs=1e-9)
    calibrated = open_source(write(tmp_path / "b.dcm", **distances, PixelSpacing=[0.2, 0.2]))
    assert calibrated.info.geometry is not None
    assert calibrated.info.geometry.plane_spacing_mm[0] == pytest.approx(0.2)


def test_a_portal_image_says_where_its_detector_is(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rt.dcm",
        Modality="RTIMAGE",
        ImagePlanePixelSpacing=[0.4, 0.4],
        RadiationMachineSAD=1000,
        RTImageSID=1600,
        FrameTime=100,
    )
    geometry = open_source(path).info.geometry
    assert geometry is not None
    assert geometry.modality is Modality.PORTAL
    assert geometry.plane_spacing_mm[0] == pytest.approx(0.25)


def test_pair_of_portal_images_is_of_two_angles(tmp_path: Path) -> None:
    said = {
        "Modality": "RTIMAGE",
        "ImagePlanePixelSpacing": [0.8, 0.4],
        "RadiationMachineSAD": 1000,
        "RTImageSID": 1600,
        "AcquisitionDate": "20260101",
    }
    for number, angle_deg in enumerate((0, 90)):
        time = {"InstanceNumber": number, "GantryAngle": angle_deg, "AcquisitionTime": f"1200{number:02}"}
        # the central ray meets column 3, row 1.5
        write(
            tmp_path / f"{number}.dcm",
            IMAGES[number : number + 1],
            **said,
            **time,
            RTImagePosition=[-1.2, 1.2],
        )
    front, left = (frame.geometry for frame in open_source(tmp_path))
    for geometry in (front, left):
        assert geometry is not None
        assert geometry.projection is not None
        np.testing.assert_allclose(geometry.position_mm((3.0, 1.5)), np.zeros(3), atol=1e-9)
        column, row, scale = geometry.projection @ (0, 0, 0, 1)
        np.testing.assert_allclose((column / scale, row / scale), (3.0, 1.5))
    assert front is not None
    assert left is not None
    # 10 mm to the patient's left are 40 columns from the front, and lie along the ray from the left
    np.testing.assert_allclose(front.pixel((10, 0, 0))[:2], (43.0, 1.5))
    np.testing.assert_allclose(left.pixel((0, 10, 0))[:2], (3.0, 1.5 - 20.0))
    column, _, scale = left.projection @ (10, 0, 0, 1)  # type: ignore[operator]
    assert column / scale == pytest.approx(3.0)


def test_single_portal_image_needs_no_rate(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", IMAGES[:1], Modality="RTIMAGE", ImagePlanePixelSpacing=[1, 1])
    assert open_source(path).info.frames == 1


@pytest.mark.parametrize("key", ["XRayImageReceptorAngle", "PatientSupportAngle"])
def test_portal_image_of_a_turned_detector_or_couch_is_refused(tmp_path: Path, key: str) -> None:
    said = {
        "ImagePlanePixelSpacing": [1, 1],
        "RadiationMachineSAD": 1000,
        "RTImageSID": 1500,
        "GantryAngle": 0,
    }
    path = write(tmp_path / "a.dcm", IMAGES[:1], Modality="RTIMAGE", **said, **{key: 12})
    with pytest.raises(UserError, match="the couch at angle 0"):
        open_source(path)


def test_colour_becomes_grey(tmp_path: Path) -> None:
    grey = (IMAGES // 256).astype(np.uint8)
    path = write(
        tmp_path / "us.dcm", np.repeat(grey[..., np.newaxis], 3, axis=-1), FrameTime=40, PixelSpacing=[1, 1]
    )
    assert [f.image.tolist() for f in open_source(path)] == grey.tolist()


def test_broken_files_of_a_series_are_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for index in range(4):
        path = write(
            tmp_path / f"{index}.dcm",
            IMAGES[index : index + 1],
            InstanceNumber=index,
            RecommendedDisplayFrameRate=10,
            PixelSpacing=[1, 1],
        )
        if index == 2:
            path.write_bytes(path.read_bytes()[:-20])
    (tmp_path / "words.dcm").write_text("not DICOM")
    frames = list(open_source(tmp_path))
    assert [f.image.tolist() for f in frames] == IMAGES[[0, 1, 3]].tolist()
    assert frames[-1].stamp_ns == FIRST_STAMP_NS + 300 * NS_PER_MS
    assert "words.dcm cannot be read as DICOM" in caplog.text
    assert "frame 2 cannot be read" in caplog.text


def write_broken(path: Path, written: str, broken: str, **fields: Any) -> Path:
    """Write an object whose header holds what pydicom would not write; both texts are of one length."""
    write(path, IMAGES[:1], **fields)
    content = path.read_bytes()
    assert content.count(written.encode()) == 1
    path.write_bytes(content.replace(written.encode(), broken.encode()))
    return path


@pytest.mark.parametrize("broken", ["77x7", r"7\77"], ids=["not a number", "two numbers"])
def test_a_file_of_a_series_without_a_place_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    common = {"RecommendedDisplayFrameRate": 10, "PixelSpacing": [1, 1]}
    for index in range(3):
        write(tmp_path / f"{index}.dcm", IMAGES[index : index + 1], InstanceNumber=index, **common)
    write_broken(tmp_path / "torn.dcm", "7777", broken, InstanceNumber="7777", **common)
    assert [f.image.tolist() for f in open_source(tmp_path)] == IMAGES[:3].tolist()
    assert "torn.dcm has a broken value in its DICOM header" in caplog.text


@pytest.mark.parametrize(
    ("key", "written", "broken", "complaint"),
    [
        ("PixelSpacing", r"0.25\0.50", "0.2500000", "a pixel spacing has two values"),
        ("PixelSpacing", r"0.25\0.50", r"0.2x\0.50", "broken value"),
        ("FrameTime", "41.25", "41x25", "broken value"),
        ("NumberOfFrames", "7777", "77x7", "cannot be decoded"),
    ],
)
def test_a_broken_value_in_a_header_is_one_clear_line(
    tmp_path: Path, key: str, written: str, broken: str, complaint: str
) -> None:
    value: Any = written.split("\\") if "\\" in written else written
    fields: dict[str, Any] = {"RecommendedDisplayFrameRate": 20, "PixelSpacing": [1, 1], key: value}
    path = write_broken(tmp_path / "torn.dcm", written, broken, **fields)
    with pytest.raises(UserError, match=rf"torn\.dcm.*{complaint}") as caught:
        open_source(path)
    assert "\n" not in str(caught.value)


def test_times_that_do_not_grow_are_not_those_of_the_frames(tmp_path: Path) -> None:
    for index, second in enumerate((5, 1, 3)):
        write(
            tmp_path / f"{index}.dcm",
            IMAGES[index : index + 1],
            InstanceNumber=index,
            AcquisitionDate="20240102",
            AcquisitionTime=f"10200{second}",
            ContentDate="20240102",
            ContentTime=f"10200{index}",
            PixelSpacing=[1, 1],
        )
    stamps = [f.stamp_ns for f in open_source(tmp_path)]
    assert stamps == [(1704190800 + i) * NS_PER_S for i in range(3)]


def test_what_cannot_be_decoded_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\1" * 40)
    (tmp_path / "words.dcm").write_text("not DICOM")
    path = write(tmp_path / "packed.dcm", FrameTime=40, PixelSpacing=[1, 1])
    packed = path.read_bytes().replace(ExplicitVRLittleEndian.encode(), JPEG2000Lossless.encode()[:19])
    path.write_bytes(packed)
    write(tmp_path / "short.dcm", IMAGES[:2], NumberOfFrames=4, FrameTime=40, PixelSpacing=[1, 1])
    for name in ("broken.dcm", "words.dcm", "packed.dcm", "short.dcm"):
        with pytest.raises(UserError) as caught:
            open_source(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_several_series_in_one_folder_are_refused(tmp_path: Path) -> None:
    for index in range(2):
        write(tmp_path / f"{index}.dcm", IMAGES[:1], SeriesInstanceUID=f"1.2.{index}")
    with pytest.raises(UserError, match="several DICOM series"):
        open_source(tmp_path)

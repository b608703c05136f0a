"""Phantoms written as recordings and folders: what is read back is what was shown."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lmtrack_ros import interface
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.phantoms import Phantom, PhantomParameters, open_phantom
from lmtrack_ros.phantoms.export import Sample, frame_count, samples, write
from lmtrack_ros.recording import Recording
from lmtrack_ros.sources import open_source
from lmtrack_ros.sources.annotations import read_annotations
from lmtrack_ros.sources.landmarks import marked_landmarks

FRAMES = 4


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return open_phantom("ultrasound", PhantomParameters(preset="demo", seed=2))


@pytest.fixture(scope="module")
def shown(phantom: Phantom) -> list[Sample]:
    return list(samples(phantom, FRAMES / phantom.info.rate_hz))


def test_seconds_become_frames(phantom: Phantom, shown: list[Sample]) -> None:
    assert len(shown) == FRAMES == frame_count(phantom, FRAMES / 30.0)
    assert frame_count(phantom, 1e-3) == 1


@pytest.mark.parametrize("name", ["recording.mcap", "folder"])
def test_frames_and_geometry_survive(
    phantom: Phantom, shown: list[Sample], tmp_path: Path, name: str
) -> None:
    """Pictures, times, pixel spacing and pose are those of the phantom."""
    assert write(tmp_path / name, phantom.info, shown) == FRAMES
    with open_source(tmp_path / name) as source:  # type: ignore[attr-defined]
        frames = list(source)
    assert len(frames) == FRAMES
    for frame, sample in zip(frames, shown, strict=True):
        np.testing.assert_array_equal(frame.image, sample.frame.image)
        assert frame.stamp_ns == sample.frame.stamp_ns
        assert frame.geometry is not None
        np.testing.assert_allclose(frame.geometry.pose, phantom.geometry.pose, atol=1e-9)
        np.testing.assert_allclose(frame.geometry.spacing_mm, phantom.geometry.spacing_mm)
        assert frame.geometry.modality is phantom.geometry.modality


@pytest.mark.parametrize("name", ["recording.mcap", "folder"])
def test_landmarks_of_the_first_frame_are_marked(
    phantom: Phantom, shown: list[Sample], tmp_path: Path, name: str
) -> None:
    write(tmp_path / name, phantom.info, shown)
    marked = {landmark.id: landmark.uv_px for landmark in marked_landmarks(tmp_path / name).landmarks}
    assert set(marked) == {"portal_vein", "hepatic_vein"}
    for estimate in shown[0].truth.estimates:
        np.testing.assert_allclose(marked[estimate.id], estimate.uv_px, atol=6e-4)


def test_recording_holds_the_truth_of_every_frame(
    phantom: Phantom, shown: list[Sample], tmp_path: Path
) -> None:
    write(tmp_path / "r.mcap", phantom.info, shown)
    with Recording(tmp_path / "r.mcap") as recording:
        truths = [interface.read_landmark_array(m) for _, m, _ in recording.messages(["truth"])]
    assert [t.stamp_ns for t in truths] == [s.frame.stamp_ns for s in shown]
    for truth, sample in zip(truths, shown, strict=True):
        for read, written in zip(truth.estimates, sample.truth.estimates, strict=True):
            np.testing.assert_allclose(read.position_mm, written.position_mm, atol=1e-6)


def test_folder_holds_annotations_that_evaluation_reads(
    phantom: Phantom, shown: list[Sample], tmp_path: Path
) -> None:
    write(tmp_path / "f", phantom.info, shown)
    for annotation in read_annotations(tmp_path / "f"):
        for index, sample in enumerate(shown):
            (true,) = (e for e in sample.truth.estimates if e.id == annotation.landmark.id)
            np.testing.assert_allclose(annotation.marks[index].uv_px, true.uv_px, atol=6e-4)
            assert annotation.marks[index].certain


def test_masks_lie_beside_the_frames(phantom: Phantom, shown: list[Sample], tmp_path: Path) -> None:
    shape = shown[0].frame.image.shape
    mask = np.zeros(shape, bool)
    mask[10:20, 30:50] = True
    with_mask = [Sample(s.frame, s.truth, {"tumour": np.roll(mask, i, 0)}) for i, s in enumerate(shown)]
    write(tmp_path / "f", phantom.info, with_mask)
    files = sorted((tmp_path / "f" / "masks" / "tumour").iterdir())
    assert len(files) == FRAMES
    np.testing.assert_array_equal(cv2.imread(str(files[3]), cv2.IMREAD_UNCHANGED) > 0, np.roll(mask, 3, 0))
    assert sum(1 for _ in open_source(tmp_path / "f")) == FRAMES


@pytest.mark.parametrize("name", ["r.mcap", "folder"])
def test_interrupted_writing_leaves_nothing(
    phantom: Phantom, shown: list[Sample], tmp_path: Path, name: str
) -> None:
    def interrupted() -> Iterator[Sample]:
        yield shown[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / name, phantom.info, interrupted())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["r.mcap", "folder"])
def test_nothing_is_overwritten(phantom: Phantom, shown: list[Sample], tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="not overwritten"):
        write(tmp_path / name, phantom.info, shown)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        write(tmp_path / "file" / name, phantom.info, shown)


def test_pose_must_be_rigid(phantom: Phantom, shown: list[Sample], tmp_path: Path) -> None:
    write(tmp_path / "f", phantom.info, shown)
    description = tmp_path / "f" / "sequence.yaml"
    text = description.read_text()
    description.write_text(
        "\n".join(
            "pose: [[1, 2], 3]" if line.startswith("pose") else line
            for line in text.splitlines()
            if not line.startswith("-")
        )
    )
    with pytest.raises(UserError, match="rigid transform"):
        open_source(tmp_path / "f")


def test_float_frames_keep_their_values(phantom: Phantom, shown: list[Sample], tmp_path: Path) -> None:
    bright = [
        Sample(replace(s.frame, image=s.frame.image.astype(np.float32) * 40 - 900), s.truth, s.masks)
        for s in shown
    ]
    write(tmp_path / "f", phantom.info, bright)
    for frame, sample in zip(open_source(tmp_path / "f"), bright, strict=True):
        np.testing.assert_array_equal(frame.image, sample.frame.image)


def test_folder_cannot_hold_an_imager_on_the_couch(tmp_path: Path) -> None:
    phantom = open_phantom("ultrasound", PhantomParameters(preset="demo", mount="couch"))
    with pytest.raises(UserError, match=r"give f\.mcap"):
        write(tmp_path / "f", phantom.info, samples(phantom, 0.1))
    assert list(tmp_path.iterdir()) == []

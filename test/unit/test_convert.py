"""``lmtrack convert``: a source becomes a recording that needs nothing else."""

import argparse
from pathlib import Path

import cv2
import numpy as np
import pytest

from lmtrack_ros import interface
from lmtrack_ros.cli import convert
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import Frame, Landmark
from lmtrack_ros.recording import Recording, RecordingWriter
from lmtrack_ros.sources import open_source

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def run(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    convert.configure(parser)
    return convert.run(parser.parse_args([str(a) for a in arguments]))


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    folder = tmp_path / "scan"
    (folder / "frames").mkdir(parents=True)
    for index in range(5):
        image = np.random.default_rng(index).integers(0, 255, (20, 30), dtype=np.uint8)
        cv2.imwrite(str(folder / "frames" / f"{index}.png"), image)
    (folder / "sequence.yaml").write_text(
        "modality: ultrasound\nimages: frames/*.png\nspacing_mm: [0.5, 0.5]\nrate_hz: 10\n"
    )
    return folder


@pytest.mark.parametrize("name", ["rec", "rec.mcap"])
def test_a_sequence_comes_back_pixel_exact(sequence: Path, tmp_path: Path, name: str) -> None:
    assert run(sequence, "--out", tmp_path / name) == 0
    with open_source(tmp_path / name) as source:
        read = list(source)
        assert source.info.rate_hz == pytest.approx(10)
    expected = list(open_source(sequence))
    assert [f.image.tolist() for f in read] == [f.image.tolist() for f in expected]
    assert [f.stamp_ns for f in read] == [f.stamp_ns for f in expected]
    with Recording(tmp_path / name) as recording:
        assert recording.topics["/image_geometry"].count == 1
        assert not recording.has("initial_landmarks")


def test_the_landmarks_of_the_first_frame_come_along(
    sequence: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sequence / "landmarks.csv").write_text(
        "frame,landmark,x_px,y_px,certain,spread_px,axes\n"
        "0,calyx,12.5,7.25,1,0.0,xy\n0,dome,3,4,1,0.0,y\n1,calyx,13,8,1,0.0,xy\n"
    )
    run(sequence, "--out", tmp_path / "rec")
    assert "calyx, dome" in capsys.readouterr().out
    with Recording(tmp_path / "rec") as recording:
        ((_, message, stamp_ns),) = recording.messages(["initial_landmarks"])
        first = next(recording.frames())
    marked = interface.read_initial_landmarks(message)
    assert marked.stamp_ns == stamp_ns == first.stamp_ns
    assert marked.landmarks == (
        Landmark("calyx", (12.5, 7.25)),
        Landmark("dome", (3.0, 4.0), axes=(False, True)),
    )


def test_options_reach_the_source(sequence: Path, tmp_path: Path) -> None:
    said = ("--modality", "portal", "--spacing-mm", "1", "2", "--sad-mm", "1000", "--sid-mm", "2000")
    run(sequence, "--out", tmp_path / "rec", *said, "--rate-hz", "4")
    with open_source(tmp_path / "rec") as source:
        assert source.info.geometry is not None
        assert source.info.geometry.modality == "portal"
        assert source.info.geometry.spacing_mm == pytest.approx((1, 2, 0))
        assert source.info.geometry.plane_spacing_mm == pytest.approx((0.5, 1, 0))
        assert source.info.rate_hz == pytest.approx(4)


def test_an_interruption_leaves_nothing(
    sequence: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Frame] = []

    def interrupted(self: RecordingWriter, frame: Frame) -> None:
        written.append(frame)
        if len(written) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(RecordingWriter, "write_frame", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(sequence, "--out", tmp_path / "rec")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["scan"]


def test_mistakes_are_one_clear_line_and_leave_nothing(sequence: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    for arguments, complaint in (
        ((tmp_path / "missing", "--out", tmp_path / "rec"), "does not exist"),
        ((sequence, "--out", tmp_path / "taken"), "not overwritten"),
        ((sequence, "--out", ""), "no name for a recording"),
        ((sequence, "--out", "."), "no name for a recording"),
        ((sequence, "--out", "/"), "no name for a recording"),
        ((sequence / "frames", "--out", tmp_path / "rec"), "frame rate"),
        (("camera:0", "--out", tmp_path / "rec"), "never ends"),
        ((sequence, "--out", tmp_path / "rec", "--spacing-mm", "1"), "two or three"),
        ((sequence, "--out", tmp_path / "rec", "--sad-mm", "1000"), "or neither"),
        ((sequence, "--out", tmp_path / "rec", "--sad-mm", "1000", "--sid-mm", "nan"), "positive number"),
    ):
        with pytest.raises(UserError, match=complaint) as caught:
            run(*arguments)
        assert "\n" not in str(caught.value)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["scan", "taken"]


def test_an_interrupted_recording_is_saved(sequence: Path, tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path / "live")
    for frame in open_source(sequence):
        writer.write_frame(frame)
    writer.flush()
    assert run(tmp_path / "live.partial", "--out", tmp_path / "saved") == 0
    with open_source(tmp_path / "saved") as source:
        assert len(list(source)) == 5
    with pytest.raises(UserError, match="recovered as it is"):
        run(tmp_path / "live.partial", "--out", tmp_path / "other", "--rate-hz", "3")


def test_a_reference_recording_converts(tmp_path: Path) -> None:
    if not (DATA / "cine_thorax").is_dir():
        pytest.skip("reference recording cine_thorax is not at ../shared/data beside the repository")
    run(DATA / "cine_thorax", "--out", tmp_path / "rec")
    expected = open_source(DATA / "cine_thorax")
    with open_source(tmp_path / "rec") as source:
        for read, original in zip(source, expected, strict=True):
            np.testing.assert_array_equal(read.image, original.image)
            assert read.stamp_ns == original.stamp_ns

"""Sequences in the layout of the CLUST challenge: written from phantoms, read as a source, and scored."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lmtrack_ros.cli.main import main
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import Modality
from lmtrack_ros.core.records import Status
from lmtrack_ros.evaluation import clust as scores
from lmtrack_ros.phantoms import open_phantom
from lmtrack_ros.phantoms.clust import ANNOTATED_EVERY, FOLDS, PARTS, missing, write
from lmtrack_ros.phantoms.ultrasound.presets import PRESETS
from lmtrack_ros.sources import open_source
from lmtrack_ros.sources.annotations import read_annotations
from lmtrack_ros.sources.clust import sequences

FEW = [
    replace(patient, seconds=1.5)
    for patient in PARTS["training"]
    if patient.name in ("CIL-02", "ETH-02", "ICR-05")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clust") / "few"
    write(path, FEW)
    return path


def test_population_is_as_large_as_that_of_the_challenge() -> None:
    training, test = PARTS["training"], PARTS["test"]
    assert (len(training), sum(p.landmarks for p in training)) == (24, 53)
    assert (len(test), sum(p.landmarks for p in test)) == (39, 85)
    everyone = [*training, *test]
    assert len({p.phantom.seed for p in everyone}) == len(everyone)
    for part in (training, test):
        assert len({p.name for p in part}) == len(part)
        assert {p.name.partition("-")[0] for p in part} == {"CIL", "ETH", "ICR", "MED1", "MED2"}
    assert all(10 <= p.seconds <= 120 for p in everyone)
    used = [PRESETS[p.phantom.preset] for p in everyone]
    assert {6.0, 30.0} <= {preset.rate_hz for preset in used} <= set(np.arange(6.0, 31.0))
    assert all(0.27 <= preset.spacing_mm <= 0.77 for preset in used)
    assert any(p.phantom.motion.events for p in everyone)


def test_what_is_written_is_what_the_phantom_shows(folder: Path) -> None:
    assert [path.name for path in sequences(folder)] == [patient.name for patient in FEW]
    for patient in FEW:
        phantom = open_phantom("ultrasound", patient.phantom)
        source = open_source(folder / patient.name)
        frames = list(source)
        assert source.info.rate_hz == phantom.info.rate_hz
        assert len(frames) == patient.frames
        assert frames[0].geometry is not None
        assert frames[0].geometry.modality is Modality.ULTRASOUND
        assert frames[0].geometry.spacing_mm[:2] == phantom.geometry.spacing_mm[:2]
        last = len(frames) - 1
        np.testing.assert_array_equal(
            frames[last].image, phantom.render(1, last / phantom.info.rate_hz).image
        )


def test_annotations_are_the_truth(folder: Path) -> None:
    for patient in FEW:
        phantom = open_phantom("ultrasound", patient.phantom)
        annotations = read_annotations(folder / patient.name)
        assert [a.landmark.id for a in annotations] == [
            f"{patient.name}_{n + 1}" for n in range(patient.landmarks)
        ]
        names = list(phantom.positions_mm(0.0))
        for name, annotation in zip(names, annotations, strict=False):
            assert list(annotation.marks) == list(range(0, patient.frames, ANNOTATED_EVERY))
            for number, mark in annotation.marks.items():
                truth = {e.id: e for e in phantom.truth(0, number / phantom.info.rate_hz).estimates}
                np.testing.assert_allclose(mark.uv_px, truth[name].uv_px, atol=1e-3)


def test_interrupted_writing_goes_on(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    short = [replace(patient, seconds=0.2) for patient in FEW[:2]]
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, short, interrupt)
    assert missing(tmp_path, short) == short
    write(tmp_path, short[:1])
    before = (tmp_path / short[0].name / "Data" / "00001.png").stat().st_mtime_ns
    write(tmp_path, short)
    assert missing(tmp_path, short) == []
    assert (tmp_path / short[0].name / "Data" / "00001.png").stat().st_mtime_ns == before
    assert not list(tmp_path.glob("*.partial"))


def challenge_like(path: Path, annotation: str = "1 12.5 11\n3  13.5 12\n") -> Path:
    """Return a sequence as the challenge has them, four digits and all."""
    sequence = path / "ETH-01-1"
    (sequence / "Data").mkdir(parents=True)
    (sequence / "Annotation").mkdir()
    for number in (1, 2, 3):
        image = np.random.default_rng(number).integers(0, 255, (30, 40), dtype=np.uint8)
        cv2.imwrite(str(sequence / "Data" / f"{number:04d}.png"), image)
    (sequence / "Annotation" / "ETH-01-1_1.txt").write_text(annotation)
    return sequence


def test_frames_are_counted_from_one(tmp_path: Path) -> None:
    (annotation,) = read_annotations(challenge_like(tmp_path))
    assert annotation.landmark.uv_px == (12.5, 11.0)
    assert {n: m.uv_px for n, m in annotation.marks.items()} == {0: (12.5, 11.0), 2: (13.5, 12.0)}


def test_pixel_pitch_comes_from_the_table_or_the_user(tmp_path: Path) -> None:
    sequence = challenge_like(tmp_path)
    with pytest.raises(UserError, match=r"does not say its pixel pitch and rate.*sequences\.csv"):
        open_source(sequence)
    assert open_source(sequence, spacing_mm=(0.4, 0.4), rate_hz=20.0).info.rate_hz == 20.0
    (tmp_path / "sequences.csv").write_text("sequence,spacing_mm,rate_hz\nETH-01-1,0.36,17\n")
    source = open_source(sequence)
    assert (source.info.rate_hz, source.info.geometry.spacing_mm[0]) == (17.0, 0.36)  # type: ignore[union-attr]


@pytest.mark.parametrize("annotation", ["", "1 2\n", "one 2 3\n", "0 2 3\n"])
def test_annotation_that_is_none_ends_in_one_line(tmp_path: Path, annotation: str) -> None:
    with pytest.raises(UserError, match="is not lines of 'frame column row'"):
        read_annotations(challenge_like(tmp_path, annotation))


def test_every_annotated_frame_of_every_landmark_counts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--clust", str(folder), "--tracker", "correlation", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["correlation"]
    assert list(found) == ["CIL", "ETH", "ICR", "ALL"]
    assert found["ALL"]["landmarks"] == sum(patient.landmarks for patient in FEW)
    assert found["ALL"]["mean_mm"] < 1.0
    assert found["ALL"]["lost"] == 0.0


def test_figures_are_those_of_the_papers() -> None:
    inf, ones, tracked = np.full(2, np.inf), np.ones(2), np.full(2, Status.TRACKED)
    some = [
        scores.LandmarkScore("ETH-01", "a", np.array([1.0, 3.0]), inf, tracked, 0.0, 1.0),
        scores.LandmarkScore("CIL-01", "b", np.array([0.0, 4.0]), ones, tracked, 0.5, 0.4),
    ]
    assert scores.figures(some) == {
        "landmarks": 2,
        "mean_mm": 2.0,
        "sd_mm": pytest.approx(2.5**0.5),
        "p95_mm": pytest.approx(3.85),
        "mean_of_maxima_mm": 3.5,
        "lost": 0.25,
        "tracked": 0.7,
        "coverage95": 0.5,
    }
    assert [one.silent.tolist() for one in some] == [[True, True], [False, True]]
    assert [row[:3] for row in scores.rows(some)] == [
        ["CIL", "1", "2.00"],
        ["ETH", "1", "2.00"],
        ["ALL", "2", "2.00"],
    ]


def test_interval_of_the_mean_is_over_sequences() -> None:
    def one(sequence: str, error_mm: float) -> scores.LandmarkScore:
        return scores.LandmarkScore(
            sequence, "a", np.full(50, error_mm), np.full(50, 9.0), np.full(50, Status.TRACKED), 0.0, 1.0
        )

    alike = scores.mean_interval_mm([one(f"ETH-{n}", 2.0) for n in range(4)])
    low, high = scores.mean_interval_mm([one(f"ETH-{n}", float(n)) for n in range(4)])
    assert alike == (2.0, 2.0)
    assert 0.0 <= low < 1.5 < high <= 3.0
    # one sequence says nothing of how sequences differ
    assert scores.mean_interval_mm([one("ETH-1", 1.0), one("ETH-1", 3.0)]) == (2.0, 2.0)


def test_scores_are_kept_as_plain_values() -> None:
    score = scores.LandmarkScore(
        "ETH-01", "a", np.array([1.0, 3.0]), np.array([np.inf, 1.0]), np.array([1, 2]), 0.0, 1.0
    )
    said = json.loads(json.dumps(asdict(score), default=np.ndarray.tolist))
    again = scores.LandmarkScore.read(said)
    assert (again.sequence, again.landmark, again.tracked) == ("ETH-01", "a", 1.0)
    for name in ("error_mm", "radius_mm", "status"):
        np.testing.assert_array_equal(getattr(again, name), getattr(score, name))


def test_folds_are_of_whole_sequences() -> None:
    everyone = [patient.name for fold in FOLDS for patient in fold]
    assert sorted(everyone) == sorted(patient.name for patient in PARTS["training"])
    assert {len(fold) for fold in FOLDS} == {4, 5}


def test_table_keeps_what_is_there_already(tmp_path: Path) -> None:
    short = [replace(patient, seconds=0.2) for patient in FEW]
    write(tmp_path, short[:2])
    write(tmp_path, short[1:])
    write(tmp_path, short[:1])
    lines = (tmp_path / "sequences.csv").read_text().splitlines()
    assert lines[0] == "sequence,spacing_mm,rate_hz"
    assert [line.split(",")[0] for line in lines[1:]] == [patient.name for patient in short]


def test_page_has_a_table_for_each_tracker(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "clust.md"
    words = ["evaluate", "--clust", str(folder), "--tracker", "correlation", "--baselines"]
    assert main([*words, "--report", str(page)]) == 0
    text = page.read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")][:2] == [
        "## correlation",
        "## stand still",
    ]
    assert text.count("| ALL | ") == 6


def test_mistakes_end_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--clust", str(tmp_path)]) == 2
    assert "holds no sequence" in capsys.readouterr().err
    assert main(["evaluate", "--clust", str(tmp_path), "--landmark", "a:1,2"]) == 2
    assert "does not go with" in capsys.readouterr().err

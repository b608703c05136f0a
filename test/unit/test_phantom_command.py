"""``lmtrack phantom``: what it writes, says and refuses."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from lmtrack_ros.cli.main import main
from lmtrack_ros.evaluation import difficulty, gallery, likeness_report
from lmtrack_ros.phantoms import MODALITIES, presets
from lmtrack_ros.sources import open_source

SHORT = ("--seconds", "0.2")


def lmtrack(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["phantom", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with 0.4 s of the demo's phantom."""
    folder = tmp_path_factory.mktemp("recorded") / "sequence"
    assert main(["phantom", "ultrasound", "--preset", "demo", "--seconds", "0.4", "--out", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("name", ["folder", "recording.mcap"])
def test_phantom_is_written(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    code, said, _ = lmtrack(capsys, "ultrasound", "--preset", "demo", "--out", out, *SHORT)
    assert code == 0
    assert "6 frames, landmarks portal_vein, hepatic_vein" in said
    assert sum(1 for _ in open_source(out)) == 6


def test_same_seed_writes_the_same(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pictures = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        lmtrack(capsys, "ultrasound", "--preset", "demo", "--seed", seed, "--out", tmp_path / name, *SHORT)
        pictures.append((tmp_path / name / "frames" / "000003.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


def test_motion_can_be_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A trace moves the landmarks; an event interrupts the breathing."""
    (tmp_path / "trace.csv").write_text("time_s,x_mm,y_mm,z_mm\n0,0,0,0\n0.1,0,5,0\n0.2,0,10,0\n")
    rows = {}
    for name, said in (
        ("trace", ("--trace", tmp_path / "trace.csv")),
        ("cough", ("--event", "cough@0.1")),
        ("quiet", ()),
    ):
        lmtrack(capsys, "ultrasound", "--preset", "demo", "--out", tmp_path / name, *SHORT, *said)
        table = (tmp_path / name / "landmarks.csv").read_text().splitlines()
        rows[name] = [float(line.split(",")[8]) for line in table[1:] if ",portal_vein," in line]
    assert rows["trace"][-1] - rows["trace"][0] > 7.0
    assert rows["cough"][3] - rows["quiet"][3] > 4.0


def test_help_lists_every_preset(capsys: pytest.CaptureFixture[str]) -> None:
    for modality in MODALITIES:
        with pytest.raises(SystemExit):
            main(["phantom", modality, "--help"])
        said = capsys.readouterr().out
        for name, preset in presets(modality).items():
            assert name in said
            assert preset.description in said


def test_target_is_inserted(capsys: pytest.CaptureFixture[str], recorded: Path, tmp_path: Path) -> None:
    out = tmp_path / "with_target"
    code, said, _ = lmtrack(
        capsys, "insert", recorded, "--at", 150, 130, "--target", "diameters_mm=[16,12,12]", "--out", out
    )
    assert code == 0
    assert "12 frames, landmark target" in said
    before, after = (cv2.imread(str(f / "frames" / "000000.png"), 0).astype(float) for f in (recorded, out))
    changed = np.abs(after - before) > 0
    assert changed[125:135, 145:155].any()
    assert not changed[:60].any()
    assert len(list((out / "masks" / "target").iterdir())) == 12


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ultrasound", "--preset", "livr"), "Did you mean 'liver'"),
        (("ultrasound", "--seconds", "0"), "--seconds must be positive"),
        (("ultrasound", "--seconds", "nan"), "--seconds must be positive"),
        (("ultrasound", "--seed", "-1"), "at least 0"),
        (("ultrasound", "--event", "cough"), "NAME@SECONDS"),
        (("ultrasound", "--trace", "gone.csv"), "cannot read the trace"),
        (("ultrasound", "--seconds", "1e300"), "at most 86400"),
        (("ultrasound", "--event", "cough@1", "--trace", "gone.csv"), "leave out the events"),
        (("insert", "gone", "--at", "1", "1"), "does not exist"),
        (("insert", "phantom:mr", "--at", "1", "1"), "never ends"),
        (("insert", "{recorded}", "--at", "nan", "1"), "must start at a pixel"),
        (("insert", "{recorded}", "--at", "1", "1"), "leaves the picture"),
        (("insert", "{recorded}", "--at", "150", "130", "--target", "lumen"), "NAME=VALUE"),
        (("insert", "{recorded}", "--at", "150", "130", "--target", "lumn_db=3"), "Did you mean 'lumen_db'"),
        (("insert", "{recorded}", "--at", "150", "130", "--target", "lumen_db=loud"), "must be a number"),
        (("likeness", "--data", "gone"), "no recording at"),
        (("difficulty", "--data", "gone"), "no recording at"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_mistakes_end_in_one_line(
    capsys: pytest.CaptureFixture[str], recorded: Path, tmp_path: Path, arguments: Sequence[str], words: str
) -> None:
    said = [a.format(recorded=recorded) for a in arguments]
    code, out, err = lmtrack(capsys, *said, "--out", tmp_path / "out")
    assert code == 2
    assert out == ""
    assert words in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_likeness_page(
    capsys: pytest.CaptureFixture[str], recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A phantom is like itself: every figure of the same seed agrees."""
    pair = likeness_report.Pair(recorded.name, "ultrasound", "demo")
    monkeypatch.setattr(likeness_report, "PAIRS", (pair,))
    monkeypatch.setattr(likeness_report, "FRAMES", 12)
    monkeypatch.setattr(likeness_report, "SEEDS", (0,))
    out = tmp_path / "pages"
    code, said, _ = lmtrack(capsys, "likeness", "--data", recorded.parent, "--out", out)
    assert code == 0
    assert said.count("| 1.00 | yes |") == 7
    assert said.strip() in (out / "likeness.md").read_text()
    assert cv2.imread(str(out / "likeness_ultrasound.png")) is not None


def test_difficulty_page(
    capsys: pytest.CaptureFixture[str], recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = difficulty.Setting("ultrasound", (recorded.name,), 0.3)
    monkeypatch.setattr(difficulty, "SETTINGS", (setting,))
    monkeypatch.setattr(difficulty, "measure", lambda *a, **k: MEASURE(*a, seeds=(0,), processes=1, **k))
    code, said, _ = lmtrack(capsys, "difficulty", "--data", recorded.parent, "--out", tmp_path / "pages")
    assert code == 0
    assert [tracker in said for tracker in difficulty.TRACKERS] == [True] * 3
    assert said.strip() in (tmp_path / "pages" / "difficulty.md").read_text()
    assert cv2.imread(str(tmp_path / "pages" / "difficulty.png")) is not None


MEASURE = difficulty.measure


def test_gallery_shows_every_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One part of the picture for each preset, none of them blank."""
    two = {name: presets("ultrasound")[name] for name in ("demo", "liver_deep")}
    monkeypatch.setattr(gallery, "presets", lambda _: two)
    monkeypatch.setattr(gallery, "_STRIP_LINES", 6)
    gallery.draw_gallery(tmp_path / "g.png", "ultrasound")
    picture = cv2.imread(str(tmp_path / "g.png"), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    third = picture.shape[1] // 3
    assert picture[:, :third].std() > 30
    assert picture[:, third : 2 * third].std() > 30

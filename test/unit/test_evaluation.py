"""Annotations, metrics, baselines and the verb, on a small synthetic sequence."""

import argparse
import json

import cv2
import numpy as np
import pytest

from lmtrack_ros.cli import evaluate
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import Landmark, Status
from lmtrack_ros.evaluation.baselines import BASELINES, create_baseline
from lmtrack_ros.evaluation.metrics import errors, off_path
from lmtrack_ros.evaluation.overlay import atomic_file
from lmtrack_ros.evaluation.runs import Track, follow
from lmtrack_ros.sources import open_source
from lmtrack_ros.sources.annotations import Annotation, Mark, parse_landmark, read_annotations

FRAMES = 24
SPACING_MM = 0.5
KEYS = {
    *("sequence", "tracker", "frames", "landmarks", "te_mean_mm", "te_std_mm", "te_p95_mm", "te_max_mm"),
    *("lost_fraction", "coverage95", "radius_median_mm", "te_mean_with_lost_mm", "fps", "per_landmark"),
    *("jumps", "tracked_fraction", "uncertain_fraction", "configuration"),
}


def where(number):
    return 80 + 3 * np.sin(number / 3), 70 + 6 * np.sin(number / 4)


@pytest.fixture(scope="module")
def sequence(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequence")
    (folder / "frames").mkdir()
    noise = np.random.default_rng(0).standard_normal((260, 280)).astype(np.float32)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.5), None, 10, 240, cv2.NORM_MINMAX)
    lines = ["frame,landmark,x_px,y_px,certain,spread_px,axes"]
    for number in range(FRAMES):
        column, row = where(number)
        matrix = np.array([[1, 0, 140 - column], [0, 1, 130 - row]], np.float32)
        image = cv2.warpAffine(texture, matrix, (160, 140), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
        cv2.imwrite(str(folder / "frames" / f"{number:04d}.png"), np.clip(image, 0, 255).astype(np.uint8))
        lines.append(f"{number},spot,{column:.3f},{row:.3f},1,0,xy")
        if number >= 3:
            lines.append(f"{number},edge,{column - 30:.3f},{row + 20:.3f},{int(number % 5 > 0)},0,y")
    (folder / "landmarks.csv").write_text("\n".join(lines) + "\n")
    (folder / "sequence.yaml").write_text(
        "modality: ultrasound\nimages: frames/*.png\n"
        f"frames: {FRAMES}\nspacing_mm: [{SPACING_MM}, {SPACING_MM}]\nrate_hz: 10.0\n"
    )
    return folder


def lmtrack(*arguments):
    parser = argparse.ArgumentParser()
    evaluate.configure(parser)
    return evaluate.run(parser.parse_args([str(a) for a in arguments]))


def track(uv_px, status=None, radius_mm=1.0, landmark=None):
    n = len(uv_px)
    return Track(
        landmark or Landmark("a", (0.0, 0.0)),
        np.arange(1, n + 1),
        np.array(uv_px, dtype=float),
        np.full(n, Status.TRACKED, dtype=int) if status is None else np.array(status, dtype=int),
        np.ones(n),
        np.full(n, radius_mm),
    )


def test_json_is_one_object_with_all_keys(sequence, capsys):
    assert lmtrack("--sequence", sequence, "--json") == 0
    out = capsys.readouterr().out
    report = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))
    assert out.count("\n") == 1
    assert report.keys() >= KEYS
    assert report["landmarks"] == ["spot", "edge"]
    assert report["frames"] == FRAMES
    assert report["te_mean_mm"] < 0.1
    assert report["lost_fraction"] == 0
    assert report["jumps"] == 0
    assert report["configuration"]["patch_half_width_px"] == 24
    # each starts on its own first frame, which is not scored; every fifth of the edge is uncertain
    assert report["per_landmark"]["spot"]["scored_frames"] == FRAMES - 1
    assert report["per_landmark"]["edge"]["scored_frames"] == sum(n % 5 > 0 for n in range(4, FRAMES))


def test_table_and_other_configuration(sequence, capsys, tmp_path):
    config = tmp_path / "small.yaml"
    config.write_text("tracker: {ros__parameters: {correlation: {patch_half_width_px: 9}}}\n")
    lmtrack("--sequence", sequence, "--config", config)
    assert "spot" in capsys.readouterr().out
    lmtrack("--sequence", sequence, "--config", config, "--json")
    assert json.loads(capsys.readouterr().out)["configuration"]["patch_half_width_px"] == 9


def test_landmarks_on_the_command_line_are_not_scored(sequence, capsys):
    lmtrack("--sequence", sequence, "--landmark", "here:80,70", "--landmark", "row:60,50:y", "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["te_mean_mm"] is None
    assert report["coverage95"] is None
    assert report["tracked_fraction"] == 1
    assert report["tracked_off_path_fraction"] == 0


@pytest.mark.parametrize("suffix", [".png", ".avi", ".mp4"])
def test_overlays(sequence, tmp_path, suffix, capsys):
    path = tmp_path / f"overlay{suffix}"
    lmtrack("--sequence", sequence, "--overlay", path)
    if suffix == ".png":
        assert cv2.imread(str(path)).shape[1] > 600
    else:
        video = cv2.VideoCapture(str(path))
        assert video.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_report_with_the_usual_trackers(sequence, tmp_path):
    path = tmp_path / "figures.md"
    lmtrack("--sequence", sequence, "--baselines", "--report", path)
    page = path.read_text()
    assert all(name in page for name in ("correlation", *BASELINES))
    assert f"--baselines --report {path}" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sequence", "nowhere"], "no sequence folder"),
        (["--sequence", "{empty}"], "no landmarks.csv"),
        (["--sequence", "{sequence}", "--tracker", "corelation"], "Did you mean 'correlation'"),
        (["--sequence", "{sequence}", "--landmark", "a:1"], "id:column,row"),
        (["--sequence", "{sequence}", "--landmark", "a:999,5"], "outside the image"),
        (["--sequence", "{sequence}", "--overlay", "/nowhere/o.png"], "no folder"),
        (["--sequence", "{sequence}", "--overlay", "o.gif"], "ends in"),
        (["--sequence", "{sequence}", "--config", "nowhere.yaml"], "no configuration"),
        (["--sequence", "{sequence}", "{sequence}", "--json"], "one sequence"),
    ],
    ids=lambda v: " ".join(v[-2:]) if isinstance(v, list) else "",
)
def test_mistakes_are_one_line(sequence, tmp_path, arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        lmtrack(*(a.format(sequence=sequence, empty=tmp_path) for a in arguments))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{corelation: {nearness: 1}}", "unknown parameter 'corelation'"),
        ("{patch_half_width_px: 9}", "unknown parameter 'patch_half_width_px'"),
        ("{correlation: {patch_half_width: 9}}", "unknown parameter 'patch_half_width'"),
        ("{correlation: 5}", "'correlation' must be a group of parameters, got 5"),
        ("{correlation: 0}", "'correlation' must be a group of parameters, got 0"),
        ("{landmarks: [a]}", "pixels needs column and row"),
    ],
)
def test_a_wrong_tracker_section_is_one_line(sequence, tmp_path, section, message):
    config = tmp_path / "wrong.yaml"
    config.write_text(f"tracker: {{ros__parameters: {section}}}\n")
    with pytest.raises(UserError, match=message) as caught:
        lmtrack("--sequence", sequence, "--config", config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("section", ["{}", "{correlation: }", "{landmarks: [a], pixels: [1, 2]}"])
def test_a_tracker_section_may_leave_the_parameters_out(sequence, tmp_path, capsys, section):
    config = tmp_path / "bare.yaml"
    config.write_text(f"tracker: {{ros__parameters: {section}}}\n")
    lmtrack("--sequence", sequence, "--config", config, "--json")
    assert json.loads(capsys.readouterr().out)["configuration"]["patch_half_width_px"] == 24


@pytest.mark.parametrize(
    "text", ["", "frame,landmark\n0,a\n", "frame,landmark,x_px,y_px,certain,spread_px,axes\n0,a,x,1,1,0,xy\n"]
)
def test_a_bad_landmark_file_is_refused(tmp_path, text):
    (tmp_path / "landmarks.csv").write_text(text)
    with pytest.raises(UserError, match=r"landmarks\.csv"):
        read_annotations(tmp_path)


def test_parse_landmark():
    annotation = parse_landmark("dome:84.5,45:y")
    assert annotation.landmark == Landmark("dome", (84.5, 45.0), (False, True))
    assert annotation.first_frame == 0


def test_errors_are_over_the_defined_axes_and_the_certain_frames():
    annotation = Annotation(
        Landmark("a", (0.0, 0.0), (False, True)),
        {0: Mark((0, 0), True), 1: Mark((0, 0), True), 2: Mark((0, 0), False), 3: Mark((0, 0), True)},
    )
    found = errors(track([(9, 1), (9, 9), (9, -3)], landmark=annotation.landmark), annotation, (1.0, 2.0))
    assert found.frames.tolist() == [1, 3]
    assert found.length_mm.tolist() == [2, 6]


def test_jumps_are_counted_between_successive_certain_frames():
    marks = {n: Mark((10.0 * n, 0.0), certain=n != 4) for n in range(8)}
    #       1   2     3     4    5    6     7
    offset = [0, 0.5, 9.0, 9.0, 0.0, -4.0, -4.5]
    reported = [(10.0 * n + o, 0.0) for n, o in zip(range(1, 8), offset, strict=True)]
    annotation = Annotation(Landmark("a", (0.0, 0.0)), marks)
    assert errors(track(reported), annotation, (1.0, 1.0)).jumps == 2


def test_off_path_is_what_leaves_a_breath_not_the_breath():
    time = np.arange(100) / 6
    path = np.stack([np.zeros(100), 9 * np.sin(2 * np.pi * time / 3.5)], axis=1)
    assert not off_path(track(path), (1.0, 1.0), 6.0).any()
    path[[30, 60]] += (0, 7)
    assert np.flatnonzero(off_path(track(path), (1.0, 1.0), 6.0)).tolist() == [30, 60]
    status = np.full(100, Status.TRACKED)
    status[30] = Status.UNCERTAIN
    assert np.flatnonzero(off_path(track(path, status), (1.0, 1.0), 6.0)).tolist() == [60]


def test_off_path_of_what_is_always_lost():
    assert not off_path(track(np.zeros((9, 2)), np.zeros(9)), (1.0, 1.0), 6.0).any()


@pytest.mark.parametrize("method", BASELINES)
def test_the_usual_trackers_follow_an_easy_sequence(sequence, method):
    annotations = read_annotations(sequence)[:1]
    source = open_source(sequence)
    run = follow(source, annotations, lambda: create_baseline(method), method)
    found = errors(run.tracks[0], annotations[0], run.geometry.plane_spacing_mm)
    if method == "stand still":
        truth = np.array([where(n) for n in range(1, FRAMES)]) - where(0)
        assert found.length_mm == pytest.approx(np.hypot(*truth.T) * SPACING_MM, abs=1e-3)
    else:
        assert found.length_mm.mean() < 1.0


def test_a_file_that_fails_midway_leaves_nothing(tmp_path):
    path = tmp_path / "figures.md"
    path.write_text("before")

    def fail_midway():
        with atomic_file(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_midway()
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]

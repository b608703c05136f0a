"""The benchmark of the models' trackers times what it says, or says why it does not."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

from template_matching_example import write_run

from lmtrack_ros.evaluation import tracking_speed
from lmtrack_ros.evaluation.tracking_speed import SETTINGS, measure_tracking


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tracking_speed, "_SECONDS", 0.0)
    monkeypatch.setattr(tracking_speed, "_LEAST_FRAMES", 3)
    monkeypatch.setattr(tracking_speed, "_FRAMES", 3)
    monkeypatch.setattr(tracking_speed, "_BACKENDS", dict.fromkeys(("cpu", "cuda"), ("eager", "openvino")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_every_backend_and_number_of_landmarks_is_timed(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    measured = measure_tracking("template_matching", write_run(tmp_path / "run"))
    assert measured["missing"] == ""
    on_cpu = [run for run in measured["runs"] if run["device"] == "cpu"]
    expected = [
        (backend, count)
        for backend in ("eager", "openvino")
        for count in SETTINGS["template_matching"].counts
    ]
    assert [(run["backend"], run["landmarks"]) for run in on_cpu] == expected
    for run in on_cpu:
        assert 0 < run["finding_ms"]["p50"] <= run["finding_ms"]["p99"]
        assert 0 < run["update_ms"]["p50"] <= run["update_ms"]["p99"]
        assert run["frames_per_s"] == pytest.approx(1e3 / run["update_ms"]["p50"])
        if run["backend"] == "eager":
            assert run["times_eager"] == 1


def test_backend_that_does_not_run_here_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking_speed, "_BACKENDS", dict.fromkeys(("cpu", "cuda"), ("eager", "compile")))
    from lmtrack_ros.inference import compiled

    def fails(task: object) -> bytes:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(compiled, "build", fails)
    measured = measure_tracking("template_matching", write_run(tmp_path / "run"))
    assert {run["backend"] for run in measured["runs"]} == {"eager"}


def test_without_weights_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking_speed, "shipped_weights", lambda model: {})
    measured = measure_tracking("template_matching")
    assert measured["runs"] == []
    assert "weights 'mr'" in measured["missing"]

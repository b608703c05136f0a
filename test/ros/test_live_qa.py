"""The quality check as a command, and live."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lmtrack_ros.phantoms.motion import write_trace


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """A folder with one minute of breathing."""
    folder = tmp_path / "traces"
    folder.mkdir()
    time_s = np.arange(0.0, 62.0, 0.2)
    drawn_mm = 10.0 * np.sin(np.pi * time_s / 4.3) ** 4
    write_trace(folder / "calm.csv", time_s, drawn_mm[:, None] * np.array([0.0, -1.0, 0.2]))
    return folder


def qa(*arguments: object, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lmtrack_ros.cli.main", "qa", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def test_lock_step_leaves_page_and_figures(domain: int, traces: Path, tmp_path: Path) -> None:
    result = qa("--traces", traces, "--out", tmp_path / "qa", "--live", 0, "--json")
    assert result.returncode == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed == json.loads((tmp_path / "qa" / "qa.json").read_text())
    assert set(printed["lock_step"]["gate"]) == {"0.2", "0.3", "0.4"}
    assert "live" not in printed
    assert (tmp_path / "qa" / "qa.html").stat().st_size > 100_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--traces", "nowhere"], "nowhere"),
        (["--live", "3"], "--live"),
        (["--live", "nan"], "--live"),
    ],
    ids=["no-folder", "too-short", "no-number"],
)
def test_mistakes_end_in_one_line(domain: int, arguments: list[str], words: str) -> None:
    result = qa(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert words in line


@pytest.mark.long
def test_live_run_measures_the_loop(domain: int, traces: Path, tmp_path: Path) -> None:
    result = qa("--traces", traces, "--out", tmp_path, "--live", 60, "--json", timeout_s=400.0)
    assert result.returncode == 0, result.stderr
    live = json.loads(result.stdout)["live"]["runs"]
    without, predicted = (live[kind]["latency"] for kind in ("none", "adaptive_linear"))
    for way in ("on", "off"):
        # imaging, tracking, half a frame interval and the beam
        assert 130 < without[way]["latency_ms"] < 400
        assert abs(predicted[way]["latency_ms"]) < 0.6 * without[way]["latency_ms"]
    assert live["adaptive_linear"]["couch"]["ratio"] > 1.5
    for kind in live:
        assert (tmp_path / f"live_{kind}" / "recording").is_dir()

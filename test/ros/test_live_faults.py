"""Faults against the live graph: a few in the default suite, all of them as a long check."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lmtrack_ros.evaluation.faults import FAULTS

LMTRACK = [sys.executable, "-m", "lmtrack_ros.cli.main"]


def inject(tmp_path: Path, runs: int, *names: str) -> tuple[int, dict[str, Any], str]:
    only = ["--only", *names] if names else []
    result = subprocess.run(
        [*LMTRACK, "faults", "--runs", str(runs), "--out", str(tmp_path), "--json", *only],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert result.returncode in (0, 1), result.stderr
    return result.returncode, json.loads(result.stdout), result.stderr


def assert_all_pass(code: int, result: dict[str, Any], progress: str) -> None:
    fails = {f["fault"]: f["why"] for f in result["faults"] if f["verdict"] != "pass"}
    assert not fails, progress
    assert code == 0


def test_two_faults_and_their_page(domain: int, tmp_path: Path) -> None:
    """One that must hold, and one that latches."""
    code, result, progress = inject(tmp_path, 1, "drop-long", "freeze")
    assert_all_pass(code, result, progress)
    assert [f["fault"] for f in result["faults"]] == ["drop-long", "freeze"]
    assert "| drop-long |" in (tmp_path / "faults.md").read_text()


def test_one_lost_frame_does_not_hold(domain: int, tmp_path: Path) -> None:
    """The gate holds where the machine stands still for some hundred ms, too; a defect holds every time."""
    for attempt in range(3):
        code, result, progress = inject(tmp_path / str(attempt), 1, "drop")
        if code == 0:
            break
    assert_all_pass(code, result, progress)


def test_unknown_fault_is_one_line(domain: int, tmp_path: Path) -> None:
    result = subprocess.run(
        [*LMTRACK, "faults", "--only", "freze", "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Did you mean 'freeze'?" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_every_fault(domain: int, tmp_path: Path) -> None:
    code, result, progress = inject(tmp_path, 3)
    assert len(result["faults"]) == len(FAULTS)
    assert_all_pass(code, result, progress)

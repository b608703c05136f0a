"""What the correlation tracker must reach on the reference recordings, which live beside the project."""

import argparse
import json
from pathlib import Path

import pytest

from lmtrack_ros.cli import evaluate

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
NOISY = ("vessel:90,84", "vessel2:72,77", "vessel3:84,70", "dome:84,45:y")
"""Structures like those annotated in cine_liver, marked by eye on frame 0 of cine_liver_noisy."""


def report(capsys, name, *arguments):
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"the reference recording ../shared/data/{name} is not here")
    parser = argparse.ArgumentParser()
    evaluate.configure(parser)
    evaluate.run(parser.parse_args(["--sequence", str(folder), "--json", *arguments]))
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("name", "mean_mm", "lost"),
    [
        ("us_kidney", 0.30, 0.03),
        ("xray_chest", 0.60, 0.01),
        ("cine_liver", 0.60, 0.01),
        ("cine_thorax", 0.35, 0.01),
        ("us_muscle", 0.30, 0.01),
    ],
)
def test_follows_what_is_annotated(capsys, name, mean_mm, lost):
    figures = report(capsys, name)
    assert figures["te_mean_mm"] <= mean_mm
    assert figures["lost_fraction"] <= lost
    assert figures["jumps"] == 0
    assert figures["tracked_beyond_3mm"] == 0
    assert figures["tracked_fraction"] >= 0.95
    assert 0.90 <= figures["coverage95"] <= 0.99


def test_is_not_confidently_wrong_near_the_noise(capsys):
    arguments = [word for landmark in NOISY for word in ("--landmark", landmark)]
    figures = report(capsys, "cine_liver_noisy", *arguments)
    for landmark, one in figures["per_landmark"].items():
        assert one["tracked_off_path_fraction"] <= 0.05, landmark
        assert one["tracked_fraction"] > 0.1, landmark
    # an edge in the noise must not pass for a clear vessel
    assert (
        figures["per_landmark"]["dome"]["tracked_fraction"]
        < figures["per_landmark"]["vessel"]["tracked_fraction"]
    )

"""``lmtrack register``: what it says of images that are no pair, and of configurations without a plan."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lmtrack_ros.cli.main import main
from lmtrack_ros.core.geometry import Modality, gantry_projection
from lmtrack_ros.core.records import NS_PER_S, Frame
from lmtrack_ros.recording import RecordingWriter

IMAGE = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
PLAN = {"names": ["a_1", "a_2", "b"], "positions_mm": [0.0, 0.0, 0.0, 0.0, 20.0, 0.0, 5.0, 5.0, 5.0]}


def configuration(folder: Path, **tracker: Any) -> str:
    path = folder / "my.yaml"
    path.write_text(yaml.safe_dump({"tracker": {"ros__parameters": tracker}}))
    return str(path)


def recording(folder: Path, *gantry_deg: float) -> str:
    path = folder / "pair.mcap"
    with RecordingWriter(path) as writer:
        for number, angle_deg in enumerate(gantry_deg, 1):
            geometry = gantry_projection(
                Modality.PORTAL, (1.0, 1.0), (31.5, 31.5), angle_deg, sad_mm=1000.0, sid_mm=1500.0
            )
            writer.write_frame(Frame(number * NS_PER_S, IMAGE, geometry))
    return str(path)


def test_configuration_without_a_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["register", configuration(tmp_path, tracker="correlation"), "a.dcm", "b.dcm"]) == 2
    assert "has no plan: give names and positions_mm" in capsys.readouterr().err


def test_model_that_needs_marks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = configuration(tmp_path, tracker="correlation", registration=PLAN)
    assert main(["register", config, recording(tmp_path, 0.0, 90.0)]) == 2
    assert "registration needs a model that finds landmarks by itself" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("angles_deg", "said"),
    [((0.0, 0.0), "there are no two images of two views"), ((0.0, 90.0), "no shift: landmarks are seen in")],
    ids=["one view", "nothing in them"],
)
def test_images_without_a_shift(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], angles_deg: tuple[float, ...], said: str
) -> None:
    pytest.importorskip("torch")
    # finds nothing in noise, and needs no marks
    config = configuration(tmp_path, tracker="coarse_to_fine_unet", registration=PLAN)
    assert main(["register", config, recording(tmp_path, *angles_deg)]) in (1, 2)
    out, err = capsys.readouterr()
    assert said in out + err

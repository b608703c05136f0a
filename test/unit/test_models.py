"""Every model declares itself without loading what it runs with, and can be trained."""

import inspect
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.parameters import constraint_of
from lmtrack_ros.models import Configuration, find_model, model_names
from lmtrack_ros.models.description import shipped_weights
from lmtrack_ros.trackers import tracker_names

HEAVY = ("torch", "torchvision", "openvino", "safetensors")
LOADED = f"loaded = [name for name in {HEAVY!r} if name in sys.modules]"


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    root = Path(__file__).parents[2]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("name", model_names())
def test_model_declares_what_the_commands_need(name: str) -> None:
    model = find_model(name)
    assert model.name == name
    assert model.weights_folder.parent.is_dir()
    assert next(iter(model.presets)) == "realtime"
    assert "paper" in model.presets
    assert model.data
    assert issubclass(model.configuration, Configuration)
    assert {type(preset) for preset in model.presets.values()} == {model.configuration}
    for field in fields(model.configuration):
        assert constraint_of(model.configuration, field.name).description


@pytest.mark.parametrize("name", model_names())
def test_model_is_a_tracker_too(name: str) -> None:
    assert name in tracker_names()


@pytest.mark.parametrize("name", model_names())
def test_trainee_is_whole(name: str) -> None:
    pytest.importorskip("torch")
    trainee = find_model(name).trainee_class()
    assert not inspect.isabstract(trainee)


def test_unknown_model_is_named() -> None:
    with pytest.raises(UserError, match="Did you mean 'template_matching'"):
        find_model("template_match")


SHIPPED = [(name, weights) for name in model_names() for weights in shipped_weights(find_model(name))]


@pytest.mark.parametrize(("name", "weights"), SHIPPED)
def test_shipped_weights_have_a_card_scores_and_a_calibration(name: str, weights: str) -> None:
    pytest.importorskip("torch")
    from lmtrack_ros.models.weights import load_weights

    path = shipped_weights(find_model(name))[weights]
    described, state = load_weights(path)
    assert described.model == name
    assert described.scores
    # heads lie each in their own way: there are no sequences of them to calibrate with
    assert described.calibration or not set(described.data) & find_model(name).calibration.keys()
    assert path.with_suffix(".md").is_file()
    assert state
    assert path.stat().st_size < 10e6


def test_declarations_and_parameters_load_no_library_that_models_run_with() -> None:
    code = f"""
import sys
from lmtrack_ros.models import find_model, model_names
from lmtrack_ros.models.description import shipped_weights
from lmtrack_ros.trackers import parameters_class, tracker_names
for name in model_names():
    shipped_weights(find_model(name))
for name in tracker_names():
    parameters_class(name)()
{LOADED}
sys.exit(f"loaded: {{loaded}}" if loaded else 0)
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_replay_by_correlation_loads_no_library_that_models_run_with(tmp_path: Path) -> None:
    texture = cv2.GaussianBlur(
        np.random.default_rng(1).integers(0, 255, (140, 160), dtype=np.uint8), (0, 0), 2
    )
    (tmp_path / "frames").mkdir()
    for index in range(4):
        cv2.imwrite(str(tmp_path / "frames" / f"{index}.png"), texture[index : index + 120, :150])
    (tmp_path / "sequence.yaml").write_text(
        "modality: ultrasound\nimages: frames/*.png\nspacing_mm: [0.5, 0.5]\nrate_hz: 20.0\n"
    )
    (tmp_path / "landmarks.csv").write_text(
        "frame,landmark,x_px,y_px,certain,spread_px,axes\n0,spot,70,60,1,0,xy\n"
    )
    code = f"""
import sys
from lmtrack_ros.cli.main import main
code = main(["replay", sys.argv[1], "--config", "demo", "--json"])
{LOADED}
sys.exit(f"loaded: {{loaded}}" if loaded else code)
"""
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"frames": 4' in done.stdout

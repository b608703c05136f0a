"""``lmtrack train`` and ``lmtrack models``: what they say, leave and refuse."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

import training_example
from rich.console import Console
from training_example import SineTrainee

import lmtrack_ros
from lmtrack_ros import models
from lmtrack_ros.cli.main import main
from lmtrack_ros.models import Model
from lmtrack_ros.models.description import read_description
from lmtrack_ros.models.weights import load_weights
from lmtrack_ros.training.plan import command, plan

Lmtrack = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Register the example in a folder of its own, where the command runs too."""
    monkeypatch.setattr(models, "_MODELS", {"sine": "training_example:MODEL"})
    monkeypatch.setattr(Model, "weights_folder", property(lambda self: tmp_path / "package" / "weights"))
    (tmp_path / "package").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def lmtrack(capsys: pytest.CaptureFixture[str]) -> Lmtrack:
    def called(*arguments: object) -> tuple[int, str, str]:
        code = main([*map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return called


def test_train_and_ship(lmtrack: Lmtrack, folder: Path) -> None:
    code, said, _ = lmtrack("train", "sine", "--seed", 3)
    assert code == 0
    run = Path("runs/sine-realtime-clean")
    lines = said.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert "squared" in lines[0]
    assert "error_rms" in lines[0]
    assert lines[-1].endswith(f"lmtrack models --ship {run} NAME")

    card = (run / "card.md").read_text()
    assert "lmtrack train sine --preset realtime --data clean --seed 3\n" in card
    for words in (
        "| seed | 3 |",
        f"lmtrack_ros {lmtrack_ros.__version__}",
        "torch 2.",
        "cores",
        "| error_rms |",
        "50 others",
        "| rate | 0.05 |",
        "min on",
    ):
        assert words in card, words
    assert str(folder) not in card

    assert lmtrack("models", "--ship", run, "small")[0] == 0
    weights = folder / "package" / "weights" / "small.safetensors"
    assert weights.with_suffix(".md").read_text() == card
    described, state = load_weights(weights)
    _, best = load_weights(run / "best.safetensors")
    assert described == read_description(run / "config.yaml")
    assert described.scores.keys() == {"error_rms"}
    assert all(t.dtype == best[name].dtype for name, t in state.items())
    assert all((t == (best[name].half().float() if best[name].is_floating_point() else best[name])).all()
               for name, t in state.items())  # fmt: skip
    assert weights.stat().st_size < (run / "best.safetensors").stat().st_size

    code, said, _ = lmtrack("models", "--json")
    (listed,) = json.loads(said)["models"]
    assert (code, listed["name"], listed["presets"]) == (0, "sine", ["realtime", "paper"])
    (row,) = listed["weights"]
    assert row["size_bytes"] == weights.stat().st_size
    assert row["scores"] == described.scores
    assert row["calibrated"] is False
    code, said, _ = lmtrack("models")
    assert code == 0
    assert "small" in said

    code, _, error = lmtrack("models", "--ship", run, "small")
    assert code == 2
    assert "already" in error
    # trained from by name
    assert lmtrack("train", "sine", "--weights", "small", "--out", "again", "--epochs", 1)[0] == 0
    card = Path("again/card.md").read_text()
    assert "lmtrack train sine --preset realtime --data clean --seed 0 --weights small --epochs 1\n" in card


def test_models_without_weights_are_listed(lmtrack: Lmtrack) -> None:
    assert "none yet" in lmtrack("models")[1]
    assert json.loads(lmtrack("models", "--json")[1])["models"][0]["weights"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sin"], "unknown model 'sin'. Did you mean 'sine'?"),
        (["sine", "--preset", "papr"], "Did you mean 'paper'? Known: paper, realtime"),
        (["sine", "--data", "clear"], "Did you mean 'clean'? Known: clean, noisy"),
        (["sine", "--data", "clean", "clean"], "twice"),
        (["sine", "--weights", "smal"], "unknown weights of sine 'smal'"),
        (["sine", "--weights", "none.safetensors"], "no weights at 'none.safetensors'"),
        (["sine", "--seed", "-1"], "seed must be at least 0"),
        (["sine", "--epochs", "0"], "epochs must be at least 1"),
        (["sine", "--resume"], "no run to resume in runs/sine-realtime-clean"),
        (["sine", "--out", "package"], "package holds other files"),
        (["sine", "--out", "file/run"], "cannot write a run to file/run"),
    ],
    ids=lambda value: " ".join(value[1:]) or value[0] if isinstance(value, list) else "",
)
def test_mistakes_are_one_line(lmtrack: Lmtrack, folder: Path, arguments: Sequence[str], words: str) -> None:
    (folder / "package" / "weights").mkdir()
    (folder / "file").write_text("")
    code, said, error = lmtrack("train", *arguments)
    assert (code, said) == (2, "")
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("said", [[], ["--preset", "realtime", "--data", "noisy", "--epochs", "2"]], ids=len)
def test_resume_takes_what_the_run_was_begun_with(lmtrack: Lmtrack, said: Sequence[str]) -> None:
    assert lmtrack("train", "sine", "--data", "noisy", "--epochs", 2, "--out", "run")[0] == 0
    before = Path("run/last.safetensors").read_bytes()
    code, shown, _ = lmtrack("train", "sine", "--out", "run", "--resume", *said)
    assert code == 0
    assert "goes on after step 10 of 10" in shown
    assert Path("run/last.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("option", "value"), [("--seed", "1"), ("--preset", "paper"), ("--data", "clean"), ("--epochs", "9")]
)
def test_resume_refuses_another_run(lmtrack: Lmtrack, option: str, value: str) -> None:
    lmtrack("train", "sine", "--data", "noisy", "--epochs", 1, "--out", "run")
    code, _, error = lmtrack("train", "sine", "--out", "run", "--resume", option, value)
    assert code == 2
    assert f"begun with {option}" in error


def test_run_that_is_there_is_not_overwritten(lmtrack: Lmtrack) -> None:
    lmtrack("train", "sine", "--epochs", 1)
    before = Path("runs/sine-realtime-clean/last.safetensors").read_bytes()
    code, _, error = lmtrack("train", "sine", "--epochs", 1)
    assert code == 2
    assert "--resume" in error
    assert Path("runs/sine-realtime-clean/last.safetensors").read_bytes() == before


def test_interrupt_says_how_to_go_on(lmtrack: Lmtrack, monkeypatch: pytest.MonkeyPatch) -> None:
    step = SineTrainee.step

    def interrupted(self: SineTrainee, index: int) -> object:
        if index == 7:
            raise KeyboardInterrupt
        return step(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(SineTrainee, "step", interrupted)
        code, said, _ = lmtrack("train", "sine", "--out", "my run")
    assert code == 130
    assert said.splitlines()[-1] == "interrupted; go on with: lmtrack train sine --out 'my run' --resume"
    assert lmtrack("train", "sine", "--out", "my run", "--resume")[0] == 0


def test_terminal_shows_a_bar(lmtrack: Lmtrack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmtrack_ros.cli.train.Console", lambda: Console(force_terminal=True, width=160))
    code, said, _ = lmtrack("train", "sine")
    assert code == 0
    assert "epoch 3/3" in said
    assert "best error_rms" in said
    assert "squared" in said


@pytest.mark.parametrize("problem", ["unfinished", "large", "name", "half"])
def test_what_cannot_be_shipped(lmtrack: Lmtrack, monkeypatch: pytest.MonkeyPatch, problem: str) -> None:
    lmtrack("train", "sine", "--epochs", 1, "--out", "run")
    if problem == "unfinished":
        Path("run/card.md").unlink()
    if problem == "large":
        monkeypatch.setattr("lmtrack_ros.models.shipping.LARGEST_MB", 1e-5)
    if problem == "half":
        monkeypatch.setattr("lmtrack_ros.models.weights.torch.Tensor.half", lambda t: t * float("inf"))
    name = "../bad" if problem == "name" else "good"
    code, said, error = lmtrack("models", "--ship", "run", name)
    words = {"unfinished": "not at its end", "large": "MB", "name": "small letters", "half": "half precision"}
    assert (code, said) == (2, "")
    assert words[problem] in error
    assert not Path("package/weights").exists()


def test_without_torch_listing_works_and_training_says_what_is_needed(folder: Path) -> None:
    code = (
        "import sys, types; sys.modules.update(dict.fromkeys(('torch', 'safetensors')))\n"
        "module = sys.modules['lmtrack_example'] = types.ModuleType('lmtrack_example')\n"
        "from lmtrack_ros import models; models._MODELS.clear()\n"
        "presets = {'realtime': models.Configuration()}\n"
        "module.MODEL = models.Model('x', 'y', ('mr',), {'d': ''}, presets, 'x:Y')\n"
        "models._MODELS['x'] = 'lmtrack_example:MODEL'\n"
        "from lmtrack_ros.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )

    def called(*arguments: str) -> subprocess.CompletedProcess[str]:
        root = Path(lmtrack_ros.__file__).parents[1]
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(
            command, cwd=folder, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=False
        )

    listed = called("models", "--json")
    assert listed.returncode == 0, listed.stderr
    trained = called("train", "x")
    assert trained.returncode == 2
    assert trained.stderr.count("\n") == 1
    assert trained.stderr.endswith("this needs torch: pip install -r requirements/models.txt\n")


def test_presets_of_the_example_are_what_the_card_leaves_out() -> None:
    """The command of a card names the epochs only where they are not the preset's."""
    assert "--epochs" not in command(plan("sine", epochs=training_example.MODEL.presets["realtime"].epochs))
    assert "--epochs 7" in command(plan("sine", epochs=7))
    assert replace(plan("sine"), seed=2) == plan("sine", seed=2)


def test_mode_stands_for_data_preset_and_start() -> None:
    unet = "lmtrack_ros.models.coarse_to_fine_unet:MODEL"
    models._MODELS["coarse_to_fine_unet"] = unet
    planned = plan("coarse_to_fine_unet", mode="patient")
    assert (planned.preset, planned.data, planned.start) == ("patient", ("patient",), "")
    assert plan("coarse_to_fine_unet", mode="patient", preset="realtime").preset == "realtime"
    assert plan("coarse_to_fine_unet", mode="group") == plan("coarse_to_fine_unet")


def test_own_images_are_refused_where_none_are_trained_on(lmtrack: Lmtrack, folder: Path) -> None:
    models._MODELS["landmark_net"] = "lmtrack_ros.models.landmark_net:MODEL"
    (folder / "images").mkdir()
    code, _, errors = lmtrack("train", "landmark_net", "--data", "images")
    said = "error: landmark_net trains on phantoms alone (chest), not on images"
    assert (code, errors.splitlines()) == (2, [said])
    assert not (folder / "runs").exists()


def test_modes_that_are_not_there_are_refused(lmtrack: Lmtrack) -> None:
    code, _, errors = lmtrack("train", "sine", "--mode", "group")
    assert (code, errors.splitlines()) == (2, ["error: sine is trained in one way: leave out --mode"])
    models._MODELS["coarse_to_fine_unet"] = "lmtrack_ros.models.coarse_to_fine_unet:MODEL"
    code, _, errors = lmtrack("train", "coarse_to_fine_unet", "--mode", "pacient")
    assert code == 2
    assert "Did you mean 'patient'" in errors

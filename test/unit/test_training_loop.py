"""The training loop: what a kill cannot change, what is kept, what is refused."""

import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import training_example  # noqa: E402
from training_example import KILL_AT, SineTrainee  # noqa: E402

from lmtrack_ros import models  # noqa: E402
from lmtrack_ros.core.errors import UserError  # noqa: E402
from lmtrack_ros.models import description as description_module  # noqa: E402
from lmtrack_ros.models import weights as weights_module  # noqa: E402
from lmtrack_ros.models.randomness import generator, seed_all  # noqa: E402
from lmtrack_ros.models.weights import load_weights  # noqa: E402
from lmtrack_ros.training import run_folder as run_folder_module  # noqa: E402
from lmtrack_ros.training.plan import plan  # noqa: E402
from lmtrack_ros.training.run import train  # noqa: E402
from lmtrack_ros.training.run_folder import RunFolder  # noqa: E402

NEVER_S = math.inf
EVERY_STEP_S = 0.0


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models._MODELS, "sine", "training_example:MODEL")


class Silent:
    """Shows nothing and remembers what it was told."""

    def __init__(self) -> None:
        self.began_at: int | None = None
        self.bests: list[int] = []
        self.gathered: list[tuple[str, int, int]] = []

    def gather(self, part: str, done: int, total: int) -> None:
        self.gathered.append((part, done, total))

    def begin(self, step: int, steps_per_epoch: int, epochs: int) -> None:
        self.began_at = step

    def step(self, step: int, losses: Mapping[str, float]) -> None:
        pass

    def epoch(self, line: Mapping[str, Any], best: bool) -> None:
        if best:
            self.bests.append(line["epoch"])

    def say(self, line: str) -> None:
        pass


def trained(path: Path, save_every_s: float = NEVER_S, **said: Any) -> Path:
    train(RunFolder.create(path, plan("sine", **said)), Silent(), save_every_s=save_every_s)
    return path


def resumed(path: Path) -> Silent:
    shown = Silent()
    train(RunFolder.open(path), shown, save_every_s=NEVER_S)
    return shown


def metrics(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["trained_s"]
    return lines


def left_by(path: Path) -> dict[str, Any]:
    """Return all that a run leaves, without times."""
    return {
        "metrics": metrics(path),
        "pictures": sorted(p.name for p in (path / "pictures").iterdir()),
        "config": (path / "config.yaml").read_text(),
        **{name: (path / f"{name}.safetensors").read_bytes() for name in ("best", "last")},
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models._MODELS, "sine", "training_example:MODEL")
        return left_by(trained(tmp_path_factory.mktemp("run") / "run"))


class Killed(BaseException):
    """Stands for the end of the process."""


def dies_at(monkeypatch: pytest.MonkeyPatch, event: int, *, before: bool) -> None:
    """Let the process end at its n-th step or write, before or after it takes effect."""
    count = itertools.count()

    def deadly(work: Callable[..., Any]) -> Callable[..., Any]:
        def working(*arguments: Any) -> Any:
            dies = next(count) == event
            if dies and before:
                raise Killed
            done = work(*arguments)
            if dies:
                raise Killed
            return done

        return working

    monkeypatch.setattr(SineTrainee, "step", deadly(SineTrainee.step))
    for module in (run_folder_module, weights_module, description_module):
        monkeypatch.setattr(module, "write_whole", deadly(module.write_whole))


@pytest.mark.parametrize(
    ("before", "save_every_s"),
    [(True, EVERY_STEP_S), (False, NEVER_S)],
    ids=["before-saved-by-step", "after-saved-by-epoch"],
)
def test_killed_anywhere_and_resumed_is_as_never_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool, save_every_s: float
) -> None:
    monkeypatch.setattr(SineTrainee, "steps_per_epoch", 3)
    undisturbed = left_by(trained(tmp_path / "undisturbed", epochs=2))
    # the first event makes the run; without it there is nothing to resume
    for event in itertools.count(1):
        path = tmp_path / str(event)
        with pytest.MonkeyPatch.context() as patch:
            dies_at(patch, event, before=before)
            try:
                trained(path, save_every_s, epochs=2)
            except Killed:
                pass
            else:
                break
        resumed(path)
        assert left_by(path) == undisturbed, event
    # 6 steps, and of each epoch picture, metrics, last weights and state; best weights, card, scores
    assert event >= 6 + 2 * 4 + 3


def test_run_killed_by_the_system_goes_on(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    path = tmp_path / "run"
    code = (
        "from lmtrack_ros import models; models._MODELS['sine'] = 'training_example:MODEL'\n"
        f"from lmtrack_ros.cli.main import main; main(['train', 'sine', '--out', {str(path)!r}])"
    )
    folders = [str(Path(training_example.__file__).parent), str(Path(__file__).parents[2])]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, KILL_AT: "7", "PYTHONPATH": os.pathsep.join(folders)},
        timeout=120,
        check=False,
    )
    assert done.returncode == -9
    assert [line["epoch"] for line in metrics(path)] == [1]
    shown = resumed(path)
    assert shown.began_at == 5
    assert shown.gathered == [("training", 1, 1)]
    assert left_by(path) == undisturbed


def test_losses_are_means_over_the_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SineTrainee, "step", lambda self, index: {"index": float(index)})
    lines = metrics(trained(tmp_path / "run"))
    assert [(line["epoch"], line["step"], line["loss"]["index"]) for line in lines] == [
        (1, 5, 2.0),
        (2, 10, 7.0),
        (3, 15, 12.0),
    ]


def test_seed_decides(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    assert left_by(trained(tmp_path / "same"))["last"] == undisturbed["last"]
    assert left_by(trained(tmp_path / "other", seed=1))["last"] != undisturbed["last"]


def test_chance_follows_from_seed_and_index_alone() -> None:
    draws = {}
    for seed, index in itertools.product(range(2), range(3)):
        seed_all(seed, index)
        draws[seed, index] = (torch.rand(1).item(), float(generator(seed, index).random()))
        seed_all(seed, index)
        assert torch.rand(1).item() == draws[seed, index][0]
    assert len({d[0] for d in draws.values()}) == len({d[1] for d in draws.values()}) == len(draws)


def test_global_determinism_is_given_back(tmp_path: Path) -> None:
    before = torch.are_deterministic_algorithms_enabled()
    trained(tmp_path / "run")
    assert torch.are_deterministic_algorithms_enabled() is before


def test_best_epoch_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure that is not finite, or only as good, takes no one's place; scores are of the best."""
    figures = iter([math.nan, 2.0, 1.0, 1.0, math.inf, 3.0])
    scored = []
    monkeypatch.setattr(SineTrainee, "validate", lambda self: {"error_px": next(figures), "other": -1.0})

    def scores(self: SineTrainee) -> dict[str, float]:
        scored.append(self.network[0].weight.detach().clone())
        return {"error_px": math.nan}

    monkeypatch.setattr(SineTrainee, "scores", scores)
    path = tmp_path / "run"
    shown = Silent()
    train(RunFolder.create(path, plan("sine", epochs=6)), shown)
    assert shown.bests == [2, 3]
    assert [line["validation"]["error_px"] for line in metrics(path)] == [None, 2.0, 1.0, 1.0, None, 3.0]
    _, best = load_weights(path / "best.safetensors")
    _, third = load_weights(trained_first(path.with_name("three"), 3) / "last.safetensors")
    torch.testing.assert_close(best, third, rtol=0, atol=0)
    assert torch.equal(scored[0], best["0.weight"].half().float())
    assert "error_px | not finite" in (path / "card.md").read_text()


def trained_first(path: Path, epochs: int) -> Path:
    """Return a run of so many epochs only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SineTrainee, "validate", lambda self: {"error_px": 0.0})
        return trained(path, epochs=epochs)


def test_run_without_a_finite_figure_has_no_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SineTrainee, "validate", lambda self: {"error_px": math.nan})
    with pytest.raises(UserError, match="finite"):
        trained(tmp_path / "run")
    assert not (tmp_path / "run" / "best.safetensors").exists()


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_diverging_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: float) -> None:
    monkeypatch.setattr(SineTrainee, "step", lambda self, index: {"squared": loss if index == 6 else 1.0})
    with pytest.raises(UserError, match=r"diverged: squared is (nan|inf) at step 6"):
        trained(tmp_path / "run")


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "other", "names", "shapes"])
def test_state_that_cannot_be_used_is_one_line(tmp_path: Path, damage: str) -> None:
    path = trained(tmp_path / "run", epochs=1)
    file = path / "state.pt"
    whole = file.read_bytes()
    state = torch.load(file, weights_only=True)
    if damage == "other":
        state["configuration"] = "0"
    elif damage == "names":
        state["parts"]["critic"] = state["parts"].pop("optimiser")
    elif damage == "shapes":
        state["parts"]["network"]["0.weight"] = torch.zeros(3, 1)
    damaged = {"cut": whole[: len(whole) // 2], "empty": b"", "noise": b"noise" * 50}
    if damage in damaged:
        file.write_bytes(damaged[damage])
    else:
        torch.save(state, file)
    with pytest.raises(UserError) as caught:
        resumed(path)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_partial_files_of_a_kill_are_cleared(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.mkdir()
    (path / ".config.yaml.x.partial").write_text("torn")
    trained(path, epochs=1)
    (path / ".state.pt.x.partial").write_text("torn")
    resumed(path)
    assert [p.name for p in path.iterdir() if p.name.startswith(".")] == []


def test_pictures_are_kept_in_their_colours(tmp_path: Path) -> None:
    path = trained(tmp_path / "run")
    pictures = sorted((path / "pictures").iterdir())
    assert [p.name for p in pictures] == ["epoch_0001.png", "epoch_0002.png", "epoch_0003.png"]
    blue_green_red = cv2.imread(str(pictures[0]))
    assert blue_green_red is not None
    np.testing.assert_array_equal(blue_green_red[0, 0], (0, 0, 255))


def test_training_begins_from_other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = trained(tmp_path / "first")
    monkeypatch.setattr(
        SineTrainee, "step", lambda self, index: {"weight": self.network[0].weight[0, 0].item()}
    )
    second = trained(tmp_path / "second", start=str(first), data=["noisy"], epochs=1)
    _, best = load_weights(first / "best.safetensors")
    _, last = load_weights(second / "last.safetensors")
    torch.testing.assert_close(last, best, rtol=0, atol=0)
    (first / "best.safetensors").unlink()
    resumed(second)  # has all it needs

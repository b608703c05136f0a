"""Weights in files: nothing missing, nothing unexpected, nothing not finite."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402
from torch import nn  # noqa: E402

from lmtrack_ros import models  # noqa: E402
from lmtrack_ros.core.errors import UserError  # noqa: E402
from lmtrack_ros.models.description import Description, description_file, read_description  # noqa: E402
from lmtrack_ros.models.files import write_whole  # noqa: E402
from lmtrack_ros.models.precision import Precision  # noqa: E402
from lmtrack_ros.models.weights import fill, halved, load_weights, save_weights, widened  # noqa: E402
from lmtrack_ros.training.plan import plan  # noqa: E402


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models._MODELS, "sine", "training_example:MODEL")


@pytest.fixture
def described() -> Description:
    return plan("sine", epochs=7)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def test_what_is_saved_is_loaded(tmp_path: Path, described: Description) -> None:
    saved, loaded = network(), network()
    described.write(tmp_path / "a.yaml")
    save_weights(tmp_path / "a.safetensors", saved.state_dict(), described)
    found, state = load_weights(tmp_path / "a.safetensors")
    fill(loaded, state, "a")
    assert found == described
    assert found.configuration == described.configuration
    assert found.configuration.epochs == 7
    for one, other in zip(saved.state_dict().values(), loaded.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_half_precision_is_loaded_as_float32(tmp_path: Path, described: Description) -> None:
    state = network().state_dict()
    described.write(tmp_path / "a.yaml")
    save_weights(tmp_path / "a.safetensors", halved(state), described)
    _, loaded = load_weights(tmp_path / "a.safetensors")
    assert {t.dtype for t in loaded.values()} == {torch.float32, torch.int64}
    for name, tensor in widened(halved(state)).items():
        assert torch.equal(loaded[name], tensor)


def test_same_weights_are_the_same_file(tmp_path: Path, described: Description) -> None:
    state = network().state_dict()
    files = [tmp_path / str(i) for i in range(8)]
    for file in files:
        save_weights(file, state, described)
    assert len({file.read_bytes() for file in files}) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("0.bias"), "lacks 0.bias"),
        (lambda s: s.update(extra=torch.zeros(1)), "has unknown extra"),
        (lambda s: s.update({"0.bias": torch.zeros(4)}), "has other shapes of 0.bias"),
        (lambda s: s.clear(), "and 4 more"),
    ],
    ids=["missing", "unexpected", "shape", "many"],
)
def test_weights_that_do_not_fit(change, words: str) -> None:  # type: ignore[no-untyped-def]
    target = network()
    before = {name: t.clone() for name, t in target.state_dict().items()}
    state = dict(network().state_dict())
    change(state)
    with pytest.raises(UserError, match=words) as caught:
        fill(target, state, "file")
    assert "\n" not in str(caught.value)
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(tmp_path: Path, described: Description, bad: float) -> None:
    state = {"a": torch.tensor([1.0, bad])}
    with pytest.raises(UserError, match="not finite: a"):
        save_weights(tmp_path / "a.safetensors", state, described)
    described.write(tmp_path / "a.yaml")
    save_weights(tmp_path / "a.safetensors", {"a": torch.ones(2)}, described)
    raw = bytearray((tmp_path / "a.safetensors").read_bytes())
    raw[-4:] = torch.tensor([bad]).numpy().tobytes()
    (tmp_path / "a.safetensors").write_bytes(raw)
    with pytest.raises(UserError, match="not finite: a"):
        load_weights(tmp_path / "a.safetensors")


def test_weights_of_another_model_are_one_line(tmp_path: Path, described: Description) -> None:
    described.write(tmp_path / "a.yaml")
    save_weights(tmp_path / "a.safetensors", network().state_dict(), described)
    assert load_weights(tmp_path / "a.safetensors", "sine")
    with pytest.raises(UserError, match="weights of sine, not of template_matching"):
        load_weights(tmp_path / "a.safetensors", "template_matching")


def test_too_large_for_half_precision() -> None:
    with pytest.raises(UserError, match="half precision"):
        halved({"a": torch.tensor([1e6])})


@pytest.mark.parametrize("damage", ["text", "cut", "foreign", "other configuration", "no description"])
def test_files_that_are_not_what_they_should_be(tmp_path: Path, described: Description, damage: str) -> None:
    file = tmp_path / "a.safetensors"
    described.write(tmp_path / "a.yaml")
    save_weights(file, network().state_dict(), described)
    if damage == "text":
        file.write_text("weights")
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-8])
    elif damage == "foreign":
        save_file({"a": torch.ones(1)}, file)
    elif damage == "other configuration":
        plan("sine", epochs=8).write(tmp_path / "a.yaml")
    else:
        (tmp_path / "a.yaml").unlink()
    with pytest.raises(UserError, match=r"a\.safetensors"):
        load_weights(file)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "format: 0",
        "format: 1",
        "format: 1\nconfiguration: {}\ndata: [a]\nother: 1",
        "a: [",
        "\xff",
    ],
)
def test_descriptions_that_are_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"a\.yaml") as caught:
        read_description(path)
    assert "\n" not in str(caught.value)


def test_unknown_value_of_a_configuration(tmp_path: Path, described: Description) -> None:
    described.write(tmp_path / "a.yaml")
    text = (tmp_path / "a.yaml").read_text().replace("hidden:", "hiden:")
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match="Did you mean 'hidden'"):
        _ = read_description(description_file(tmp_path / "a.safetensors")).configuration


def test_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    write_whole(path, b"old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_whole(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert path.read_bytes() == b"old"


def test_precision_takes_a_plain_step_on_the_cpu() -> None:
    precision = Precision(torch.device("cpu"))
    weight = nn.Parameter(torch.tensor([2.0]))
    optimiser = torch.optim.SGD([weight], lr=0.5)
    with precision.autocast():
        loss = (weight * weight).sum()
    precision.step(loss, optimiser)
    assert loss.dtype == torch.float32
    assert weight.item() == 0.0


def test_half_precision_on_a_processor_is_asked_for_and_only_where_it_computes_with_it() -> None:
    layer, some = nn.Linear(4, 4), torch.rand(2, 4)

    def kind(precision: Precision) -> torch.dtype:
        with precision.autocast():
            return layer(some).dtype

    cpu = torch.device("cpu")
    assert kind(Precision(cpu)) is torch.float32
    has = torch.cpu._is_avx512_bf16_supported()
    assert kind(Precision(cpu, half_on_cpu=True)) is (torch.bfloat16 if has else torch.float32)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_precision_is_mixed_on_a_gpu() -> None:
    device = torch.device("cuda")
    precision, layer = Precision(device), nn.Linear(4, 4).to(device)
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1)
    before = layer.weight.detach().clone()
    with precision.autocast():
        out = layer(torch.ones(2, 4, device=device))
    assert out.dtype == torch.float16
    precision.step(out.float().square().mean(), optimiser)
    assert not torch.equal(layer.weight, before)
    assert precision.state_dict()["scale"] > 1

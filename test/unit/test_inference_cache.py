"""Engines are built once; a cache that cannot be used is a warning."""

import logging
import shutil
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("openvino")

from lmtrack_ros.configuration import cache_directory  # noqa: E402
from lmtrack_ros.inference import InferenceParameters  # noqa: E402
from lmtrack_ros.inference import engine as engines  # noqa: E402
from lmtrack_ros.inference.cache import Cache, digest_of_network  # noqa: E402
from lmtrack_ros.inference.engine import Engine  # noqa: E402


def tiny_network(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 2))


def start(directory: Path, network: torch.nn.Module | None = None, backend: str = "openvino") -> list[str]:
    """Prepare a network as a start of the program would, and return what it told."""
    told: list[str] = []
    engine = engines.prepare(
        network or tiny_network(),
        [torch.ones(1, 1, 8, 8)],
        InferenceParameters(device="cpu", backend=backend),
        name="tiny",
        tolerance=1e-4,
        on_progress=told.append,
        cache=directory,
    )
    assert backend in ("auto", engine.backend)
    return told


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with one engine, to copy."""
    directory = tmp_path_factory.mktemp("built")
    assert was_built(start(directory))
    return directory


@pytest.fixture
def directory(built: Path, tmp_path: Path) -> Path:
    """Return a directory of the test's own with one engine."""
    return Path(shutil.copytree(built, tmp_path / "engines"))


def was_built(told: list[str]) -> bool:
    return any("building" in line for line in told)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    return lambda: [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def test_second_start_builds_and_times_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]]
) -> None:
    first = start(tmp_path / "new" / "engines", backend="auto")
    assert was_built(first)
    assert any(" ms" in line for line in first)

    def must_not_be_timed(engine: Engine, probe: object) -> float:
        raise AssertionError

    monkeypatch.setattr(engines, "_typical_ms", must_not_be_timed)
    second = start(tmp_path / "new" / "engines", backend="auto")
    assert second == first[-1:]
    assert warnings() == []


def test_other_weights_are_another_engine(directory: Path) -> None:
    assert not was_built(start(directory))
    assert was_built(start(directory, tiny_network(seed=1)))
    assert not was_built(start(directory))


@pytest.mark.parametrize(
    "spoil",
    [lambda content: content[:-1] + bytes([content[-1] ^ 1]), lambda content: content[:40]],
    ids=["one bit", "cut short"],
)
def test_damaged_engine_is_built_anew(
    spoil: Callable[[bytes], bytes], directory: Path, warnings: Callable[[], list[str]]
) -> None:
    (kept,) = directory.iterdir()
    kept.write_bytes(spoil(kept.read_bytes()))
    assert was_built(start(directory))
    (warning,) = warnings()
    assert "damaged" in warning
    assert not was_built(start(directory))


def test_engine_that_the_library_does_not_read_is_built_anew(
    directory: Path, warnings: Callable[[], list[str]]
) -> None:
    (kept,) = directory.iterdir()
    Cache(directory).store(kept.name, b"of another age")
    assert was_built(start(directory))
    (warning,) = warnings()
    assert "the kept engine is built anew" in warning


def test_directory_that_cannot_be_used_is_one_warning(
    tmp_path: Path, warnings: Callable[[], list[str]]
) -> None:
    (tmp_path / "file").touch()
    assert was_built(start(tmp_path / "file" / "engines", backend="auto"))
    (warning,) = warnings()
    assert "engines are not kept" in warning


def test_nothing_is_left_of_an_engine_that_could_not_be_kept(
    tmp_path: Path, warnings: Callable[[], list[str]]
) -> None:
    (tmp_path / "taken").mkdir()
    Cache(tmp_path).store("taken", b"engine")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    assert len(warnings()) == 1


def written(file: Path, amount: int) -> torch.nn.Module:
    """Return a network without weights whose code alone says what it does."""
    file.write_text(
        "import torch\n"
        "class Written(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        f"        return x + {amount}\n"
    )
    spec = spec_from_file_location("written", file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["written"] = module
    spec.loader.exec_module(module)
    network: torch.nn.Module = module.Written()
    return network


def test_digest_is_of_layers_weights_and_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "written", None)
    assert digest_of_network(tiny_network()) == digest_of_network(tiny_network())
    other_layer = tiny_network()
    other_layer[0].stride = (2, 2)
    digests = [digest_of_network(n) for n in (tiny_network(), tiny_network(seed=1), other_layer)]
    digests += [digest_of_network(written(tmp_path / f"{amount}.py", amount)) for amount in (1, 2)]
    assert len(set(digests)) == len(digests)


def test_default_directory_is_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory("engines") == tmp_path / "lmtrack_ros" / "engines"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory("engines") == tmp_path / ".cache" / "lmtrack_ros" / "engines"

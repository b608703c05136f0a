"""Every backend that is installed gives what eager gives; what cannot run is replaced, with a warning."""

import logging
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.parameters import build
from lmtrack_ros.inference import InferenceParameters

torch = pytest.importorskip("torch")

from lmtrack_ros.inference import engine as engines  # noqa: E402
from lmtrack_ros.inference.engine import Engine  # noqa: E402
from lmtrack_ros.inference.selection import rounds  # noqa: E402

TOLERANCE = 1e-4
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
BACKENDS = [
    pytest.param("cpu", "eager"),
    pytest.param("cpu", "openvino"),
    pytest.param("cpu", "compile", marks=[COMPILER, pytest.mark.long]),
    pytest.param("cuda", "eager", marks=CUDA),
    pytest.param("cuda", "compile", marks=[CUDA, COMPILER, pytest.mark.long]),
    pytest.param("cuda", "tensorrt", marks=[CUDA, pytest.mark.long]),
]


class TinyNetwork(torch.nn.Module):
    """Takes an image as it comes from a source, and features of patches, as the models do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.convolution = torch.nn.Conv2d(1, 8, 3)
        self.norm = torch.nn.BatchNorm2d(8)
        self.head = torch.nn.Linear(8 + 5, 4)

    def forward(self, image: torch.Tensor, patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = torch.relu(self.norm(self.convolution(image.float() / 255)))
        pooled = maps.mean((2, 3)).expand(len(patches), -1)
        return self.head(torch.cat((pooled, patches), 1)), maps


def inputs(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 255, (1, 1, 24, 32), dtype=torch.uint8, generator=chance)
    return image, torch.randn(3, 5, generator=chance)


Make = Callable[..., Engine]


@pytest.fixture(scope="module")
def progress() -> list[str]:
    return []


@pytest.fixture(scope="module")
def make(progress: list[str], tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Prepare the tiny network with a cache for all tests; what is told goes to ``progress``."""
    shared = tmp_path_factory.mktemp("engines")

    def prepared(
        network: torch.nn.Module | None = None,
        tolerance: float = TOLERANCE,
        directory: Path = shared,
        **asked: str,
    ) -> Engine:
        progress.clear()
        return engines.prepare(
            network or TinyNetwork(),
            inputs(0),
            InferenceParameters(**asked),
            name="tiny",
            tolerance=tolerance,
            on_progress=progress.append,
            cache=directory,
        )

    return prepared


@pytest.fixture(scope="module")
def ready(make: Make) -> Make:
    """Prepare once by backend; skip where its library is not installed."""

    @cache
    def prepared(device: str, backend: str) -> Engine:
        if backend in ("openvino", "tensorrt"):
            pytest.importorskip(backend)
        return make(device=device, backend=backend)

    return prepared


def outputs_of(engine: Engine, seed: int) -> list[NDArray[np.float32]]:
    return [output.copy() for output in engine(*inputs(seed))]


def same_bits(some: list[NDArray[np.float32]], others: list[NDArray[np.float32]]) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(some, others, strict=True))


@pytest.mark.parametrize(("device", "backend"), BACKENDS)
def test_backend_agrees_with_eager(device: str, backend: str, ready: Make) -> None:
    engine = ready(device, backend)
    assert (engine.device, engine.backend, engine.precision) == (device, backend, "fp32")
    network = TinyNetwork().eval()
    for seed in range(1, 5):
        with torch.inference_mode():
            expected = [output.numpy() for output in network(*inputs(seed))]
        for output, reference in zip(outputs_of(engine, seed), expected, strict=True):
            assert output.dtype == np.float32
            np.testing.assert_allclose(output, reference, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("device", "backend"), BACKENDS)
def test_same_bits_from_any_thread_and_any_start(device: str, backend: str, ready: Make, make: Make) -> None:
    engine = ready(device, backend)
    first, other = outputs_of(engine, 1), outputs_of(engine, 2)
    assert not same_bits(first, other)
    elsewhere: list[list[NDArray[np.float32]]] = []
    thread = Thread(target=lambda: elsewhere.append(outputs_of(engine, 1)))
    thread.start()
    thread.join()
    restarted = make(device=device, backend=backend)
    for again in (*elsewhere, outputs_of(engine, 1), outputs_of(restarted, 1)):
        assert same_bits(again, first)
    assert len(elsewhere) == 1


@pytest.mark.parametrize(("device", "backend"), BACKENDS)
def test_input_that_is_not_finite_gives_no_number(device: str, backend: str, ready: Make) -> None:
    engine = ready(device, backend)
    image, patches = inputs(1)
    patches[1, 2] = math.inf
    assert all(np.isnan(output).all() for output in engine(image, patches))
    assert all(np.isfinite(output).all() for output in engine(*inputs(1)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda image, patches: (image,), "takes 2 inputs, got 1"),
        (
            lambda image, patches: (image, patches[:1]),
            r"input 1 must be float32 \(3, 5\), got float32 \(1, 5\)",
        ),
        (lambda image, patches: (image.float(), patches), "input 0 must be uint8 .*, got float32"),
    ],
    ids=["number", "shape", "type"],
)
def test_other_inputs_than_the_probe_are_refused(
    given: Callable[..., tuple[torch.Tensor, ...]], message: str, ready: Make
) -> None:
    with pytest.raises(ValueError, match=message):
        ready("cpu", "eager")(*given(*inputs(1)))


def test_network_is_left_as_it_was(make: Make) -> None:
    network = TinyNetwork().train()
    make(network, device="cpu", backend="eager", precision="bf16", tolerance=0.1)
    assert network.training
    assert all(p.requires_grad and p.dtype == torch.float32 for p in network.parameters())


def test_network_that_gives_no_numbers_is_refused(make: Make) -> None:
    network = TinyNetwork()
    torch.nn.init.constant_(network.head.bias, math.nan)
    with pytest.raises(ValueError, match="tiny: the network's outputs are not finite"):
        make(network)


class ThrowingNetwork(TinyNetwork):
    """Throws dice, as a network with dropout left on would."""

    def forward(self, image: torch.Tensor, patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first, second = super().forward(image, patches)
        return first + torch.rand(1), second


def test_network_that_is_never_the_same_is_refused(make: Make) -> None:
    with pytest.raises(ValueError, match=r"tiny does not run: .*eager on cpu in fp32 is off by"):
        make(ThrowingNetwork(), device="cpu", backend="eager")


def without(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"lmtrack_ros.inference.{library}", raising=False)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_missing_backend_is_replaced_with_one_warning(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    without(monkeypatch, "openvino")
    engine = make(backend="openvino")
    assert (engine.device, engine.backend) == ("cpu", "eager")
    assert warnings_in(caplog) == ["tiny runs by eager on cpu in fp32: openvino is not installed"]


def test_auto_does_without_what_is_not_installed(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, progress: list[str]
) -> None:
    without(monkeypatch, "openvino")
    assert make(device="cpu").backend == "eager"
    assert warnings_in(caplog) == []
    assert "tiny: openvino is not installed, so no openvino" in progress


def test_backend_that_disagrees_is_replaced_with_one_warning(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("openvino")
    assert make(backend="openvino", tolerance=0.0).backend == "eager"
    (warning,) = warnings_in(caplog)
    assert "openvino on cpu in fp32 is off by" in warning


def test_backend_that_fails_is_replaced_with_one_warning(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    openvino = pytest.importorskip("lmtrack_ros.inference.openvino")

    def out_of_memory(task: object) -> bytes:
        raise torch.OutOfMemoryError("out of memory\nand a long story")

    monkeypatch.setattr(openvino, "build", out_of_memory)
    assert make(backend="openvino", directory=tmp_path).backend == "eager"
    assert warnings_in(caplog) == [
        "tiny runs by eager on cpu in fp32: no openvino on cpu in fp32 (out of memory)"
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("asked", [{"device": "cuda"}, {"backend": "tensorrt"}], ids=str)
def test_without_cuda_the_cpu_runs_with_one_warning(
    asked: dict[str, str], make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    assert make(**asked).device == "cpu"
    (warning,) = warnings_in(caplog)
    assert warning.endswith("there is no CUDA device")


def test_lower_precision_is_what_it_says(make: Make, ready: Make) -> None:
    engine = make(backend="eager", device="cpu", precision="bf16", tolerance=0.1)
    assert engine.precision == "bf16"
    lower, full = outputs_of(engine, 1)[0], outputs_of(ready("cpu", "eager"), 1)[0]
    assert 0 < np.abs(lower - full).max() < 0.1


def test_precision_too_low_for_the_tolerance_is_raised(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    assert make(device="cpu", backend="eager", precision="bf16", tolerance=1e-6).precision == "fp32"
    (warning,) = warnings_in(caplog)
    assert "eager on cpu in bf16 is off by" in warning


@pytest.mark.parametrize("has_cuda", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize(
    ("device", "backend"),
    [("auto", b) for b in ("auto", "eager", "compile", "tensorrt", "openvino")]
    + [("cpu", "eager"), ("cuda", "eager")],
)
def test_order_of_what_is_tried(device: str, backend: str, precision: str, has_cuda: bool) -> None:
    order = rounds(InferenceParameters(device, backend, precision), has_cuda=has_cuda)
    tried = [candidate for group in order for candidate in group]
    assert all(order)
    assert len(set(tried)) == len(tried)
    assert ("cpu", "eager", "fp32") in order[-1] or tried[0] == ("cpu", "eager", "fp32")
    if backend != "auto" and (backend != "tensorrt" or has_cuda):
        assert len(order[0]) == 1
        assert tried[0][1:] == (backend, precision)
    assert {c.device for c in tried if c.backend == "openvino"} <= {"cpu"}
    assert {c.device for c in tried if c.backend == "tensorrt"} <= {"cuda"}
    # the card before the processor, the precision before full precision
    devices = [c.device for c in tried]
    assert devices == sorted(devices, reverse=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"backend": "openvino", "device": "cuda"}, "openvino runs on cpu only"),
        ({"backend": "tensorrt", "device": "cpu"}, "tensorrt runs on cuda only"),
        ({"backend": "openvine"}, "Did you mean 'openvino'"),
        ({"precision": "fp8"}, "unknown value 'fp8'"),
    ],
)
def test_parameters_that_make_no_sense(values: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(InferenceParameters, values, "inference")


def test_parameters_do_without_torch() -> None:
    code = "import sys, lmtrack_ros.inference; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0

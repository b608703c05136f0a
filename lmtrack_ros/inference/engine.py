"""A network made ready to run: where, by which library and in which precision is settled beforehand."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lmtrack_ros.configuration import cache_directory
from lmtrack_ros.inference import eager
from lmtrack_ros.inference.cache import Cache, digest_of, digest_of_network
from lmtrack_ros.inference.parameters import InferenceParameters
from lmtrack_ros.inference.selection import Candidate, rounds
from lmtrack_ros.inference.task import PlacedNetwork, Runner, Task

logger = logging.getLogger(__name__)

_BUILDERS: Mapping[str, str] = MappingProxyType(
    {
        "compile": "lmtrack_ros.inference.compiled",
        "tensorrt": "lmtrack_ros.inference.tensorrt",
        "openvino": "lmtrack_ros.inference.openvino",
    }
)
"""Modules that import their library, so only when asked for."""

_TIMED_RUNS = 15
_TIMING_LIMIT_MS = 2000.0


class Engine:
    """A network that is ready: static shapes, no autograd, nothing left to build.

    It may be called from any thread, by one at a time. On one machine with one backend and number of
    threads, the same inputs give the same bits.

    Attributes:
        backend: ``eager``, ``compile``, ``tensorrt`` or ``openvino``.
        device: ``cpu`` or ``cuda``.
        precision: ``fp32``, ``fp16`` or ``bf16``.
    """

    def __init__(self, runner: Runner, candidate: Candidate) -> None:
        self.device, self.backend, self.precision = candidate
        self._runner = runner

    def __call__(self, *inputs: NDArray[Any] | Tensor) -> tuple[NDArray[np.float32], ...]:
        """Run the network.

        Args:
            inputs: arrays or tensors on the CPU, with the shapes and types of the probe.

        Returns:
            The outputs, float32: buffers that the next call overwrites, so copy what is to stay. All are
            NaN where an input is not finite: some backends would make numbers of it.

        Raises:
            ValueError: another number of inputs, shape or type.
        """
        buffers = self._runner.inputs
        if len(inputs) != len(buffers):
            raise ValueError(f"the network takes {len(buffers)} inputs, got {len(inputs)}")
        finite = True
        for index, (given, buffer) in enumerate(zip(inputs, buffers, strict=True)):
            array = np.asarray(given)
            if array.shape != buffer.shape or array.dtype != buffer.dtype:
                raise ValueError(
                    f"input {index} must be {buffer.dtype} {buffer.shape}, got {array.dtype} {array.shape}"
                )
            np.copyto(buffer, array)
            finite = finite and bool(np.isfinite(buffer).all())
        self._runner()
        outputs = tuple(self._runner.outputs)
        if not finite:
            for output in outputs:
                output.fill(np.nan)
        return outputs


def prepare(
    network: nn.Module,
    probe: Sequence[Tensor],
    parameters: InferenceParameters,
    *,
    name: str,
    tolerance: float,
    on_progress: Callable[[str], None],
    cache: Path | None = None,
) -> Engine:
    """Make a network ready to run.

    What is asked for by name runs if it can and agrees with eager fp32 on the probe; else, with one
    warning, the next best does. Of what ``auto`` leaves open the fastest runs. The choice and the engines
    are kept on disk, so that the next start takes them over.

    Args:
        network: takes tensors, answers with a tensor or a tuple of them; is not changed.
        probe: example inputs, of a size as in earnest; they fix shapes and types.
        parameters: what is asked for.
        name: of the model, for progress and warnings.
        tolerance: greatest difference from eager fp32, in the units of the outputs.
        on_progress: gets a line per stage.
        cache: directory of the engines; None: the user's cache directory.

    Raises:
        ValueError: the network's own outputs for the probe are not finite, or are others each time.
    """
    workshop = _Workshop(
        network,
        tuple(p.detach().cpu() for p in probe),
        name=name,
        named=parameters.backend,
        tolerance=tolerance,
        on_progress=on_progress,
        cache=Cache(cache or cache_directory("engines")),
    )
    has_cuda = torch.cuda.is_available()
    if not has_cuda and (parameters.device == "cuda" or parameters.backend == "tensorrt"):
        workshop.problems.append("there is no CUDA device")
    for group in rounds(parameters, has_cuda=has_cuda):
        engine = workshop.fastest(group)
        if engine is not None:
            chosen = Candidate(engine.device, engine.backend, engine.precision)
            if workshop.problems:
                logger.warning("%s runs by %s: %s", name, chosen, "; ".join(workshop.problems))
            on_progress(f"{name}: ready, by {chosen}")
            return engine
    raise ValueError(f"{name} does not run: {'; '.join(workshop.problems)}")


class _Backend(Protocol):
    def build(self, task: Task) -> bytes: ...

    def load(self, engine: bytes, task: Task) -> Runner: ...


class _Workshop:
    """Makes engines of one network.

    Attributes:
        problems: why what was asked for does not run.
    """

    def __init__(
        self,
        network: nn.Module,
        probe: tuple[Tensor, ...],
        *,
        name: str,
        named: str,
        tolerance: float,
        on_progress: Callable[[str], None],
        cache: Cache,
    ) -> None:
        self.problems: list[str] = []
        self._network, self._probe = network, probe
        self._name, self._named, self._tolerance = name, named, tolerance
        self._on_progress, self._cache = on_progress, cache
        self._threads = torch.get_num_threads()
        with torch.inference_mode():
            reference = PlacedNetwork(network, "cpu", torch.float32)
            self._expected = [output.numpy() for output in reference(*probe)]
        if not all(np.isfinite(output).all() for output in self._expected):
            raise ValueError(f"{name}: the network's outputs are not finite")

    def fastest(self, group: Sequence[Candidate]) -> Engine | None:
        """Return the fastest engine among the candidates, or None where none is sound."""
        choice = self._digest(competitors=[str(candidate) for candidate in group])
        remembered = self._cache.load(choice) if len(group) > 1 else None
        for candidate in group:
            if remembered == candidate.backend.encode() and (engine := self._attempt(candidate)):
                return engine
        engines = [engine for candidate in group if (engine := self._attempt(candidate))]
        if len(engines) < 2:
            return engines[0] if engines else None
        times_ms = [_typical_ms(engine, self._probe) for engine in engines]
        self._on_progress(
            f"{self._name}: "
            + ", ".join(f"{e.backend} {t:.2f} ms" for e, t in zip(engines, times_ms, strict=True))
        )
        winner = engines[times_ms.index(min(times_ms))]
        self._cache.store(choice, winner.backend.encode())
        return winner

    def _attempt(self, candidate: Candidate) -> Engine | None:
        try:
            engine = Engine(self._runner(candidate), candidate)
            outputs = engine(*self._probe)
        except ImportError as error:
            self._miss(candidate, f"{error.name} is not installed")
        except Exception as error:  # whatever the libraries raise, out of memory too, another way may do
            self._problem(f"no {candidate} ({_first_line(error)})")
        else:
            off_by = max(
                float(np.abs(output - expected).max())
                for output, expected in zip(outputs, self._expected, strict=True)
            )
            # written so that NaN fails
            if off_by <= self._tolerance:
                return engine
            self._problem(f"{candidate} is off by {off_by:.3g}, more than {self._tolerance:g}")
        if candidate.device == "cuda":
            torch.cuda.empty_cache()
        return None

    def _runner(self, candidate: Candidate) -> Runner:
        task = Task(
            self._network,
            self._probe,
            tuple(output.shape for output in self._expected),
            candidate.device,
            candidate.precision,
            self._threads,
        )
        if candidate.backend == "eager":
            return eager.load(task)
        backend = cast(_Backend, import_module(_BUILDERS[candidate.backend]))
        digest = self._digest(candidate=candidate)
        stored = self._cache.load(digest)
        if stored is not None:
            try:
                return backend.load(stored, task)
            except Exception as error:  # as damaged as they come
                logger.warning("%s: the kept engine is built anew: %s", self._name, _first_line(error))
        self._on_progress(f"{self._name}: building the engine, {candidate} ...")
        start_s = time.perf_counter()
        built = backend.build(task)
        self._on_progress(f"{self._name}: built in {time.perf_counter() - start_s:.0f} s")
        self._cache.store(digest, built)
        return backend.load(built, task)

    def _miss(self, candidate: Candidate, why: str) -> None:
        if candidate.backend == self._named:
            self._problem(why)
        else:
            self._on_progress(f"{self._name}: {why}, so no {candidate.backend}")

    def _problem(self, what: str) -> None:
        if what not in self.problems:
            self.problems.append(what)

    @cached_property
    def _network_digest(self) -> str:
        return digest_of_network(self._network)

    def _digest(self, **what: Any) -> str:
        return digest_of(
            network=self._network_digest,
            probe=[(tuple(p.shape), str(p.dtype)) for p in self._probe],
            threads=self._threads,
            **what,
        )


def _typical_ms(engine: Engine, probe: Sequence[Tensor]) -> float:
    times_ms: list[float] = []
    while len(times_ms) < _TIMED_RUNS and sum(times_ms) < _TIMING_LIMIT_MS:
        start_s = time.perf_counter()
        engine(*probe)
        times_ms.append((time.perf_counter() - start_s) * 1e3)
    return float(np.median(times_ms))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

"""Every backend that is installed finds the same landmarks, frame by frame."""

import shutil
from collections.abc import Sequence
from itertools import islice

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from lmtrack_ros.core.records import Frame, Status  # noqa: E402
from lmtrack_ros.phantoms import PhantomParameters, open_phantom  # noqa: E402
from lmtrack_ros.trackers import create_tracker  # noqa: E402

WEIGHTS = "mr"
FRAMES = 100
AGREED_PX = 0.05
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
BACKENDS = [
    pytest.param("cpu", "openvino"),
    pytest.param("cpu", "compile", marks=[COMPILER, pytest.mark.long]),
    pytest.param("cuda", "eager", marks=CUDA),
    pytest.param("cuda", "compile", marks=[CUDA, COMPILER, pytest.mark.long]),
    pytest.param("cuda", "tensorrt", marks=[CUDA, pytest.mark.long]),
]
PHANTOM = open_phantom("mr", PhantomParameters(seed=7))


@pytest.fixture(scope="module")
def frames() -> Sequence[Frame]:
    return list(islice(PHANTOM, FRAMES))


def followed(frames: Sequence[Frame], device: str, backend: str, refined: bool) -> NDArray[np.float64]:
    """Return the (frames, landmarks, 2) places that a backend finds, NaN where a landmark is lost."""
    tracker = create_tracker(
        "template_matching",
        {
            "weights": WEIGHTS,
            "inference": {"device": device, "backend": backend},
            "refinement": {"enabled": refined},
        },
    )
    runs_by = tracker._matcher.runs_by  # type: ignore[attr-defined]
    assert runs_by == f"{backend} {device} fp32"
    tracker.initialize(frames[0], PHANTOM.landmarks(0.0))
    found = [tracker.update(frame).estimates for frame in frames]
    return np.array(
        [[e.uv_px if e.status is not Status.LOST else (np.nan, np.nan) for e in one] for one in found]
    )


@pytest.fixture(scope="module", autouse=True)
def _engines_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def expected(frames: Sequence[Frame]) -> dict[bool, NDArray[np.float64]]:
    """What eager finds, with refinement and without."""
    return {refined: followed(frames, "cpu", "eager", refined) for refined in (True, False)}


def test_landmarks_move_by_far_more_than_backends_may_differ(
    expected: dict[bool, NDArray[np.float64]],
) -> None:
    for places in expected.values():
        assert np.isfinite(places).all()
        assert (places.std(axis=0).max(axis=-1) > 10 * AGREED_PX).all()


@pytest.mark.parametrize("refined", [True, False], ids=["refined", "network"])
@pytest.mark.parametrize(("device", "backend"), BACKENDS)
def test_same_landmarks_by_every_backend(
    frames: Sequence[Frame],
    expected: dict[bool, NDArray[np.float64]],
    device: str,
    backend: str,
    refined: bool,
) -> None:
    if backend in ("openvino", "tensorrt"):
        library = {"openvino": "openvino", "tensorrt": "torch_tensorrt"}[backend]
        pytest.importorskip(library, reason=f"{library} is not installed")
    found = followed(frames, device, backend, refined)
    apart_px = np.abs(found - expected[refined])
    assert apart_px.max() <= AGREED_PX

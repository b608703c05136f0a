"""The studies of the attention Mask R-CNN run from end to end, and say what they measured.

Patients are few and seen for a moment, and networks hardly trained: what is checked is what becomes of them.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from attention_mask_rcnn_example import TINY, write_run  # noqa: E402

from lmtrack_ros.core.errors import UserError  # noqa: E402
from lmtrack_ros.core.records import Status  # noqa: E402
from lmtrack_ros.evaluation.studies import Order  # noqa: E402
from lmtrack_ros.evaluation.ultrasound_study import ablations, challenge, jumps, networks, unseen  # noqa: E402
from lmtrack_ros.evaluation.ultrasound_study.jumps import Jump  # noqa: E402
from lmtrack_ros.inference.parameters import InferenceParameters  # noqa: E402
from lmtrack_ros.models.attention_mask_rcnn import populations  # noqa: E402
from lmtrack_ros.models.attention_mask_rcnn.parameters import AttentionMaskRcnnParameters  # noqa: E402
from lmtrack_ros.models.calibration import Calibration, plain  # noqa: E402
from lmtrack_ros.models.description import description_file, read_description  # noqa: E402
from lmtrack_ros.models.model import PhantomSequences  # noqa: E402
from lmtrack_ros.phantoms import clust  # noqa: E402


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backends are compared elsewhere."""
    parameters = partial(AttentionMaskRcnnParameters, inference=InferenceParameters(backend="eager"))
    monkeypatch.setattr(networks, "AttentionMaskRcnnParameters", parameters)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    return write_run(tmp_path / "run")


@pytest.fixture
def order(tmp_path: Path) -> Order:
    out, work = tmp_path / "out", tmp_path / "work"
    out.mkdir()
    work.mkdir()
    return Order("", out, work, "lmtrack study", lambda *_: None)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A population of four short sequences in two folds, and as many to test with."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def short(patients: Any, count: int) -> tuple[clust.Patient, ...]:
        chosen = [p for p in patients if p.phantom.preset in ("liver_deep", "liver_slow")]
        return tuple(replace(p, seconds=2.0, landmarks=1) for p in chosen[:count])

    parts = {name: short(patients, 4) for name, patients in clust.PARTS.items()}
    monkeypatch.setattr(clust, "PARTS", parts)
    monkeypatch.setattr(clust, "FOLDS", (parts["training"][:2], parts["training"][2:]))
    monkeypatch.setattr(clust, "VALIDATION", short(clust.VALIDATION, 1))
    without = {
        f"clust-without-{n}": tuple(p for p in parts["training"] if p not in fold)
        for n, fold in enumerate(clust.FOLDS, 1)
    }
    monkeypatch.setattr(populations, "_CLUST", without)
    brief = replace(TINY, epochs=1, steps_per_epoch=1)
    monkeypatch.setattr(challenge, "REALTIME", brief)
    monkeypatch.setattr(
        ablations, "ARMS", {"unchanged": brief, "without LSTM": replace(brief, recurrence=False)}
    )
    sequences = [PhantomSequences("ultrasound", ("liver_slow",), range(4000, 4003), 8)]
    monkeypatch.setitem(networks.MODEL.calibration, "clust", tuple(sequences))
    monkeypatch.setattr(networks, "calibrate_weights", leave_uncertain)
    networks._others.cache_clear()


def leave_uncertain(weights: Path, *_: Any) -> None:
    """Say that nothing is known of how far off the network may be."""
    path = description_file(weights)
    replace(read_description(path), calibration=plain(Calibration({}, 0))).write(path)


def cells(page: Path, start: str) -> list[str]:
    (line,) = [line for line in page.read_text().splitlines() if line.startswith(start)]
    return [cell.strip() for cell in line.split("|")[1:-1]]


@pytest.mark.usefixtures("few")
def test_cross_validation_scores_every_landmark_once(order: Order, weights: str) -> None:
    page = challenge.conduct(replace(order, weights=weights))
    assert cells(page, "| cross-validation, 24 sequences | attention Mask R-CNN")[2] != ""
    crossed, tested = [line for line in page.read_text().splitlines() if line.startswith("| ALL | ")]
    assert crossed.split("|")[2].strip() == tested.split("|")[2].strip() == "4"
    assert (page.parent / "clust.png").stat().st_size > 10_000
    for number, fold in enumerate(clust.FOLDS, 1):
        kept = {path.name for path in (order.work / "scores" / f"fold-{number}").iterdir()}
        assert kept == {"made_of.txt", *(f"training {patient.name}.json" for patient in fold)}
    before = {path: path.stat().st_mtime_ns for path in order.work.rglob("*") if path.is_file()}
    assert challenge.conduct(replace(order, weights=weights)) == page
    assert before == {path: path.stat().st_mtime_ns for path in before}
    description = Path(weights) / "config.yaml"
    description.write_text(description.read_text() + "# calibrated anew\n")
    challenge.conduct(replace(order, weights=weights))
    anew = {path for path in before if path.stat().st_mtime_ns != before[path]}
    assert {path.parent.name for path in anew} == {f"weights {Path(weights).name}"}


@pytest.mark.usefixtures("few")
def test_ablations_score_each_network_with_and_without_refinement(order: Order) -> None:
    page = ablations.conduct(order)
    for name in ("unchanged", "without LSTM"):
        for refined in ("no", "yes"):
            assert float(cells(page, f"| {name} | {refined} |")[2].split()[0]) > 0
    with pytest.raises(UserError, match="leave out"):
        ablations.conduct(replace(order, weights="ultrasound"))


def test_landmarks_are_thrown_as_far_as_is_said() -> None:
    sequence = jumps._sequence("liver_slow", 8000)
    row = sequence.truth_px[:, 0] * 0.77
    for jump in range(4):
        before = jumps._last_before(jump)
        assert abs(row[before + 2] - row[before]) == pytest.approx(15.0, abs=2.5)
        assert np.ptp(row[before + 2 : before + 14]) < 5.0


def test_jump_counts_as_found_only_if_the_landmark_stays_found() -> None:
    tracked = np.full(16, Status.TRACKED)
    near = np.array([9.0, 8.0, 7.0, 6.0, 2.9, 2.8, 2.7, 1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0])
    far = np.where(np.arange(16) == 9, 3.1, near)
    assert Jump("liver", near, tracked).is_found
    assert not Jump("liver", far, tracked).is_found
    assert Jump("liver", near, tracked).is_silent
    assert not Jump("liver", near, np.where(near > 3.0, Status.UNCERTAIN, Status.TRACKED)).is_silent
    assert Jump("liver", near, tracked).held == 3
    assert Jump("liver", near, np.full(16, Status.UNCERTAIN)).held == np.inf


def test_jumps_are_counted_for_each_tracker(
    order: Order, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jumps, "_PRESETS", ("liver_slow",))
    monkeypatch.setattr(jumps, "_SEEDS", range(8000, 8001))
    page = jumps.conduct(replace(order, weights=weights))
    assert "Of 4 jumps" in page.read_text().replace("\n", " ")
    found = [float(cell.rstrip("%")) for cell in cells(page, "| all |")[1:]]
    assert len(found) == 12
    again, silent, held = found[::3], found[1::3], found[2::3]
    assert all(share in (0, 25, 50, 75, 100) for share in again + silent)
    assert all(frames >= 0 for frames in held)


def test_unseen_structures_are_scored(order: Order, weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unseen, "_SEEDS", range(8100, 8101))
    monkeypatch.setattr(unseen, "_ORGANS", ("liver_slow",))
    monkeypatch.setattr(unseen, "_SECONDS", 1.0)
    page = unseen.conduct(replace(order, weights=weights))
    for name, landmarks in (("muscle, simulated", None), ("tissue, simulated", 3)):
        row = next(c for c in page.read_text().splitlines() if c.startswith(f"| {name} |")).split("|")
        assert landmarks is None or int(row[2]) == landmarks
        errors, far, neither = int(row[6]), int(row[7]), int(row[9])
        assert 0 <= neither <= far <= errors


def test_points_of_tissue_are_far_from_landmarks_and_stay_in_it() -> None:
    phantom = unseen._open("liver", 8100)
    points = dict(unseen._points(phantom, 0))
    landmarks_mm = np.array(list(phantom.landmarks_mm.values()))
    for point_mm in points.values():
        assert np.linalg.norm(landmarks_mm - point_mm, axis=1).min() > 12.0
        moved_mm = phantom.carried_mm(point_mm, 1.0) - phantom.carried_mm(point_mm, 0.0)
        assert 0.0 < np.linalg.norm(moved_mm) < 30.0

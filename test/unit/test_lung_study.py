"""The studies of the coarse-to-fine U-Net run from end to end, and say what they measured.

Patients are few and networks small: what is checked is what becomes of what they say.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from coarse_to_fine_unet_example import TINY, write_run  # noqa: E402

from lmtrack_ros.core.errors import UserError  # noqa: E402
from lmtrack_ros.core.records import Status  # noqa: E402
from lmtrack_ros.evaluation.lung_study import ablations, group, inserted, own_patient  # noqa: E402
from lmtrack_ros.evaluation.lung_study.live import Said, cells  # noqa: E402
from lmtrack_ros.evaluation.studies import Order  # noqa: E402
from lmtrack_ros.inference.parameters import InferenceParameters  # noqa: E402
from lmtrack_ros.models.coarse_to_fine_unet import populations  # noqa: E402
from lmtrack_ros.models.coarse_to_fine_unet.agreement import Agreement, figures  # noqa: E402
from lmtrack_ros.models.coarse_to_fine_unet.parameters import CoarseToFineUnetParameters  # noqa: E402
from lmtrack_ros.models.parts import Part  # noqa: E402
from lmtrack_ros.phantoms.lung_cases import LARGE_MM, SMALL_MM, USUAL_MM, Case  # noqa: E402

FREE = "lung_small"
TESTED = [
    Case(7, 7, SMALL_MM, frames=4),
    Case(7, 1, USUAL_MM, frames=4),
    Case(7, 2, LARGE_MM, frames=4),
    Case(7, 1, preset=FREE, frames=12),
    Case(7, None, preset=FREE, frames=12),
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    parameters = partial(CoarseToFineUnetParameters, inference=InferenceParameters(backend="eager"))
    for study in (group, inserted):
        monkeypatch.setattr(study, "CoarseToFineUnetParameters", parameters)


@pytest.fixture
def order(tmp_path: Path, weights: str) -> Order:
    out, work = tmp_path / "out", tmp_path / "work"
    out.mkdir()
    work.mkdir()
    return Order(weights, out, work, "lmtrack study", lambda *_: None)


def row(page: Path, name: str) -> list[str]:
    lines = [line for line in page.read_text().splitlines() if line.startswith(f"| {name}")]
    return [cell.strip() for cell in lines[0].split("|")[1:-1]]


def test_group_is_scored_by_size_live_and_without_a_tumour(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "group", lambda part: TESTED if part is Part.TEST else [])
    page = group.conduct(order)
    assert row(page, "all")[1] == "3"
    assert row(page, "diameter 12–20 mm")[1] == "1"
    assert "Without a tumour, breathing freely: 2 frames of 1 patients" in page.read_text()
    live = page.read_text().split("## Live")[1]
    # of each breath all four frames, of the stream those after its first five seconds
    assert "| free breathing | 2 |" in live
    assert "| all | 14 |" in live
    picture = cv2.imread(str(order.out / "group.png"))
    assert picture is not None


def test_recordings_are_refused_where_patients_are_simulated(order: Order) -> None:
    for conduct in (group.conduct, own_patient.conduct_patient, own_patient.conduct_finetuning):
        with pytest.raises(UserError, match="leave out --recordings"):
            conduct(replace(order, recordings=(Path("x"),)))


def test_networks_of_one_patient_are_trained_and_compared(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    def few(name: str, part: Part) -> list[Case]:
        return [Case(7, 1, frames=4, amplitude={Part.TEST: 0.8}.get(part, 1.0))]

    monkeypatch.setattr(populations, "cases", few)
    monkeypatch.setattr(own_patient, "cases", few)
    brief = replace(TINY, epochs=1, steps_per_epoch=1, gan_weight=0.0)
    arms = {"alone": own_patient._Arm(brief, False), "tuned": own_patient._Arm(brief, True)}
    monkeypatch.setattr(own_patient, "_OF_ONE", MappingProxyType(arms))
    monkeypatch.setattr(own_patient, "_OF_SUB_GROUPS", MappingProxyType(arms))
    monkeypatch.setattr(own_patient, "FINETUNED_PATIENTS", 2)
    page = own_patient.conduct_patient(order)
    assert [row(page, name)[1] for name in ("trained on others alone", "alone", "tuned")] == ["1"] * 3
    tuned = own_patient.conduct_finetuning(order)
    assert row(tuned, "tuned")[1] == "2"
    assert "of 2" in tuned.read_text().splitlines()[-1]
    # what was trained is kept
    begun = {path: path.stat().st_mtime_ns for path in order.work.rglob("best.safetensors")}
    assert len(begun) == 6
    own_patient.conduct_finetuning(order)
    assert begun == {path: path.stat().st_mtime_ns for path in order.work.rglob("best.safetensors")}


def test_ablations_are_trained_alike_and_compared(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    def few(part: Part) -> list[Case]:
        return [Case(7, 1, frames=4)]

    for module in (ablations, populations):
        monkeypatch.setattr(module, "group", few)
    brief = replace(TINY, epochs=1, steps_per_epoch=1)
    arms = {"unchanged": brief, "one U-Net": replace(brief, refinement=False)}
    monkeypatch.setattr(ablations, "ARMS", MappingProxyType(arms))
    with pytest.raises(UserError, match="leave out both"):
        ablations.conduct(order)
    page = ablations.conduct(replace(order, weights=""))
    assert [row(page, name)[1] for name in arms] == ["1", "1"]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Grey pictures of a dome that moves, beside a spine."""
    folder = tmp_path / "chest"
    (folder / "frames").mkdir(parents=True)
    noise = np.random.default_rng(0).normal(0, 3, (150, 120))
    rows = [110 + 8 * np.sin(2 * np.pi * number / 10) for number in range(14)]
    for number, row_px in enumerate(rows):
        picture = np.where(np.arange(150)[:, None] > row_px, 200, 60) + noise
        picture[:, 48:76] = 220
        cv2.imwrite(str(folder / "frames" / f"{number:02}.png"), picture.clip(0, 255).astype(np.uint8))
    (folder / "sequence.yaml").write_text(
        "modality: fluoroscopy\nimages: frames/*.png\nspacing_mm: [2.0, 2.0]\nrate_hz: 2.0\n"
    )
    lines = [f"{number},dome_R,24,{row_px:.2f},1,0,y" for number, row_px in enumerate(rows)]
    header = "frame,landmark,x_px,y_px,certain,spread_px,axes"
    (folder / "landmarks.csv").write_text("\n".join([header, *lines, ""]))
    return folder


def test_tumours_are_put_into_recordings_and_sought(order: Order, recording: Path) -> None:
    page = inserted.conduct(replace(order, recordings=(recording,)))
    # two heights and three sizes over one dome
    assert row(page, "all")[1] == "6"
    assert row(page, "by the diaphragm")[1] == row(page, "mid-lung")[1] == "3"
    assert row(page, "chest")[1] == "14"
    shares = [float(cell.rstrip("%")) for cell in row(page, "chest")[2:]]
    assert sum(shares) == pytest.approx(100, abs=0.2)


def test_recording_without_a_dome_is_refused(order: Order, recording: Path) -> None:
    (recording / "landmarks.csv").write_text(
        (recording / "landmarks.csv").read_text().replace("dome_R", "rib")
    )
    with pytest.raises(UserError, match="annotated dome"):
        inserted.conduct(replace(order, recordings=(recording,)))
    with pytest.raises(UserError, match="--recordings"):
        inserted.conduct(order)


def test_what_a_gate_would_believe_is_tracked_and_far_outside_its_radius() -> None:
    status = np.array([Status.TRACKED, Status.TRACKED, Status.UNCERTAIN, Status.LOST])
    error_mm, radius_mm = np.array([2.0, 9.0, 9.0, np.inf]), np.array([1.0, 4.0, 4.0, np.inf])
    said = Said(status, error_mm, radius_mm)
    assert said.is_far.tolist() == [False, True, True, True]
    assert said.is_believed.tolist() == [False, True, False, False]
    assert cells([said])[0] == "4"
    assert cells([said])[-5:] == ["25.0%", "50.0%", "75.0%", "66.7%", "25.0%"]
    covered = replace(said, radius_mm=np.full(4, 10.0))
    assert not covered.is_believed.any()


def test_figures_count_every_frame_and_distances_where_something_is_found() -> None:
    some = Agreement(np.array([0.5, 0.0]), np.array([0.6, 0.0]), np.array([[3.0, -4.0], [np.nan, np.nan]]))
    found = figures([some])
    assert found.iou == pytest.approx(0.25)
    assert (found.horizontal_mm, found.vertical_mm, found.missed) == (3.0, 4.0, 0.5)

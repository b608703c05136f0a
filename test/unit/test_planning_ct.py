"""From a planning 4-D CT to breaths to train on: registration, projections, masks, and what is refused."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK

torch = pytest.importorskip("torch")

from coarse_to_fine_unet_example import TINY  # noqa: E402

from lmtrack_ros.cli.main import main  # noqa: E402
from lmtrack_ros.core.errors import UserError  # noqa: E402
from lmtrack_ros.models.coarse_to_fine_unet import populations  # noqa: E402
from lmtrack_ros.models.coarse_to_fine_unet.agreement import centroids  # noqa: E402
from lmtrack_ros.models.coarse_to_fine_unet.own_images import own_clips  # noqa: E402
from lmtrack_ros.models.parts import Part  # noqa: E402
from lmtrack_ros.phantoms.planned_patient import Imager, PlannedPatient, write_breaths  # noqa: E402
from lmtrack_ros.phantoms.planning_ct import Ball, PlanningCt  # noqa: E402

STEP_MM = 2.0
ORIGIN_MM = (-300.0, 10.0, 55.0)
TUMOR = np.array([-258.0, 46.0, 97.0])
HEAD_MM = (0.0, 6.0, 12.0)
"""How far the tumour goes to the head, by phase."""


def written(folder: Path, moved_mm: tuple[float, ...] = HEAD_MM, size: int = 40) -> Path:
    """Write phases of a tumour of 20 mm in lung, under a diaphragm that moves with it."""
    folder.mkdir()
    at_mm = [origin + STEP_MM * np.arange(size) for origin in ORIGIN_MM]
    z, y, x = np.meshgrid(*at_mm[::-1], indexing="ij")
    for number, moved in enumerate(moved_mm):
        distance = np.sqrt((x - TUMOR[0]) ** 2 + (y - TUMOR[1]) ** 2 + (z - TUMOR[2] - moved) ** 2)
        grey = 200.0 + 850.0 * np.clip((11.0 - distance) / STEP_MM, 0, 1)
        grey += 850.0 * np.clip((ORIGIN_MM[2] + 16.0 + moved - z) / STEP_MM, 0, 1)
        image = SimpleITK.GetImageFromArray(grey.astype(np.uint16))
        image.SetOrigin(ORIGIN_MM)
        image.SetSpacing([STEP_MM] * 3)
        SimpleITK.WriteImage(image, str(folder / f"phase{number}.mha"))
    return folder


BALL = Ball((-258.0, 46.0, 97.0), 20.0)


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> PlanningCt:
    return PlanningCt(written(tmp_path_factory.mktemp("scan") / "ct"), BALL, water=1000.0)


def test_tumour_is_at_the_isocentre_at_first_and_goes_with_the_phases(ct: PlanningCt) -> None:
    places = [
        PlannedPatient(ct, 1.0, Imager(128.0), 0).positions_mm(time_s)["tumor"]
        for time_s in (0.0, 0.5, 1.0, 1.5)
    ]
    np.testing.assert_allclose(places[0], 0.0, atol=1e-3)
    for place, head_mm in zip(places, (*HEAD_MM, 0.0), strict=True):
        np.testing.assert_allclose(place, (0.0, head_mm, 0.0), atol=1.5)
    before, after = ct.differences_hu
    assert after < 0.4 * before


def test_deeper_breath_goes_farther(ct: PlanningCt) -> None:
    shallow, deep = (
        PlannedPatient(ct, amplitude, Imager(128.0), 0).positions_mm(1.0)["tumor"][1]
        for amplitude in (0.5, 1.5)
    )
    assert shallow == pytest.approx(6.0, abs=1.5)
    assert deep == pytest.approx(18.0, abs=3.0)


def test_mask_is_where_film_is_brighter_than_lung(ct: PlanningCt) -> None:
    patient = PlannedPatient(ct, 1.0, Imager(150.0), 0)
    mask = patient.masks(0.5)["tumor"]
    image = patient.render(1, 0.5).image
    (true,) = patient.truth(1, 0.5).estimates
    middle = centroids(torch.from_numpy(mask[None]))[0].numpy()
    np.testing.assert_allclose(middle, true.uv_px, atol=1.5)
    # 20 mm, of which a rim of less than 3 mm in the ray is left out
    diameter_mm = 2 * np.sqrt(mask.sum() / np.pi) * patient.geometry.plane_spacing_mm[0]
    assert diameter_mm == pytest.approx(20.0, abs=1.5)
    rows, columns = np.nonzero(mask)
    beside = image[rows, (columns + 60) % 256]
    assert image[mask].mean() > beside.mean() + 10


def test_tumour_may_be_a_mask_on_a_grid_of_its_own(ct: PlanningCt, tmp_path: Path) -> None:
    at_mm = np.arange(-15.0, 15.1, 1.0)
    z, y, x = np.meshgrid(at_mm, at_mm, at_mm, indexing="ij")
    image = SimpleITK.GetImageFromArray((x * x + y * y + z * z < 100).astype(np.uint8))
    image.SetOrigin((TUMOR - 15.0).tolist())
    # beside the phases it is none of them
    mask = written(tmp_path / "ct") / "a_tumor.nii.gz"
    SimpleITK.WriteImage(image, str(mask))
    same = PlanningCt(mask.parent, mask, water=1000.0)
    assert same.phases == 3
    np.testing.assert_allclose(same.grid.center_mm, ct.grid.center_mm, atol=0.2)
    assert same.breathed(1, 1.0).tumor.sum() == pytest.approx(ct.breathed(1, 1.0).tumor.sum(), rel=0.1)


def test_slices_need_not_be_cubes(ct: PlanningCt, tmp_path: Path) -> None:
    folder = written(tmp_path / "ct")
    for path in folder.iterdir():
        scan = SimpleITK.ReadImage(str(path))
        thick = SimpleITK.BinShrink(scan, [1, 1, 2])
        SimpleITK.WriteImage(thick, str(path))
    other = PlanningCt(folder, BALL, water=1000.0)
    assert other.grid.step_mm == (2.0, 2.0, 2.0)
    assert other.breathed(2, 1.0).tumor.sum() == pytest.approx(ct.breathed(2, 1.0).tumor.sum(), rel=0.1)


def test_command_writes_what_can_be_trained_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = {Part.TRAINING: [0.5, 1.4], Part.VALIDATION: [0.7], Part.TEST: [1.0]}

    def amplitudes(seed: int) -> Mapping[Part, list[float]]:
        return few

    monkeypatch.setattr(populations, "patient_amplitudes", amplitudes)
    scan, out = written(tmp_path / "ct", (0.0, 4.0, 8.0, 3.0)), tmp_path / "patient"
    words = ["phantom", "ct4d", str(scan), "--tumor", "-258", "46", "97", "20", "--water", "1000"]
    words += ["--detector-mm", "120"]
    assert main([*words, "--out", str(out)]) == 0
    assert "4 breaths of 4 phases" in capsys.readouterr().out
    for part, some in few.items():
        clips = own_clips(out, part, TINY)
        assert len(clips) == len(some)
        for one in clips:
            # two breaths of four phases
            assert one.frames.shape == (8, 32, 32)
            assert one.masks.flatten(1).any(1).all()
    first, *_ = own_clips(out, Part.TRAINING, TINY)
    # at the isocentre, two thirds of the way to the detector
    assert first.spacing_mm == pytest.approx(80.0 / 32, rel=0.01)
    assert main([*words, "--out", str(out)]) != 0
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "tumor", "said"),
    [
        ("none", Ball((0.0, 0.0, 0.0), 20.0), "not in the scan"),
        ("none", Path("nowhere.mha"), "nowhere.mha"),
        ("alone", BALL, "for each phase"),
        ("smaller", BALL, "not of one size"),
        ("broken", BALL, "phase1.mha"),
        ("missing", BALL, "is no folder"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, spoil: str, tumor: Path | Ball, said: str
) -> None:
    folder = tmp_path / "ct"
    if spoil != "missing":
        written(folder, (0.0, 3.0))
    second = folder / "phase1.mha"
    if spoil == "alone":
        second.unlink()
    elif spoil == "smaller":
        second.rename(tmp_path / "old.mha")
        scan = SimpleITK.ReadImage(str(tmp_path / "old.mha"))
        SimpleITK.WriteImage(scan[:, :, :30], str(second))
    elif spoil == "broken":
        second.write_bytes(b"nothing")
    with pytest.raises(UserError, match=said) as told:
        PlanningCt(folder, tumor, water=1000.0)
    assert "\n" not in str(told.value)


def test_own_images_that_do_not_fit_are_refused(ct: PlanningCt, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no sequence"):
        own_clips(tmp_path, Part.TRAINING, TINY)
    out = tmp_path / "patient"
    write_breaths(out, ct, {"training": [1.0]}, Imager(128.0))
    assert len(own_clips(out, Part.TRAINING, TINY)) == 1
    with pytest.raises(UserError, match="6 frames at 2 Hz"):
        own_clips(out, Part.TRAINING, replace(TINY, frames=7))
    with pytest.raises(UserError, match=r"no frames are 0\.3 s apart"):
        own_clips(out, Part.TRAINING, replace(TINY, step_s=0.3))
    for mask in (out / "training").glob("*/masks/tumor/*.png"):
        cv2.imwrite(str(mask), np.zeros((256, 256), np.uint8))
    with pytest.raises(UserError, match="no sequence shows the tumour"):
        own_clips(out, Part.TRAINING, TINY)
    next((out / "training").glob("*/masks/tumor/*.png")).unlink()
    with pytest.raises(UserError, match="a mask of each frame"):
        own_clips(out, Part.TRAINING, TINY)

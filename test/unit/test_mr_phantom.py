"""The MR phantom: one seed, one picture; a truth, a couch and masks that the picture agrees with."""

from functools import cache

import cv2
import numpy as np
import pytest

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import NS_PER_S
from lmtrack_ros.phantoms.motion import MotionParameters
from lmtrack_ros.phantoms.mr import PRESETS, MrPhantom
from lmtrack_ros.phantoms.mr.anatomy import Layers
from lmtrack_ros.phantoms.phantom import PhantomParameters

REGULAR = MotionParameters(kind="breathing", peak_to_peak_mm=20.0, anterior_mm=3.0, left_mm=1.0)
EXHALED_S, INHALED_S = 2.0, 4.0  # a breath takes 4 s and begins half a breath before 0


@pytest.fixture(scope="module")
def liver() -> MrPhantom:
    return MrPhantom(PhantomParameters(motion=REGULAR))


@pytest.fixture(scope="module")
def coronal() -> MrPhantom:
    return MrPhantom(PhantomParameters(preset="coronal", motion=REGULAR))


def picture(phantom: MrPhantom, time_s: float, couch_mm: tuple[float, ...] = (0, 0, 0)) -> np.ndarray:
    return phantom.render(NS_PER_S, time_s, couch_mm).image.astype(np.float32)


def truth_px(
    phantom: MrPhantom, time_s: float, couch_mm: tuple[float, ...] = (0, 0, 0)
) -> dict[str, np.ndarray]:
    return {e.id: np.array(e.uv_px) for e in phantom.truth(NS_PER_S, time_s, couch_mm).estimates}


@cache
def patient(preset: str) -> MrPhantom:
    return MrPhantom(PhantomParameters(preset=preset, seed=3))


def with_target(preset: str, landmark: str) -> tuple[MrPhantom, MrPhantom]:
    """Return a phantom, and the same with a small bright rod across the slice at a landmark.

    It outshines what is around, so that the magnitude of the sum does not depend on it.
    """
    plain, marked = patient(preset), MrPhantom(PhantomParameters(preset=preset, seed=3))
    grid, layers = plain._grid, plain._layers
    column, row, _ = grid.indices(plain._anatomy.landmarks_mm[landmark])
    _, rows, columns = grid.shape
    from_it = np.hypot(np.arange(columns)[None] - column, np.arange(rows)[:, None] - row) * grid.spacing_mm
    brightness = 1.0 if plain._preset.scanner.dtype == np.uint8 else 30.0
    rod = brightness * np.exp(-0.5 * (from_it / plain.geometry.spacing_mm[0]) ** 2)
    organs = layers.organs.copy()
    organs[..., 0] += rod.astype(np.float32)
    marked.__dict__["_layers"] = Layers(organs, layers.wall)
    return plain, marked


def centre_px(spot: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Return the (column, row) of the centroid of what is bright about the brightest pixel near a place."""
    rows, columns = np.indices(spot.shape)
    spot = np.where(np.hypot(columns - near[0], rows - near[1]) < 8, spot, 0.0)
    row, column = np.unravel_index(np.argmax(spot), spot.shape)
    weight = np.where(
        np.hypot(columns - column, rows - row) < 5, np.maximum(spot - 0.1 * spot.max(), 0.0), 0.0
    )
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


def shift_px(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the whole (columns, rows) by which the middle of a picture moved."""
    height, width = before.shape
    top, left, margin = height // 4, width // 4, 12
    inner = before[top : height - top, left : width - left]
    wide = after[top - margin : height - top + margin, left - margin : width - left + margin]
    _, _, _, best = cv2.minMaxLoc(cv2.matchTemplate(wide, inner, cv2.TM_CCOEFF_NORMED))
    return np.array(best) - margin


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_one_seed_gives_one_recording(liver: MrPhantom) -> None:
    again = MrPhantom(PhantomParameters(motion=REGULAR))
    first = [again.render(NS_PER_S, t, c).image for t, c in ((3.1, (4, 0, 0)), (0.5, (0, 0, 0)))]
    second = [liver.render(NS_PER_S, t, c).image for t, c in ((0.5, (0, 0, 0)), (3.1, (4, 0, 0)))]
    np.testing.assert_array_equal(first[0], second[1])
    np.testing.assert_array_equal(first[1], second[0])


def test_another_seed_gives_another_patient(liver: MrPhantom) -> None:
    other = MrPhantom(PhantomParameters(seed=1, motion=REGULAR))
    before, after = truth_px(liver, 0.0), truth_px(other, 0.0)
    assert all(np.linalg.norm(before[name] - after[name]) > 0.2 for name in before)
    inside = (slice(40, 130), slice(30, 110))
    assert likeness(picture(liver, 0.0)[inside], picture(other, 0.0)[inside]) < 0.8


@pytest.mark.parametrize(
    ("preset", "landmark"),
    [("liver", "portal_vein"), ("liver", "dome"), ("thorax", "pulmonary_vein"), ("coronal", "hepatic_vein")],
)
def test_a_target_at_a_landmark_shows_where_the_truth_says(preset: str, landmark: str) -> None:
    plain, marked = with_target(preset, landmark)
    off = []
    for time_s in (0.0, 0.7, 1.6, 2.9, 4.1):
        for couch_mm in ((0.0, 0.0, 0.0), (5.0, -4.0, 3.0)):
            spot = picture(marked, time_s, couch_mm) - picture(plain, time_s, couch_mm)
            truth = truth_px(plain, time_s, couch_mm)[landmark]
            off.append(centre_px(spot, truth) - truth)
    assert np.abs(off).max() < 0.1


@pytest.mark.parametrize(
    ("axis", "per_px"), [(1, (0, -1)), (2, (-1, 0))], ids=["to the head: up", "to the front: left"]
)
@pytest.mark.parametrize("steps", [6, -6])
def test_the_couch_moves_a_sagittal_picture(
    liver: MrPhantom, axis: int, per_px: tuple[int, int], steps: int
) -> None:
    couch_mm = [0.0, 0.0, 0.0]
    couch_mm[axis] = steps * liver.geometry.spacing_mm[0]
    moved = shift_px(picture(liver, 1.0), picture(liver, 1.0, tuple(couch_mm)))
    np.testing.assert_array_equal(moved, steps * np.array(per_px))


@pytest.mark.parametrize(
    ("axis", "per_px"), [(0, (1, 0)), (1, (0, -1))], ids=["to the left: right", "to the head: up"]
)
@pytest.mark.parametrize("steps", [6, -6])
def test_the_couch_moves_a_coronal_picture(
    coronal: MrPhantom, axis: int, per_px: tuple[int, int], steps: int
) -> None:
    couch_mm = [0.0, 0.0, 0.0]
    couch_mm[axis] = steps * coronal.geometry.spacing_mm[0]
    moved = shift_px(picture(coronal, 1.0), picture(coronal, 1.0, tuple(couch_mm)))
    np.testing.assert_array_equal(moved, steps * np.array(per_px))


@pytest.mark.parametrize("side", [1, -1])
def test_the_couch_moves_other_anatomy_into_the_slice(liver: MrPhantom, side: int) -> None:
    inside = (slice(50, 110), slice(45, 110))
    here = picture(liver, 1.0)[inside]
    alike = [likeness(here, picture(liver, 1.0, (side * x, 0, 0))[inside]) for x in (1.0, 4.0, 12.0)]
    assert 1.0 > alike[0] > alike[1] + 0.05
    assert alike[1] > alike[2] + 0.05
    np.testing.assert_array_equal(
        truth_px(liver, 1.0)["portal_vein"], truth_px(liver, 1.0, (12.0, 0, 0))["portal_vein"]
    )


def test_an_imager_on_the_couch_does_not_see_it_move() -> None:
    mounted = MrPhantom(PhantomParameters(preset="linac", mount="couch"))
    np.testing.assert_array_equal(picture(mounted, 0.4), picture(mounted, 0.4, (7.0, -9.0, 5.0)))


def test_organs_slide_along_a_wall_that_does_not_breathe(liver: MrPhantom) -> None:
    exhaled, inhaled = picture(liver, EXHALED_S), picture(liver, INHALED_S)
    back = (slice(30, 150), slice(116, 134))
    assert likeness(exhaled[back], inhaled[back]) > 0.97
    organs = (slice(40, 120), slice(50, 105))
    assert likeness(exhaled[organs], inhaled[organs]) < 0.6


@pytest.mark.parametrize("time_s", [EXHALED_S, INHALED_S])
def test_vessels_are_bright_in_their_masks(liver: MrPhantom, time_s: float) -> None:
    shown, masks = picture(liver, time_s), liver.masks(time_s)
    for name in ("hepatic_vein", "portal_vein"):
        around = cv2.dilate(masks[name].astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
        assert shown[masks[name]].mean() > 1.25 * np.median(shown[around & ~masks[name]])


@pytest.mark.parametrize("time_s", [0.3, 1.2, 2.1])
def test_the_mask_of_the_liver_ends_at_the_lung(time_s: float) -> None:
    thorax = patient("thorax")
    shown, liver = picture(thorax, time_s), thorax.masks(time_s)["liver"]
    column = round(truth_px(thorax, time_s)["dome"][0])
    steps = []
    for shift in range(-6, 7):
        moved = np.roll(liver, shift, axis=0)
        edge = moved & ~np.roll(moved, 1, axis=0)
        edge[:, : column - 20] = edge[:, column + 20 :] = False
        steps.append(np.median(shown[np.roll(edge, 2, axis=0)]) - np.median(shown[np.roll(edge, -2, axis=0)]))
    assert abs(int(np.argmax(steps)) - 6) <= 1


def test_masks_follow_the_landmarks(coronal: MrPhantom) -> None:
    for time_s in (EXHALED_S, INHALED_S):
        masks, truth = coronal.masks(time_s), truth_px(coronal, time_s)
        for name in ("hepatic_vein", "portal_vein", "pulmonary_vein"):
            rows, columns = np.nonzero(masks[name])
            np.testing.assert_allclose([columns.mean(), rows.mean()], truth[name], atol=0.5)


@pytest.mark.parametrize("preset", PRESETS)
def test_landmarks_stay_in_the_picture(preset: str) -> None:
    for seed in range(31):
        phantom = MrPhantom(PhantomParameters(preset=preset, seed=seed))
        height, width = PRESETS[preset].shape
        for time_s in np.arange(0.0, 60.0, 0.8):
            for uv in truth_px(phantom, float(time_s)).values():
                assert 12 <= uv[0] <= width - 13
                assert 12 <= uv[1] <= height - 13


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_renders(preset: str) -> None:
    phantom = patient(preset)
    frame = phantom.render(NS_PER_S, 0.3)
    assert frame.image.shape == PRESETS[preset].shape
    assert frame.image.dtype == PRESETS[preset].scanner.dtype
    assert frame.image.std() > 10
    assert phantom.info.rate_hz == PRESETS[preset].rate_hz


def test_an_unknown_preset_is_an_error() -> None:
    with pytest.raises(UserError, match="liver"):
        MrPhantom(PhantomParameters(preset="knee"))

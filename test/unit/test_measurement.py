"""From pixels to millimetres, with what is not seen left unknown."""

import numpy as np
import pytest

from lmtrack_ros.core.frames import View, isocenter_from_image
from lmtrack_ros.core.geometry import TABLE_TOP, ImageGeometry, Modality, Mount
from lmtrack_ros.core.records import Frame, Landmark, Status
from lmtrack_ros.trackers.measurement import to_estimate, to_set

SAGITTAL = ImageGeometry(Modality.MR, (2.0, 1.0, 0.0), pose=isocenter_from_image(View.SAGITTAL, (0, 50, 80)))
LANDMARK = Landmark("vessel", (10.0, 20.0))


def test_a_tracked_pixel_in_the_room():
    estimate = to_estimate(LANDMARK, SAGITTAL, Status.TRACKED, (10, 20), (0.5, 0.5), 0.9)
    # columns run to -Z, rows to -Y
    assert estimate.position_mm == pytest.approx([0, 50 - 20, 80 - 20])
    assert estimate.observed == (False, True, True)
    assert np.diag(estimate.covariance_mm2) == pytest.approx([np.inf, 0.25, 1.0])
    assert estimate.confidence == 0.9


@pytest.mark.parametrize(
    "sigma_px", [(1.0, 1.0), (1.0, 0.4), (0.1, 2.0)], ids=["round", "oblong", "almost a line"]
)
def test_the_radius_holds_95_percent(sigma_px):
    geometry = ImageGeometry(Modality.MR, (1.0, 1.0, 0.0))
    radius_mm = to_estimate(LANDMARK, geometry, Status.TRACKED, (10, 20), sigma_px, 1.0).radius_mm
    errors = np.random.default_rng(1).standard_normal((200_000, 2)) * sigma_px
    assert (np.hypot(*errors.T) <= radius_mm).mean() == pytest.approx(0.95, abs=0.01)


def test_an_undefined_axis_is_unobserved_and_leaves_the_radius_alone():
    edge = Landmark("dome", (10.0, 20.0), (False, True))
    estimate = to_estimate(edge, SAGITTAL, Status.TRACKED, (10, 20), (100.0, 0.5), 0.9)
    assert estimate.observed == (False, True, False)
    assert np.isinf(estimate.covariance_mm2[2, 2])
    assert estimate.radius_mm == pytest.approx(1.96 * 0.5, rel=1e-3)


def test_without_geometry_nothing_is_known_in_the_room():
    estimate = to_estimate(LANDMARK, None, Status.TRACKED, (10, 20), (0.5, 0.5), 0.9)
    assert np.isnan(estimate.position_mm).all()
    assert estimate.observed == (False, False, False)
    assert estimate.radius_mm == np.inf
    assert (estimate.status, estimate.uv_px) == (Status.TRACKED, (10.0, 20.0))


def test_a_lost_one_keeps_its_place_but_claims_nothing():
    estimate = to_estimate(LANDMARK, SAGITTAL, Status.LOST, (10, 20), (0.5, 0.5), 0.0)
    assert estimate.position_mm == pytest.approx([0, 30, 60])
    assert estimate.observed == (False, False, False)
    assert estimate.radius_mm == np.inf


def test_a_pixel_that_is_not_finite_has_no_position():
    estimate = to_estimate(LANDMARK, SAGITTAL, Status.TRACKED, (np.nan, 20), (0.5, 0.5), 0.9)
    assert np.isnan(estimate.position_mm).all()
    assert estimate.observed == (False, False, False)


def test_a_set_carries_stamp_and_frame_of_reference():
    on_couch = ImageGeometry(Modality.MR, (1.0, 1.0, 0.0), mount=Mount.COUCH)
    frame = Frame(5, np.zeros((4, 4), np.uint8), on_couch, received_ns=7)
    result = to_set(frame, "correlation", [])
    assert (result.stamp_ns, result.frame_id, result.model) == (5, TABLE_TOP, "correlation")
    assert (result.stamps.acquired_ns, result.stamps.received_ns) == (5, 7)

"""Image geometry: pixels to millimetres, projections, and what an image does not see."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtrack_ros.core import frames
from lmtrack_ros.core.frames import View
from lmtrack_ros.core.geometry import ImageGeometry, Modality, Mount

BOTH = (True, True)


def plane(view: View = View.CORONAL, **changes: object) -> ImageGeometry:
    pose = frames.isocenter_from_image(view, (10, 20, 30))
    return ImageGeometry(Modality.MR, (0.5, 0.25, 0.0), pose=pose, **changes)  # type: ignore[arg-type]


def oblique(angle_rad: float) -> ImageGeometry:
    """A coronal plane, turned about the couch's length: image y is still -Y, image x is not X."""
    turn = frames.isocenter_from_table_top((0, 0, 0), (0, angle_rad, 0))
    return ImageGeometry(Modality.MR, (0.5, 0.25, 0.0), pose=turn @ frames.isocenter_from_image(View.CORONAL))


def test_pixel_to_position() -> None:
    """Columns of a coronal image run along +X and rows along -Y, each by its own pitch."""
    assert plane().position_mm((0, 0)).tolist() == [10, 20, 30]
    assert plane().position_mm((2, 0)).tolist() == [11, 20, 30]
    assert plane().position_mm((0, 4)).tolist() == [10, 19, 30]


def test_slice_to_position() -> None:
    """Slices of an axial volume run towards the gantry."""
    pose = frames.isocenter_from_image(View.AXIAL)
    volume = ImageGeometry(Modality.ULTRASOUND_VOLUME, (1.0, 1.0, 2.0), pose=pose)
    assert volume.position_mm((0, 0, 3)).tolist() == [0, 6, 0]
    assert volume.pixel((0, 6, 0)).tolist() == [0, 0, 3]


@given(st.floats(-100, 1000), st.floats(-100, 1000), st.sampled_from(View))
def test_pixel_round_trip(column: float, row: float, view: View) -> None:
    geometry = plane(view)
    back = geometry.pixel(geometry.position_mm((column, row)))
    np.testing.assert_allclose(back, (column, row, 0), atol=1e-9)


def test_projection_measures_at_the_isocentre() -> None:
    """A detector 1.5 times as far as the isocentre magnifies by 1.5: its pixels are finer there."""
    projection = plane(sad_mm=1000.0, sid_mm=1500.0)
    assert projection.spacing_mm == (0.5, 0.25, 0.0)
    assert projection.plane_spacing_mm == pytest.approx((0.5 / 1.5, 0.25 / 1.5, 0.0))
    np.testing.assert_allclose(projection.position_mm((3, 0)), (11, 20, 30))
    np.testing.assert_allclose(projection.pixel((11, 20, 30)), (3, 0, 0), atol=1e-9)


@pytest.mark.parametrize(
    ("mount", "frame_id"),
    [(Mount.ROOM, "isocenter"), (Mount.COUCH, "table_top"), (Mount.PATIENT, "isocenter")],
    ids=["room", "couch", "patient"],
)
def test_frame_follows_the_mount(mount: Mount, frame_id: str) -> None:
    assert plane(mount=mount).frame_id == frame_id


@pytest.mark.parametrize(
    ("view", "image_axes", "expected"),
    [
        pytest.param(View.CORONAL, BOTH, (True, True, False), id="coronal-sees-x-y"),
        pytest.param(View.SAGITTAL, BOTH, (False, True, True), id="sagittal-sees-y-z"),
        pytest.param(View.LONGITUDINAL, BOTH, (False, True, True), id="longitudinal-sees-y-z"),
        pytest.param(View.AXIAL, BOTH, (True, False, True), id="axial-sees-x-z"),
        pytest.param(View.AXIAL, (True, True, True), (True, True, True), id="volume-sees-all"),
        pytest.param(View.CORONAL, (False, True), (False, True, False), id="rows-only"),
        pytest.param(View.CORONAL, (True, False), (True, False, False), id="columns-only"),
        pytest.param(View.CORONAL, (False, False), (False, False, False), id="nothing"),
    ],
)
def test_observed_axes_of_an_aligned_plane(
    view: View, image_axes: tuple[bool, ...], expected: tuple[bool, bool, bool]
) -> None:
    assert plane(view).observed_axes(image_axes) == expected


@pytest.mark.parametrize("angle_deg", [0.1, 20, 45, -70])
def test_oblique_plane_sees_only_the_axis_that_lies_in_it(angle_deg: float) -> None:
    """X and Z both have a part along the depth that the image does not see; Y has none."""
    geometry = oblique(np.radians(angle_deg))
    assert geometry.observed_axes(BOTH) == (False, True, False)
    assert geometry.observed_axes((True, True, True)) == (True, True, True)


def test_oblique_plane_does_not_see_an_axis_through_a_missing_image_axis() -> None:
    assert oblique(np.radians(30)).observed_axes((False, True)) == (False, True, False)
    assert oblique(np.radians(30)).observed_axes((True, False)) == (False, False, False)


def test_covariance_is_in_millimetres_along_the_rooms_axes() -> None:
    covariance = plane().covariance_mm2((4.0, 16.0), BOTH)
    np.testing.assert_allclose(covariance[:2, :2], np.diag([4 * 0.25, 16 * 0.0625]), atol=1e-12)


@pytest.mark.parametrize(
    ("geometry", "image_axes"),
    [
        pytest.param(plane(), BOTH, id="aligned"),
        pytest.param(plane(), (False, True), id="rows-only"),
        pytest.param(oblique(0.4), BOTH, id="oblique"),
    ],
)
def test_variance_is_infinite_exactly_where_blind(
    geometry: ImageGeometry, image_axes: tuple[bool, ...]
) -> None:
    covariance = geometry.covariance_mm2((1.0, 1.0), image_axes)
    observed = np.array(geometry.observed_axes(image_axes))
    assert np.isfinite(np.diag(covariance)).tolist() == observed.tolist()
    # nothing is said about how a blind axis goes with another
    off_diagonal = covariance[~np.eye(3, dtype=bool)]
    assert np.isfinite(off_diagonal).all()
    assert not covariance[~observed][:, observed].any()


def test_covariance_of_a_volume_turns_with_it() -> None:
    """A volume turned by 45 degrees mixes the variances of its two turned axes."""
    turn = frames.isocenter_from_table_top((0, 0, 0), (0, 0, np.pi / 4))
    volume = ImageGeometry(Modality.ULTRASOUND_VOLUME, (1.0, 1.0, 1.0), pose=turn)
    covariance = volume.covariance_mm2((1.0, 3.0, 5.0), (True, True, True))
    np.testing.assert_allclose(covariance, [[2, -1, 0], [-1, 2, 0], [0, 0, 5]], atol=1e-12)


@pytest.mark.parametrize(
    "spacing_mm",
    [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (np.nan, 1.0, 1.0), (1.0, np.inf, 1.0), (1.0, 1.0, np.nan)],
    ids=["zero", "negative", "nan", "infinite", "nan-slice"],
)
def test_spacing_must_be_positive_and_finite(spacing_mm: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="spacing"):
        ImageGeometry(Modality.MR, spacing_mm)


def test_slice_pitch_must_not_be_negative() -> None:
    with pytest.raises(ValueError, match="spacing"):
        ImageGeometry(Modality.MR, (1.0, 1.0, -1.0))


@pytest.mark.parametrize(
    ("sad_mm", "sid_mm"),
    [(1000.0, 0.0), (0.0, 1500.0), (-1000.0, -1500.0), (np.nan, np.nan), (1000.0, np.inf)],
    ids=["no-detector", "no-isocentre", "negative", "nan", "infinite"],
)
def test_projection_needs_both_distances(sad_mm: float, sid_mm: float) -> None:
    with pytest.raises(ValueError, match="distance"):
        plane(sad_mm=sad_mm, sid_mm=sid_mm)


def test_detector_lies_beyond_the_isocentre() -> None:
    with pytest.raises(ValueError, match="before the isocentre"):
        ImageGeometry(Modality.PORTAL, (0.4, 0.4, 0.0), sad_mm=1500.0, sid_mm=1000.0)

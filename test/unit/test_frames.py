"""Frames of reference: every sign, checked against what the standards say in words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtrack_ros.core import frames
from lmtrack_ros.core.frames import PatientPosition, View

# IEC 61217, seen by someone at the foot of the couch who faces the gantry
RIGHT, LEFT = (1, 0, 0), (-1, 0, 0)
TOWARDS_GANTRY, AWAY_FROM_GANTRY = (0, 1, 0), (0, -1, 0)
UP, DOWN = (0, 0, 1), (0, 0, -1)

# DICOM: x increases to the patient's left, y to the back, z to the head
PATIENT_LEFT, PATIENT_BACK, PATIENT_HEAD = (1, 0, 0), (0, 1, 0), (0, 0, 1)

ANGLES = st.floats(-np.pi, np.pi)


def direction(transform: frames.Array, vector: tuple[int, int, int]) -> list[float]:
    return (transform[:3, :3] @ vector).tolist()


@pytest.mark.parametrize(
    ("position", "axis", "expected"),
    [
        # head first: the head points at the gantry; supine: the back lies on the couch
        pytest.param("HFS", PATIENT_HEAD, TOWARDS_GANTRY, id="HFS-head"),
        pytest.param("HFS", PATIENT_BACK, DOWN, id="HFS-back"),
        pytest.param("HFS", PATIENT_LEFT, RIGHT, id="HFS-left"),
        # turned face down, the left changes sides
        pytest.param("HFP", PATIENT_HEAD, TOWARDS_GANTRY, id="HFP-head"),
        pytest.param("HFP", PATIENT_BACK, UP, id="HFP-back"),
        pytest.param("HFP", PATIENT_LEFT, LEFT, id="HFP-left"),
        pytest.param("FFS", PATIENT_HEAD, AWAY_FROM_GANTRY, id="FFS-head"),
        pytest.param("FFS", PATIENT_BACK, DOWN, id="FFS-back"),
        pytest.param("FFS", PATIENT_LEFT, LEFT, id="FFS-left"),
        pytest.param("FFP", PATIENT_HEAD, AWAY_FROM_GANTRY, id="FFP-head"),
        pytest.param("FFP", PATIENT_BACK, UP, id="FFP-back"),
        pytest.param("FFP", PATIENT_LEFT, RIGHT, id="FFP-left"),
    ],
)
def test_patient_axes_in_table_top(
    position: str, axis: tuple[int, int, int], expected: tuple[int, int, int]
) -> None:
    transform = frames.table_top_from_patient(PatientPosition(position))
    assert direction(transform, axis) == list(expected)


@pytest.mark.parametrize("position", list(PatientPosition))
def test_patient_origin_is_given_in_table_top(position: PatientPosition) -> None:
    transform = frames.table_top_from_patient(position, (1, 2, 3))
    assert frames.apply(transform, (0, 0, 0)).tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("view", "axis", "expected"),
    [
        # the patient lies head first and supine, so the feet are away from the gantry and the back down
        pytest.param("longitudinal", "columns", AWAY_FROM_GANTRY, id="longitudinal-columns-to-the-feet"),
        pytest.param("longitudinal", "rows", DOWN, id="longitudinal-rows-to-the-back"),
        pytest.param("longitudinal", "depth", RIGHT, id="longitudinal-into-the-image"),
        pytest.param("sagittal", "columns", DOWN, id="sagittal-columns-to-the-back"),
        pytest.param("sagittal", "rows", AWAY_FROM_GANTRY, id="sagittal-rows-to-the-feet"),
        pytest.param("sagittal", "depth", LEFT, id="sagittal-into-the-image"),
        pytest.param("coronal", "columns", RIGHT, id="coronal-columns-to-the-left-side"),
        pytest.param("coronal", "rows", AWAY_FROM_GANTRY, id="coronal-rows-to-the-feet"),
        pytest.param("coronal", "depth", DOWN, id="coronal-into-the-image"),
        pytest.param("axial", "columns", RIGHT, id="axial-columns-to-the-left-side"),
        pytest.param("axial", "rows", DOWN, id="axial-rows-to-the-back"),
        pytest.param("axial", "depth", TOWARDS_GANTRY, id="axial-into-the-image"),
    ],
)
def test_image_axes_in_isocenter(view: str, axis: str, expected: tuple[int, int, int]) -> None:
    image_axis = {"columns": (1, 0, 0), "rows": (0, 1, 0), "depth": (0, 0, 1)}[axis]
    assert direction(frames.isocenter_from_image(View(view)), image_axis) == list(expected)


@pytest.mark.parametrize("view", list(View))
def test_image_origin_is_the_first_pixel(view: View) -> None:
    transform = frames.isocenter_from_image(view, (4, 5, 6))
    assert frames.apply(transform, (0, 0, 0)).tolist() == [4, 5, 6]


@pytest.mark.parametrize(
    ("rotation_rad", "point", "expected"),
    [
        pytest.param((np.pi / 2, 0, 0), TOWARDS_GANTRY, UP, id="about-X-turns-Y-to-Z"),
        pytest.param((0, np.pi / 2, 0), UP, RIGHT, id="about-Y-turns-Z-to-X"),
        pytest.param((0, 0, np.pi / 2), RIGHT, TOWARDS_GANTRY, id="about-Z-turns-X-to-Y"),
        # X first takes Y to Z, Z then leaves it; in the other order Y would end on -X
        pytest.param((np.pi / 2, 0, np.pi / 2), TOWARDS_GANTRY, UP, id="X-before-Z"),
        # X first takes Y to Z, Y then takes Z to X; in the other order Y would end on Z
        pytest.param((np.pi / 2, np.pi / 2, 0), TOWARDS_GANTRY, RIGHT, id="X-before-Y"),
        # Y first takes Z to X, Z then takes X to Y; in the other order Z would end on X
        pytest.param((0, np.pi / 2, np.pi / 2), UP, TOWARDS_GANTRY, id="Y-before-Z"),
    ],
)
def test_couch_rotation_sign_and_order(
    rotation_rad: tuple[float, float, float], point: tuple[int, int, int], expected: tuple[int, int, int]
) -> None:
    transform = frames.isocenter_from_table_top((0, 0, 0), rotation_rad)
    np.testing.assert_allclose(frames.apply(transform, point), expected, atol=1e-12)


def test_couch_translation_is_not_rotated() -> None:
    transform = frames.isocenter_from_table_top((10, 20, 30), (0, 0, np.pi / 2))
    np.testing.assert_allclose(frames.apply(transform, (1, 0, 0)), (10, 21, 30), atol=1e-12)


def test_patient_to_isocenter_over_a_moved_couch() -> None:
    """A point 10 mm to the head of an HFS patient is that far towards the gantry, as high as the couch."""
    table_top = frames.table_top_from_patient(PatientPosition.HFS)
    isocenter = frames.isocenter_from_table_top((0, 0, 3))
    assert frames.apply(isocenter @ table_top, (0, 0, 10)).tolist() == [0, 10, 3]


@given(st.tuples(ANGLES, ANGLES, ANGLES), st.tuples(*[st.floats(-500, 500)] * 3))
def test_inverse_undoes_a_transform(
    rotation_rad: tuple[float, float, float], point: tuple[float, float, float]
) -> None:
    transform = frames.isocenter_from_table_top((12, -7, 30), rotation_rad)
    there = frames.apply(transform, point)
    np.testing.assert_allclose(frames.apply(frames.inverse(transform), there), point, atol=1e-9)


def test_apply_maps_many_points() -> None:
    points = np.arange(12.0).reshape(2, 2, 3)
    moved = frames.apply(frames.rigid(translation_mm=(1, 2, 3)), points)
    np.testing.assert_array_equal(moved, points + np.array([1, 2, 3]))


@given(st.tuples(ANGLES, ANGLES, ANGLES))
def test_quaternion_round_trip(rotation_rad: tuple[float, float, float]) -> None:
    rotation = frames.isocenter_from_table_top((0, 0, 0), rotation_rad)[:3, :3]
    quaternion = frames.quaternion_from_rotation(rotation)
    assert quaternion[3] >= 0
    assert np.linalg.norm(quaternion) == pytest.approx(1)
    np.testing.assert_allclose(frames.rotation_from_quaternion(quaternion), rotation, atol=1e-9)


@pytest.mark.parametrize(
    ("rotation_rad", "expected"),
    [
        # half turns, where the trace is least, and a quarter turn for the sign
        pytest.param((np.pi, 0, 0), (1, 0, 0, 0), id="half-turn-X"),
        pytest.param((0, np.pi, 0), (0, 1, 0, 0), id="half-turn-Y"),
        pytest.param((0, 0, np.pi), (0, 0, 1, 0), id="half-turn-Z"),
        pytest.param((0, 0, np.pi / 2), (0, 0, np.sqrt(0.5), np.sqrt(0.5)), id="quarter-turn-Z"),
    ],
)
def test_quaternion_of_known_turns(
    rotation_rad: tuple[float, float, float], expected: tuple[float, ...]
) -> None:
    rotation = frames.isocenter_from_table_top((0, 0, 0), rotation_rad)[:3, :3]
    quaternion = np.array(frames.quaternion_from_rotation(rotation))
    # a half turn may be named by either of two opposite quaternions
    assert abs(quaternion @ expected) == pytest.approx(1)
    if expected[3]:
        np.testing.assert_allclose(quaternion, expected, atol=1e-12)


@pytest.mark.parametrize(
    "rotation",
    [
        pytest.param(np.diag([1, 1, -1]), id="mirror"),
        pytest.param(2 * np.eye(3), id="scaled"),
        pytest.param([[1, 0.1, 0], [0, 1, 0], [0, 0, 1]], id="sheared"),
        pytest.param(np.zeros((3, 3)), id="zero"),
        pytest.param(np.full((3, 3), np.nan), id="nan"),
    ],
)
def test_only_rotations_are_rigid(rotation: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"not a rotation|finite"):
        frames.rigid(rotation)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_translation_must_be_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        frames.rigid(translation_mm=(0, bad, 0))


@pytest.mark.parametrize(
    "quaternion", [(0, 0, 0, 0), (0, 0, 0, 2), (np.nan, 0, 0, 1)], ids=["zero", "long", "nan"]
)
def test_only_unit_quaternions_are_rotations(quaternion: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="unit quaternion"):
        frames.rotation_from_quaternion(quaternion)


def test_almost_unit_quaternion_gives_an_exact_rotation() -> None:
    """A quaternion that lost digits on the wire still passes as a rigid rotation."""
    rotation = frames.rotation_from_quaternion((0.1826, 0.3651, 0.5477, 0.7303))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)

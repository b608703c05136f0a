"""Standard planes from landmarks, and landmarks from labels, against cases worked out by hand."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

pytest.importorskip("torch")

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.evaluation.studies import Order, find_study
from lmtrack_ros.evaluation.volume_study import path, prostates
from lmtrack_ros.models.patch_iterative.planes import STANDARD_PLANES, deviation, standard_plane
from lmtrack_ros.phantoms.volume_ultrasound.head import LANDMARKS, FetalHead

HEAD = FetalHead.draw(np.random.default_rng(0))


@pytest.mark.parametrize("name", STANDARD_PLANES)
def test_planes_of_a_head_hold_its_landmarks(name: str) -> None:
    landmarks = HEAD.landmarks_mm()
    plane = standard_plane(name, landmarks)
    for one in STANDARD_PLANES[name]:
        assert abs((landmarks[one] - plane.middle_mm) @ plane.axes[:, 2]) < 1e-6
        flat = plane.flat_mm(landmarks[one])
        np.testing.assert_allclose(plane.point_mm(flat[..., 0], flat[..., 1]), landmarks[one], atol=1e-6)
    np.testing.assert_allclose(plane.axes.T @ plane.axes, np.eye(3), atol=1e-9)
    # to the front, to the left, up
    assert plane.axes[1, 0] > 0.8
    assert plane.axes[0, 1] > 0.99
    assert plane.axes[2, 2] > 0.8


def test_planes_meet_at_the_pitch_of_the_head() -> None:
    planes = [standard_plane(name, HEAD.landmarks_mm()) for name in ("TV", "TC")]
    assert deviation(*planes).angle_deg == pytest.approx(np.degrees(HEAD.pitch_rad), abs=1e-6)


def test_deviation_of_a_moved_and_turned_plane() -> None:
    landmarks = HEAD.landmarks_mm()
    true = standard_plane("TV", landmarks)
    raised = {name: at + np.array([0.0, 0.0, 2.5]) for name, at in landmarks.items()}
    found = deviation(standard_plane("TV", raised), true)
    assert found.distance_mm == pytest.approx(2.5)
    assert found.angle_deg == pytest.approx(0.0, abs=1e-5)
    turn = Rotation.from_rotvec(np.radians([0.0, 7.0, 0.0])).as_matrix()
    turned = {name: turn @ (at - true.middle_mm) + true.middle_mm for name, at in landmarks.items()}
    found = deviation(standard_plane("TV", turned), true)
    assert found.distance_mm == pytest.approx(0.0, abs=1e-6)
    assert found.angle_deg == pytest.approx(7.0)


def test_outermost_points_of_a_label() -> None:
    inside = np.zeros((9, 10, 11), bool)
    inside[2:6, 3:8, 4:7] = True
    inside[6, 5, 5] = True
    points = dict(zip(prostates.LANDMARKS, prostates.outermost(inside), strict=True))
    assert points["anterior"].tolist() == [4.0, 5.0, 3.5]
    assert points["posterior"].tolist() == [6.0, 5.0, 3.5]
    assert points["left"].tolist() == [5.0, 3.0, 3.5]
    assert points["right"].tolist() == [5.0, 7.0, 3.5]
    assert points["low"].tolist() == [5.0, 5.0, 2.0]
    assert points["high"].tolist() == [5.0, 5.0, 6.0]
    assert points["center"] == pytest.approx([5.0, 5.0, np.mean([3.5] * 60 + [6.0])])


@pytest.mark.parametrize("study", [prostates, path])
def test_study_of_recordings_says_what_it_needs(study: object, tmp_path: Path) -> None:
    def quiet(what: str, done: int, total: int) -> None:
        """Show nothing."""

    for recordings in ((), (tmp_path,)):
        order = Order("", tmp_path, tmp_path, "", quiet, recordings)
        with pytest.raises(UserError, match=r"--recordings|must hold"):
            study.conduct(order)  # type: ignore[attr-defined]


def test_landmarks_of_the_planes_are_known() -> None:
    assert {one for names in STANDARD_PLANES.values() for one in names} == set(LANDMARKS)
    assert find_study("patch_iterative", "heads").name == "heads"

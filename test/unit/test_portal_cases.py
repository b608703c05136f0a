"""Radiographs of patients in many poses: what they show agrees with where the patients lie."""

from pathlib import Path

import numpy as np
import pytest

from lmtrack_ros.core import frames
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.phantoms import portal_cases
from lmtrack_ros.phantoms.portal import LANDMARK_NAMES, SIZE_PX
from lmtrack_ros.phantoms.portal_cases import VIEWS, Radiographs
from lmtrack_ros.registration.sights import projected

SPINE = slice(0, 5)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Radiographs, Path]:
    folder = tmp_path_factory.mktemp("radiographs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(portal_cases, "POSES", 2)
        patch.setattr(portal_cases, "_TURNS", 1)
        return portal_cases.load([7], folder)[0], folder


def test_landmarks_of_the_spine_show_where_plan_and_setup_error_put_them(
    kept: tuple[Radiographs, Path],
) -> None:
    radiographs, _ = kept
    assert radiographs.images.shape == (2, 4, SIZE_PX, SIZE_PX)
    for pose in range(2):
        for number, view in enumerate(VIEWS):
            lies = np.eye(4) if view.is_reference else radiographs.setup_errors[pose]
            positions = frames.apply(lies, radiographs.planned_mm[pose])
            away_px = projected(view.geometry.projection, positions) - radiographs.uv_px[pose, number]
            seen = np.isfinite(away_px).all(axis=1)
            assert np.abs(away_px[SPINE][seen[SPINE]]).max() < 0.05
            # the bifurcation breathes, in the portal images alone
            assert np.nanmax(np.abs(away_px[5])) < (0.05 if view.is_reference else 12.0)


def test_poses_differ_and_landmarks_outside_the_field_are_none(kept: tuple[Radiographs, Path]) -> None:
    radiographs, _ = kept
    first, second = radiographs.setup_errors
    assert not np.allclose(first, second, atol=1.0)
    for pose in range(2):
        for number in (0, 1):
            image = radiographs.images[pose, number].astype(float)
            for uv in radiographs.uv_px[pose, number]:
                if np.isfinite(uv).all():
                    column, row = np.rint(uv).astype(int)
                    # beyond the jaws the display is white
                    assert image[row, column] < 250
    assert np.isnan(radiographs.uv_px[:, 0, LANDMARK_NAMES.index("sternal_angle")]).all()


def test_what_is_kept_is_read_and_not_made_again(
    kept: tuple[Radiographs, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    radiographs, folder = kept
    monkeypatch.setattr(portal_cases, "POSES", 2)
    monkeypatch.setattr(portal_cases, "_TURNS", 1)
    monkeypatch.setattr(portal_cases, "_rendered", None)
    (again,) = portal_cases.load([7], folder)
    np.testing.assert_array_equal(again.images, radiographs.images)
    np.testing.assert_array_equal(again.uv_px, radiographs.uv_px)


def test_folder_that_cannot_be_written_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: tuple[Radiographs, Path]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(portal_cases, "_rendered", lambda _: kept[0])
    with pytest.raises(UserError, match="cannot keep rendered radiographs"):
        portal_cases.load([8], tmp_path / "file")

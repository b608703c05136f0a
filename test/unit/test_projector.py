"""Projections of breathing slices, against rays that are followed through the body step by step."""

import numpy as np
import pytest
from scipy import ndimage

from lmtrack_ros.core import frames
from lmtrack_ros.core.geometry import Modality, Mount
from lmtrack_ros.phantoms.deformation import BodyState, Deformation
from lmtrack_ros.phantoms.xray.projector import Layer, Projector, projection_geometry
from lmtrack_ros.phantoms.xray.solids import Grid, add_ellipsoid

SIZE_PX = 96
PIXEL_MM = 3.0
GRID = Grid((80, 100, 90), (2.0, 2.0, 2.0), (5.0, -4.0, 3.0))
DEFORMATION = Deformation(chest_mm=15.0, heartbeat_mm=4.0, heart_mm=(20.0, 10.0, 10.0))
REST = BodyState(np.zeros(3), 0.0, 0.0)
DRAWN = BodyState(np.array([1.0, -18.0, 4.0]), 0.8, 1.0)
STILL = np.zeros(3)


def _projector(gantry_deg, placed=None, deformation=DEFORMATION):
    geometry = projection_geometry(Modality.FLUOROSCOPY, SIZE_PX, PIXEL_MM, gantry_deg, Mount.ROOM)
    return Projector(deformation, geometry, SIZE_PX, placed), geometry


def _blob(center_mm, radius_mm=3.0):
    values = np.zeros(GRID.shape, np.float32)
    add_ellipsoid(GRID, values, center_mm, (radius_mm,) * 3)
    return values


def _centroid(picture):
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    return np.array([(columns * picture).sum(), (rows * picture).sum()]) / picture.sum()


def _pixel(geometry, position_mm):
    column, row, scale = geometry.projection @ np.append(position_mm, 1.0)
    return np.array([column, row]) / scale


@pytest.mark.parametrize("gantry_deg", [0.0, 90.0, -37.0, 180.0])
@pytest.mark.parametrize("slides", [True, False], ids=["organ", "wall"])
def test_a_ball_shows_where_the_projection_matrix_puts_it(gantry_deg, slides):
    projector, geometry = _projector(gantry_deg)
    center = np.array([30.0, 25.0, -28.0])
    slices = projector.cut(Layer(GRID, _blob(center), slides))
    weigh = DEFORMATION.weights if slides else DEFORMATION.wall_weights
    for state, couch in ((REST, STILL), (DRAWN, STILL), (DRAWN, np.array([-7.0, 9.0, 14.0]))):
        moved = center + weigh(center).displacement_mm(state, DEFORMATION.chest_mm) + couch
        seen = _centroid(projector.project(slices, state, couch))
        assert np.allclose(seen, _pixel(geometry, moved), atol=0.1)


@pytest.mark.parametrize("state", [REST, DRAWN], ids=["rest", "drawn"])
@pytest.mark.parametrize("gantry_deg", [0.0, 55.0])
def test_line_integrals_agree_with_rays_followed_through_the_deformed_body(gantry_deg, state):
    values = ndimage.gaussian_filter(np.random.default_rng(1).random(GRID.shape), 3.0)
    values = np.clip(values - values.mean(), 0.0, None).astype(np.float32)
    for axis in range(3):
        np.moveaxis(values, axis, 0)[:12] = np.moveaxis(values, axis, 0)[-12:] = 0.0
    # attenuation is kept along the depth, which a chest that is pulled thicker would show
    deformation = Deformation(chest_mm=0.0, heartbeat_mm=0.0)
    projector, geometry = _projector(gantry_deg, deformation=deformation)
    picture = projector.project(projector.cut(Layer(GRID, values, True)), state, STILL)
    source_mm = geometry.pose[:3, :3] @ np.array([0.0, 0.0, -geometry.sad_mm])
    along = np.arange(850.0, 1150.0, 1.0)[:, None] / geometry.sad_mm
    expected, found = [], []
    for column in range(20, 76, 7):
        for row in range(20, 76, 7):
            ray = geometry.position_mm((column, row)) - source_mm
            inside = GRID.index(deformation.origin_mm(source_mm + along * ray, state))
            sampled = ndimage.map_coordinates(values, inside.T, order=1)
            expected.append(sampled.sum() * np.linalg.norm(ray) / geometry.sad_mm)
            found.append(picture[row, column])
    assert np.corrcoef(found, expected)[0, 1] > 0.998
    assert np.mean(found) == pytest.approx(np.mean(expected), rel=0.01)


def test_the_couch_towards_the_source_magnifies():
    projector, _ = _projector(0.0)
    slices = projector.cut(Layer(GRID, _blob((0.0, 0.0, 0.0), 12.0), False))
    usual = (projector.project(slices, REST, STILL) > 2.0).sum()
    near = (projector.project(slices, REST, np.array([0.0, 0.0, 300.0])) > 2.0).sum()
    # twice (1000 / 700) the size in each direction
    assert near / usual == pytest.approx((1000 / 700) ** 2, rel=0.06)


def test_a_placed_body_shows_where_its_pose_puts_it():
    placed = frames.isocenter_from_table_top((16.0, -4.0, 3.0), np.radians((2.0, -3.0, 5.0)))
    projector, geometry = _projector(30.0, placed)
    center = np.array([30.0, 25.0, -28.0])
    seen = _centroid(projector.project(projector.cut(Layer(GRID, _blob(center), False)), REST, STILL))
    assert np.allclose(seen, _pixel(geometry, frames.apply(placed, center)), atol=0.1)
    assert not np.allclose(seen, _pixel(geometry, center), atol=1.0)

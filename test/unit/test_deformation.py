"""The deformation: what moves fully, less and not at all, and that it can be undone."""

import numpy as np
import pytest

from lmtrack_ros.phantoms.deformation import BodyState, Deformation
from lmtrack_ros.phantoms.motion import Breathing, MotionParameters

INHALED = BodyState(np.array([1.0, -20.0, 4.0]), 1.0, 0.0)
DEFORMATION = Deformation(dome_y_mm=10.0, chest_mm=12.0, heartbeat_mm=6.0)


def moved_mm(point_mm: tuple[float, float, float], state: BodyState = INHALED) -> np.ndarray:
    point = np.array(point_mm)
    return DEFORMATION.displaced_mm(point, state) - point


def test_the_dome_moves_with_the_diaphragm() -> None:
    np.testing.assert_allclose(moved_mm((-60.0, 10.0, -80.0)), INHALED.diaphragm_mm, atol=1e-9)


def test_motion_decays_away_from_the_diaphragm() -> None:
    """Into the lung faster than into the abdomen."""
    heights_mm = (10.0, 60.0, 110.0, 210.0)
    lung = [-moved_mm((-60.0, y, -80.0))[1] for y in heights_mm]
    assert lung == sorted(lung, reverse=True)
    assert lung[-1] < 0.1 * lung[0]
    liver, lobe = (-moved_mm((-60.0, y, -80.0))[1] for y in (10.0 - 80.0, 10.0 + 80.0))
    assert liver > 1.3 * lobe


def test_wall_slides_along_the_organs() -> None:
    """Where the lung moves by all of the diaphragm's motion, the wall beside it moves only to the front."""
    point = np.array([-60.0, 10.0, 0.0])
    wall = DEFORMATION.wall_weights(point).displacement_mm(INHALED, DEFORMATION.chest_mm)
    np.testing.assert_allclose(wall[:2], 0, atol=1e-12)
    assert 0 < wall[2] < 12.0


def test_chest_is_lifted_at_the_front_only() -> None:
    wall_z_mm = [
        float(DEFORMATION.wall_weights(np.array([0.0, 50.0, z])).displacement_mm(INHALED, 12.0)[2])
        for z in (-100.0, -80.0, 10.0, 100.0, 120.0)
    ]
    assert wall_z_mm == sorted(wall_z_mm)
    assert wall_z_mm[:2] == [0.0, 0.0]
    assert wall_z_mm[3:] == [12.0, 12.0]


def test_heart_shrinks_towards_its_centre() -> None:
    beating = BodyState(np.zeros(3), 0.0, 1.0)
    centre = np.array(DEFORMATION.heart_mm)
    np.testing.assert_allclose(moved_mm(tuple(centre), beating), 0, atol=1e-12)
    distances_mm = np.linspace(1.0, 200.0, 100)
    inwards = np.array([-moved_mm((centre[0] + d, centre[1], centre[2]), beating)[0] for d in distances_mm])
    assert inwards.max() == pytest.approx(6.0, rel=0.02)
    assert inwards[-1] < 0.01


@pytest.mark.parametrize("diaphragm_mm", [(0, 20, 0), (2, -40, 8), (-1, -15, 3), (0, -80, 10)])
def test_origin_undoes_the_displacement(diaphragm_mm: tuple[float, float, float]) -> None:
    state = BodyState(np.array(diaphragm_mm, dtype=float), 1.2, 0.7)
    points = np.random.default_rng(0).uniform(-150, 150, (500, 3))
    there = DEFORMATION.displaced_mm(points, state)
    np.testing.assert_allclose(DEFORMATION.origin_mm(there, state), points, atol=2e-3)


def test_tissue_is_never_folded() -> None:
    """Along the body the order of points stays, at the deepest breath that is simulated."""
    state = BodyState(np.array([0.0, -60.0, 10.0]), 2.0, 1.0)
    line = np.stack([np.full(400, -40.0), np.linspace(-300, 300, 400), np.full(400, 20.0)], axis=1)
    assert (np.diff(DEFORMATION.displaced_mm(line, state)[:, 1]) > 0).all()


def test_state_follows_the_motion() -> None:
    breathing = Breathing(MotionParameters())
    state = BodyState.at(breathing, 0.3)
    np.testing.assert_array_equal(state.diaphragm_mm, breathing.displacement_mm(0.3))
    assert (state.inhaled, state.contracted) == (breathing.inhaled(0.3), breathing.contracted(0.3))

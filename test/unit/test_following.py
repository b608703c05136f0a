"""What becomes of the places that a network finds: refined, doubted, or carried along with the tissue."""

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lmtrack_ros.core.records import Landmark
from lmtrack_ros.models.calibration import Calibration
from lmtrack_ros.models.following import CONTINUED, DOUBTED, REFINED, UNVERIFIED, Follower
from lmtrack_ros.models.tracking import Measurement
from lmtrack_ros.trackers.refinement import RefinementParameters, Refiner

CALIBRATION = Calibration({"network": {1: 1.0, 2: 1.0}}, 5)
MARKED = (80.0, 60.0)
SURE = np.full(2, 1.0)


def texture(seed: int) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).standard_normal((140, 180)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return np.asarray((smooth - smooth.mean()) / smooth.std(), dtype=np.float32)


def moved(image: NDArray[np.float32], columns: int) -> NDArray[np.float32]:
    return np.roll(image, columns, axis=1)


@pytest.fixture
def follower() -> Follower:
    landmark = Landmark("vessel", MARKED)
    refiner = Refiner(RefinementParameters(), texture(0), [landmark])
    return Follower(landmark, 0, refiner, np.ones(2), sure_mm=17.0, step_mm=6.0)


def last(follower: Follower, image: NDArray[np.float32], found: tuple[float, float]) -> Measurement:
    *_, measurement = follower.measured(image, np.array(found), SURE, CALIBRATION)
    return measurement


def test_place_near_what_the_network_finds_is_refined(follower: Follower) -> None:
    measured = last(follower, moved(texture(0), 3), (84.5, 59.0))
    assert measured.kind == REFINED
    np.testing.assert_allclose(measured.uv_px, (83.0, 60.0), atol=0.1)


def test_leap_to_what_is_no_more_alike_is_not_made(follower: Follower) -> None:
    twice = texture(0)
    twice[40:81, 110:151] = twice[40:81, 60:101]
    measured = last(follower, twice, (130.0, 60.0))
    assert measured.kind == CONTINUED
    np.testing.assert_allclose(measured.uv_px, MARKED, atol=0.1)


def test_leap_is_made_in_doubt_where_the_landmark_is(follower: Follower) -> None:
    measured = last(follower, moved(texture(0), 30), (110.5, 60.5))
    assert measured.kind == DOUBTED
    np.testing.assert_allclose(measured.uv_px, (110.0, 60.0), atol=0.1)


def hidden(columns_each: int) -> Iterator[NDArray[np.float32]]:
    """Yield frames in which nothing is like the landmark, but moves on as it would."""
    for number in range(1, 6):
        yield moved(texture(1), columns_each * number)


def test_what_is_not_verified_goes_with_the_tissue(follower: Follower) -> None:
    nowhere = (20.0, 110.0)
    last(follower, moved(texture(0), 0), MARKED)
    for number, image in enumerate(hidden(2), 1):
        measured = last(follower, image, nowhere)
        assert measured.kind == UNVERIFIED
        # what is round it is seen first in the second of these frames
        np.testing.assert_allclose(measured.uv_px, (80.0 + 2 * (number - 1), 60.0), atol=0.1)
        np.testing.assert_allclose(measured.sigma_px, number**0.5)
    again = last(follower, moved(texture(0), 9), nowhere)
    assert again.kind == CONTINUED
    np.testing.assert_allclose(again.uv_px, (89.0, 60.0), atol=0.1)
    assert last(follower, moved(texture(1), 9), nowhere).sigma_px[0] == 1.0


def test_nothing_is_carried_where_tissue_is_not_recognised(follower: Follower) -> None:
    for seed in range(2, 6):
        measured = last(follower, texture(seed), (20.0, 110.0))
        assert measured.kind == UNVERIFIED
        np.testing.assert_allclose(measured.uv_px, MARKED)


def test_axis_that_is_not_defined_stays_where_it_was_marked() -> None:
    dome = Landmark("dome", MARKED, (False, True))
    refiner = Refiner(RefinementParameters(), texture(0), [dome])
    follower = Follower(dome, 0, refiner, np.ones(2), sure_mm=17.0, step_mm=6.0)
    for image in (texture(1), *hidden(2)):
        measured = last(follower, image, (20.0, 110.0))
        assert measured.kind == UNVERIFIED
        assert measured.uv_px[0] == MARKED[0]


def test_no_place_is_no_measurement(follower: Follower) -> None:
    assert follower.measured(texture(0), np.full(2, np.nan), SURE, CALIBRATION) == ()
    assert follower.measured(texture(0), np.array(MARKED), np.full(2, np.nan), CALIBRATION) == ()

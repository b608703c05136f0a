"""What becomes of the places that a network finds: refined, doubted, or carried along with the tissue."""

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lmtrack_ros.core.records import Landmark
from lmtrack_ros.models.calibration import Calibration
from lmtrack_ros.models.following import ASTRAY, CONTINUED, DOUBTED, REFINED, UNVERIFIED, Follower
from lmtrack_ros.models.tracking import Measurement
from lmtrack_ros.trackers.refinement import RefinementParameters, Refiner

CALIBRATION = Calibration({"network": {1: 1.0, 2: 1.0}}, 5)
MARKED = (80.0, 60.0)
SURE, UNSURE = np.full(2, 1.0), np.full(2, 10.0)


def texture(seed: int) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).standard_normal((140, 180)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return np.asarray((smooth - smooth.mean()) / smooth.std(), dtype=np.float32)


def moved(image: NDArray[np.float32], columns: int) -> NDArray[np.float32]:
    return np.roll(image, columns, axis=1)


def following(landmark: Landmark, step_mm: float) -> Follower:
    refiner = Refiner(RefinementParameters(), texture(0), [landmark])
    return Follower(landmark, 0, refiner, np.ones(2), sure_px=np.full(2, 17.0), step_mm=step_mm)


@pytest.fixture
def follower() -> Follower:
    return following(Landmark("vessel", MARKED), step_mm=6.0)


def last(
    follower: Follower,
    image: NDArray[np.float32],
    found: tuple[float, float],
    sigma_px: NDArray[np.float64] = SURE,
) -> Measurement:
    *_, measurement = follower.measured(image, np.array(found), sigma_px, CALIBRATION)
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


def test_leap_is_made_where_the_landmark_is(follower: Follower) -> None:
    measured = last(follower, moved(texture(0), 30), (110.5, 60.5))
    assert measured.kind == ASTRAY
    np.testing.assert_allclose(measured.uv_px, (110.0, 60.0), atol=0.1)


FAR = (20.0, 110.0)


def fading(columns_each: int) -> Iterator[NDArray[np.float32]]:
    """Yield frames that look less and less like the first, bit by bit, and move on."""
    for number in range(1, 12):
        mixed = texture(0) + 0.4 * number * texture(1)
        yield moved((mixed / mixed.std()).astype(np.float32), columns_each * number)


def test_what_is_not_verified_goes_with_the_tissue(follower: Follower) -> None:
    unverified = 0
    for number, image in enumerate(fading(2), 1):
        measured = last(follower, image, FAR)
        assert measured.kind in (CONTINUED, UNVERIFIED)
        np.testing.assert_allclose(measured.uv_px, (80.0 + 2 * number, 60.0), atol=1.0)
        if measured.kind == UNVERIFIED:
            unverified += 1
            np.testing.assert_allclose(measured.sigma_px, unverified**0.5)
    assert unverified > 3
    again = last(follower, moved(texture(0), 24), (104.4, 60.2))
    assert again.kind == REFINED
    np.testing.assert_allclose(again.uv_px, (104.0, 60.0), atol=0.1)


def test_where_all_has_jumped_the_network_has_the_word(follower: Follower) -> None:
    last(follower, texture(0), MARKED)
    for seed in range(2, 6):
        measured = last(follower, texture(seed), FAR)
        assert measured.kind == ASTRAY
        np.testing.assert_allclose(measured.uv_px, FAR)


def test_after_a_leap_a_landmark_is_not_known_for_some_frames(follower: Follower) -> None:
    kinds = [last(follower, moved(texture(0), 30), (110.0, 60.0)).kind for _ in range(8)]
    assert kinds == [ASTRAY] * 5 + [REFINED] * 3


def test_landmark_is_found_again_where_the_network_does_not_look(follower: Follower) -> None:
    last(follower, texture(0), MARKED)
    measured = last(follower, moved(texture(0), 18), FAR)
    assert measured.kind == ASTRAY
    np.testing.assert_allclose(measured.uv_px, (98.0, 60.0), atol=0.1)


def test_what_slips_from_its_tissue_is_not_known() -> None:
    follower = following(Landmark("vessel", MARKED), step_mm=30.0)
    changed = (0.6 * texture(0) + 0.8 * texture(3)).astype(np.float32)
    assert last(follower, changed, FAR).kind == CONTINUED
    changed[47:74, 89:116] = texture(0)[47:74, 67:94]
    kinds = []
    for _ in range(7):
        measured = last(follower, changed, FAR)
        kinds.append(measured.kind)
        np.testing.assert_allclose(measured.uv_px, (102.0, 60.0), atol=0.1)
    assert kinds == [ASTRAY] * 5 + [CONTINUED] * 2


def test_network_that_is_not_sure_takes_only_what_looks_the_same(follower: Follower) -> None:
    for _ in range(2):
        last(follower, texture(0), MARKED)
    kinds = [last(follower, texture(0), MARKED, UNSURE).kind for _ in range(4)]
    assert kinds == [REFINED] * 2 + [DOUBTED] * 2
    faint = (0.8 * texture(0) + 0.6 * texture(3)).astype(np.float32)
    assert last(follower, faint, MARKED, UNSURE).kind == ASTRAY
    kinds = [last(follower, texture(0), MARKED, UNSURE).kind for _ in range(7)]
    assert kinds == [ASTRAY] * 5 + [DOUBTED] * 2
    kinds = [last(follower, faint, MARKED).kind for _ in range(4)]
    assert kinds[-1] == ASTRAY


def test_network_that_is_sure_takes_what_looks_less_alike(follower: Follower) -> None:
    for _ in range(2):
        last(follower, texture(0), MARKED)
    faint = (0.8 * texture(0) + 0.6 * texture(3)).astype(np.float32)
    assert last(follower, faint, MARKED).kind == REFINED


def test_unfamiliar_look_elsewhere_is_not_the_landmark_while_its_tissue_moves_on(follower: Follower) -> None:
    for _ in range(3):
        last(follower, texture(0), MARKED)
    *_, hidden = list(fading(0))
    for image in fading(0):
        last(follower, image, FAR)
    faint = 0.62 * texture(0) + 0.78 * texture(3)
    elsewhere = hidden.copy()
    elsewhere[80:121, 10:51] = faint[40:81, 60:101]
    measured = last(follower, elsewhere, (30.0, 100.0))
    assert measured.kind == UNVERIFIED
    np.testing.assert_allclose(measured.uv_px, MARKED, atol=1.0)
    elsewhere[80:121, 10:51] = texture(0)[40:81, 60:101]
    measured = last(follower, elsewhere, (30.0, 100.0))
    assert measured.kind == ASTRAY
    np.testing.assert_allclose(measured.uv_px, (30.0, 100.0), atol=0.1)


def test_axis_that_is_not_defined_stays_where_it_was_marked() -> None:
    dome = Landmark("dome", MARKED, (False, True))
    follower = following(dome, step_mm=6.0)
    for image in (texture(1), *fading(2)):
        assert last(follower, image, FAR).uv_px[0] == pytest.approx(MARKED[0], abs=3.1)


def test_no_place_is_no_measurement(follower: Follower) -> None:
    assert follower.measured(texture(0), np.full(2, np.nan), SURE, CALIBRATION) == ()
    assert follower.measured(texture(0), np.array(MARKED), np.full(2, np.nan), CALIBRATION) == ()


def test_what_leaves_the_image_is_found_when_it_is_back(follower: Follower) -> None:
    last(follower, texture(0), MARKED)
    for seed in range(50):
        noise = np.random.default_rng(seed).standard_normal((140, 180)).astype(np.float32)
        assert last(follower, noise, (-40.0 - seed, 150.0 + seed)).kind == ASTRAY
        assert (follower.last_px >= 0).all()
        assert (follower.last_px <= (179.0, 139.0)).all()
    kinds = [last(follower, texture(0), MARKED).kind for _ in range(8)]
    assert kinds == [ASTRAY] * 5 + [REFINED] * 3


@pytest.mark.parametrize("nothing", ["no place", "missed"])
def test_after_frames_without_a_place_a_landmark_is_not_known(follower: Follower, nothing: str) -> None:
    assert last(follower, texture(0), MARKED).kind == REFINED
    if nothing == "missed":
        follower.missed()
    else:
        follower.measured(texture(0), np.full(2, np.nan), SURE, CALIBRATION)
    kinds = [last(follower, texture(0), MARKED).kind for _ in range(7)]
    assert kinds == [ASTRAY] * 5 + [REFINED] * 2


def test_frames_in_which_it_is_verified_count_in_turn_only(follower: Follower) -> None:
    last(follower, texture(0), MARKED)
    follower.missed()
    for _ in range(4):
        assert last(follower, texture(0), MARKED).kind == ASTRAY
    assert last(follower, texture(9), MARKED).kind == ASTRAY
    kinds = [last(follower, texture(0), MARKED).kind for _ in range(7)]
    assert kinds == [ASTRAY] * 5 + [REFINED] * 2


def test_leap_at_once_to_what_is_half_alike_never_becomes_the_landmark(follower: Follower) -> None:
    alike = (0.65 * texture(0) + 0.76 * texture(3)).astype(np.float32)
    leapt = moved(alike, 30)
    for _ in range(10):
        assert last(follower, leapt, (110.0, 60.0)).kind in (ASTRAY, UNVERIFIED)


def test_found_far_from_where_an_unsure_network_looks_is_not_said_to_be_near_it(follower: Follower) -> None:
    for _ in range(5):
        last(follower, texture(0), FAR, UNSURE)
    assert last(follower, texture(0), FAR, UNSURE).kind == CONTINUED

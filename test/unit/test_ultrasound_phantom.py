"""The ultrasound phantom: the same picture for the same patient, and a truth that the picture agrees with."""

from copy import copy
from dataclasses import replace
from functools import cache
from itertools import islice

import numpy as np
import pytest

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import NS_PER_S, Status
from lmtrack_ros.phantoms import open_phantom
from lmtrack_ros.phantoms.deformation import BodyState, Deformation
from lmtrack_ros.phantoms.motion import MotionParameters, open_motion
from lmtrack_ros.phantoms.phantom import PhantomParameters
from lmtrack_ros.phantoms.ultrasound import PRESETS, UltrasoundPhantom
from lmtrack_ros.phantoms.ultrasound.scatterers import SLAB_MM, Scatterers

EXHALED_S = 2.0  # of the demo: half a period of 4 s
SEEDS = range(31)
Couch = tuple[float, float, float]
STILL: Couch = (0.0, 0.0, 0.0)


@cache
def phantom(preset: str = "demo", seed: int = 0, mount: str = "room") -> UltrasoundPhantom:
    return UltrasoundPhantom(PhantomParameters(preset=preset, seed=seed, mount=mount))


def picture(of: UltrasoundPhantom, time_s: float, couch_mm: Couch = STILL) -> np.ndarray:
    return of.render(NS_PER_S, time_s, couch_mm).image.astype(float)


def truth_px(of: UltrasoundPhantom, time_s: float, couch_mm: Couch = STILL) -> dict[str, np.ndarray]:
    return {e.id: np.array(e.uv_px) for e in of.truth(NS_PER_S, time_s, couch_mm).estimates}


def with_point_targets(preset: str, reach_mm: float = np.inf) -> UltrasoundPhantom:
    """Return a phantom that is held still, with nothing in it but one strong scatterer at each landmark."""
    alone = copy(phantom(preset))
    deformation: Deformation = alone._anatomy.deformation
    points = np.array(list(alone._anatomy.landmarks_mm.values()))
    alone._organs = (
        Scatterers.of(
            points, np.full(len(points), 300.0), deformation.weights, np.full(len(points), reach_mm)
        ),
    )
    alone._wall = ()
    alone._sway_mm = 0.0 * alone._sway_mm
    return alone


def spot_px(image: np.ndarray, near: np.ndarray, half_px: int) -> np.ndarray:
    """Return the (column, row) of the centroid of what is brighter than half of a spot's brightness."""
    column, row = np.round(near).astype(int)
    window = image[row - half_px : row + half_px + 1, column - half_px : column + half_px + 1]
    weight = np.clip(window - 0.5 * (window.max() + np.percentile(window, 60)), 0, None)
    rows, columns = np.indices(window.shape)
    centroid = np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
    return np.add(centroid, (column - half_px, row - half_px))


def shift_px(before: np.ndarray, after: np.ndarray, expected: tuple[int, int]) -> np.ndarray:
    """Return the (columns, rows) by which a picture moved, to a fraction, by normalised correlation."""
    scores = {}
    crop = before[90:190, 110:210]
    for dc in range(expected[0] - 3, expected[0] + 4):
        for dr in range(expected[1] - 3, expected[1] + 4):
            other = after[90 + dr : 190 + dr, 110 + dc : 210 + dc]
            scores[dc, dr] = np.corrcoef(crop.ravel(), other.ravel())[0, 1]
    best = max(scores, key=scores.__getitem__)
    fraction = []
    for axis in ((1, 0), (0, 1)):
        low, mid, high = (
            scores.get((best[0] + s * axis[0], best[1] + s * axis[1]), -1.0) for s in (-1, 0, 1)
        )
        fraction.append(0.5 * (low - high) / (low - 2 * mid + high))
    return np.array(best) + fraction


def test_same_seed_gives_the_same_pictures_to_the_bit() -> None:
    """Two phantoms agree, also when one of them was asked for other moments before."""
    one, other = (UltrasoundPhantom(PhantomParameters(preset="liver_fast", seed=3)) for _ in range(2))
    other.render(1, 1.7, (1, 2, 3))
    for time_s in (0.0, 5.5):
        pictures = [p.render(1, time_s, (0, 1, 2)).image.tobytes() for p in (one, other)]
        assert pictures[0] == pictures[1]


def test_another_seed_is_another_patient() -> None:
    one, other = phantom("liver_fast"), phantom("liver_fast", 1)
    assert np.corrcoef(picture(one, 0.0).ravel(), picture(other, 0.0).ravel())[0, 1] < 0.95
    assert not np.allclose(truth_px(one, 0.0)["portal_vein"], truth_px(other, 0.0)["portal_vein"], atol=0.5)


def test_receiver_noise_differs_from_frame_to_frame() -> None:
    """One breath later the anatomy is the same and the picture is not."""
    assert (picture(phantom(), 0.0) != picture(phantom(), 4.0)).any()


@pytest.mark.parametrize("preset", PRESETS)
def test_point_target_is_where_the_truth_says(preset: str) -> None:
    alone = with_point_targets(preset)
    half_px = min(10, round(5.0 / alone.geometry.spacing_mm[0]))
    for time_s in (0.0, 0.7, 1.3, 2.1):
        image = picture(alone, time_s)
        for name, expected in truth_px(alone, time_s).items():
            np.testing.assert_allclose(spot_px(image, expected, half_px), expected, atol=0.1, err_msg=name)


@pytest.mark.parametrize(
    "couch_mm", [(0, 0, 0), (5, 0, 0), (-5, 4, 3), (0, -6, 0)], ids=["still", "across", "all", "feet"]
)
def test_point_target_goes_with_the_couch(couch_mm: Couch) -> None:
    """Out of the plane it fades, and comes back with the next period of the tissue."""
    alone = with_point_targets("liver_fast", reach_mm=2.0)
    expected = truth_px(alone, 0.4, couch_mm)["portal_vein"]
    outside = abs(couch_mm[0]) >= 2
    image = picture(alone, 0.4, couch_mm)
    column, row = np.round(expected).astype(int)
    assert (image[row - 2 : row + 3, column - 2 : column + 3].max() < 100) == outside
    if outside:
        image = picture(
            alone, 0.4, (couch_mm[0] + np.copysign(SLAB_MM - abs(couch_mm[0]), couch_mm[0]), *couch_mm[1:])
        )
    np.testing.assert_allclose(spot_px(image, expected, 9), expected, atol=0.1)


def test_demo_keeps_its_landmarks() -> None:
    """They move as the diaphragm does, the first about the isocentre."""
    times_s = np.arange(400) * 0.01
    positions = {
        name: np.array([phantom().positions_mm(t)[name] for t in times_s])
        for name in ("portal_vein", "hepatic_vein")
    }
    for name, mean_mm in (("portal_vein", (0, 0, 0)), ("hepatic_vein", (0, 31, -21))):
        np.testing.assert_allclose(positions[name].mean(axis=0), mean_mm, atol=1e-9)
        np.testing.assert_allclose(np.ptp(positions[name], axis=0), (0, 15, 3), atol=1e-9)


def test_truth_agrees_with_its_own_geometry() -> None:
    for estimate in phantom().truth(1, 0.3, (1, 2, 3)).estimates:
        position_mm = phantom().geometry.position_mm(estimate.uv_px)
        np.testing.assert_allclose(position_mm[1:], estimate.position_mm[1:], atol=1e-9)
        assert estimate.status is Status.TRACKED


@pytest.mark.parametrize(
    ("couch_mm", "expected_px"),
    [
        # the picture's columns run to the feet (-Y) and its rows to the back (-Z), 0.5 mm each
        pytest.param((0, 3, 0), (-6, 0), id="towards-the-gantry"),
        pytest.param((0, -3, 0), (6, 0), id="away-from-the-gantry"),
        pytest.param((0, 0, 3), (0, -6), id="up"),
        pytest.param((0, 0, -3), (0, 6), id="down"),
        pytest.param((0, 2, -2), (-4, 4), id="both"),
        pytest.param((0.4, 0, 0), (0, 0), id="sideways-is-out-of-plane"),
        pytest.param((0, 2.6, 0), (-5.2, 0), id="by-a-fraction"),
    ],
)
def test_couch_moves_picture_and_truth(couch_mm: Couch, expected_px: tuple[float, float]) -> None:
    # one and the same moment: the receiver noise is the same too, and stays where it is
    before, after = picture(phantom(), EXHALED_S), picture(phantom(), EXHALED_S, couch_mm)
    moved = shift_px(before, after, (round(expected_px[0]), round(expected_px[1])))
    np.testing.assert_allclose(moved, expected_px, atol=0.3)
    ways = {
        tuple(np.round(truth_px(phantom(), EXHALED_S, couch_mm)[name] - start, 9))
        for name, start in truth_px(phantom(), EXHALED_S).items()
    }
    assert ways == {expected_px}


def test_couch_across_the_plane_shows_other_tissue() -> None:
    """The further the plane is, the less the speckle is like it, until it comes back a period later."""
    start = picture(phantom(), EXHALED_S)[90:190, 170:230].ravel()
    alike = [
        np.corrcoef(start, picture(phantom(), EXHALED_S, (x_mm, 0, 0))[90:190, 170:230].ravel())[0, 1]
        for x_mm in (0.5, 1.5, 5.0, SLAB_MM)
    ]
    assert alike[0] > alike[1] > alike[2]
    assert abs(alike[2]) < 0.5 * alike[0]
    assert alike[3] > 0.99


def test_probe_on_the_couch_does_not_see_it_move() -> None:
    ridden = phantom("demo", 0, "couch")
    np.testing.assert_array_equal(picture(ridden, 0.5, (3, 4, 5)), picture(phantom(), 0.5))
    assert truth_px(ridden, 0.5, (3, 4, 5)).keys() == truth_px(phantom(), 0.5).keys()
    for name, expected in truth_px(phantom(), 0.5).items():
        np.testing.assert_allclose(truth_px(ridden, 0.5, (3, 4, 5))[name], expected)


@pytest.mark.parametrize("preset", ["liver_fast", "demo"])
def test_lumen_is_dark_inside_its_mask(preset: str) -> None:
    of = phantom(preset)
    for time_s, couch_mm in ((0.3, STILL), (1.6, (0.0, 3.0, -4.0))):
        image = picture(of, time_s, couch_mm)
        for name, mask in of.masks(time_s, couch_mm).items():
            rows, columns = np.nonzero(mask)
            centre = truth_px(of, time_s, couch_mm)[name]
            np.testing.assert_allclose((columns.mean(), rows.mean()), centre, atol=0.5)
            near = np.hypot(*(np.indices(mask.shape)[::-1] - centre[:, None, None])) < 2.2 * np.sqrt(
                mask.sum() / np.pi
            )
            assert np.median(image[mask]) < 0.75 * np.median(image[near & ~mask])


def test_kidney_is_darker_than_the_fat_round_it() -> None:
    of = phantom("kidney")
    image, mask = picture(of, 0.0), of.masks(0.0)["kidney"]
    rows, columns = np.nonzero(mask)
    top, middle = rows.min(), round(columns[rows == rows.min()].mean())
    near = slice(middle - 25, middle + 26)
    assert image[top + 12 : top + 42, near].mean() < image[top - 30 : top, near].mean() - 10


def test_wall_does_not_breathe() -> None:
    inhaled, exhaled = picture(phantom(), 1.0), picture(phantom(), EXHALED_S)
    wall = np.corrcoef(inhaled[18:36, 120:200].ravel(), exhaled[18:36, 120:200].ravel())[0, 1]
    liver = np.corrcoef(inhaled[60:200, 120:200].ravel(), exhaled[60:200, 120:200].ravel())[0, 1]
    assert wall > 0.9 > liver


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_renders_and_keeps_its_landmarks_in_the_field(preset: str) -> None:
    """Of every patient, over a minute of breathing."""
    of, patients = phantom(preset), PRESETS[preset]
    image, inside = picture(of, 0.0), ~of._beams.outside
    assert image.shape == patients.size_px[::-1]
    assert 20 < image[inside].mean() < 140
    assert image[inside].std() > 10
    for seed in SEEDS:
        anatomy = patients.anatomy(np.random.default_rng((seed, 10)), of._face, 100.0)
        landmarks_mm = np.array(list(anatomy.landmarks_mm.values()))
        motion = open_motion(MotionParameters(), patients.motion, seed)
        for time_s in np.arange(0.0, 60.0, 0.5):
            for position_mm in anatomy.deformation.displaced_mm(landmarks_mm, BodyState.at(motion, time_s)):
                column, row = np.round(of.pixel(position_mm)).astype(int)
                assert inside[row, column], (seed, time_s)


def test_default_is_the_kidney() -> None:
    assert next(iter(PRESETS)) == "kidney"
    assert set(phantom("kidney").positions_mm(0.0)) == {"calyx", "sinus_low", "upper_pole_fat"}


def test_frames_come_at_their_rate() -> None:
    of = UltrasoundPhantom(PhantomParameters(preset="demo", rate_hz=20.0))
    frames = list(islice(of, 4))
    assert [f.stamp_ns for f in frames] == [NS_PER_S + i * NS_PER_S // 20 for i in range(4)]
    assert all(f.image.shape == (256, 320) and f.image.dtype == np.uint8 for f in frames)
    np.testing.assert_array_equal(frames[3].image, of.render(1, 3 / 20).image)


def test_unknown_phantom() -> None:
    with pytest.raises(UserError, match="Did you mean 'ultrasound'"):
        open_phantom("ultrasond")
    with pytest.raises(UserError, match="liver_fast"):
        open_phantom("ultrasound", replace(PhantomParameters(), preset="liver_fat"))

"""The ultrasound phantom: the same picture for the same seed, and a truth that the picture agrees with."""

from itertools import islice

import cv2
import numpy as np
import pytest

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import NS_PER_S, Status
from lmtrack_ros.phantoms import open_phantom
from lmtrack_ros.phantoms.motion import MotionParameters
from lmtrack_ros.phantoms.phantom import PhantomParameters
from lmtrack_ros.phantoms.ultrasound import UltrasoundPhantom

SPACING_MM = 0.5
EXHALED_S = 2.0  # half a period of 4 s


@pytest.fixture(scope="module")
def phantom() -> UltrasoundPhantom:
    return UltrasoundPhantom(PhantomParameters())


@pytest.fixture(scope="module")
def phantoms() -> list[UltrasoundPhantom]:
    """Phantoms that differ in their speckle only."""
    return [UltrasoundPhantom(PhantomParameters(seed=s)) for s in range(12)]


def picture(phantom: UltrasoundPhantom, time_s: float, couch_mm: tuple[float, ...] = (0, 0, 0)) -> np.ndarray:
    return phantom.render(NS_PER_S, time_s, couch_mm).image.astype(float)


def truth_px(
    phantom: UltrasoundPhantom, time_s: float, couch_mm: tuple[float, ...] = (0, 0, 0)
) -> dict[str, np.ndarray]:
    return {e.id: np.array(e.uv_px) for e in phantom.truth(NS_PER_S, time_s, couch_mm).estimates}


def vessel_centre_px(images: list[np.ndarray], near: np.ndarray, radii_px: tuple[float, float]) -> np.ndarray:
    """Return the (column, row) of the centroid of the dark spot near a place, in the mean of the pictures.

    Independent of how the phantom draws it.
    """
    mean = cv2.GaussianBlur(np.mean(images, axis=0), (0, 0), 1.5)
    rows, columns = np.indices(mean.shape)
    a, b = radii_px
    near_by = np.hypot((columns - near[0]) / (a + 3), (rows - near[1]) / (b + 3)) < 1
    dark = mean < 0.5 * (mean[near_by].min() + np.median(mean))
    _, _, statistics, centroids = cv2.connectedComponentsWithStats((dark & near_by).astype(np.uint8))
    biggest = 1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax())
    return centroids[biggest]


def shift_px(before: np.ndarray, after: np.ndarray, expected: tuple[int, int]) -> np.ndarray:
    """Return the (columns, rows) by which a picture moved, to a fraction, by normalised correlation."""
    scores = {}
    crop = before[90:210, 80:240]
    for dc in range(expected[0] - 3, expected[0] + 4):
        for dr in range(expected[1] - 3, expected[1] + 4):
            other = after[90 + dr : 210 + dr, 80 + dc : 240 + dc]
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
    one, other = (UltrasoundPhantom(PhantomParameters(seed=3)) for _ in range(2))
    other.render(1, 1.7, (1, 2, 3))
    for time_s in (0.0, 0.9, 5.5):
        assert (
            one.render(1, time_s, (0, 1, 2)).image.tobytes()
            == other.render(9, time_s, (0, 1, 2)).image.tobytes()
        )


def test_another_seed_gives_another_picture(phantom: UltrasoundPhantom) -> None:
    other = UltrasoundPhantom(PhantomParameters(seed=1))
    assert np.corrcoef(picture(phantom, 0.0).ravel(), picture(other, 0.0).ravel())[0, 1] < 0.8


def test_receiver_noise_differs_from_frame_to_frame(phantom: UltrasoundPhantom) -> None:
    """One breath later the anatomy is the same and the picture is not."""
    assert (picture(phantom, 0.0) != picture(phantom, 4.0)).any()


@pytest.mark.parametrize("time_s", [0.0, 0.7, 2.0])
@pytest.mark.parametrize(
    ("name", "radii_mm"),
    [("portal_vein", (6.5, 4.5)), ("hepatic_vein", (4.0, 5.0))],
    ids=["portal", "hepatic"],
)
def test_dark_vessel_is_where_the_truth_says(
    phantoms: list[UltrasoundPhantom], name: str, radii_mm: tuple[float, float], time_s: float
) -> None:
    """The centroid of the darkness, averaged over speckles, lies within 0.2 mm."""
    expected = truth_px(phantoms[0], time_s)[name]
    radii_px = (radii_mm[0] / SPACING_MM, radii_mm[1] / SPACING_MM)
    found = vessel_centre_px([picture(p, time_s) for p in phantoms], expected, radii_px)
    np.testing.assert_allclose(found, expected, atol=0.4)


def test_portal_vein_is_at_the_isocentre_on_average(phantom: UltrasoundPhantom) -> None:
    times_s = np.arange(400) * 0.01
    positions = [phantom.truth(1, t).estimates[0].position_mm for t in times_s]
    np.testing.assert_allclose(np.mean(positions, axis=0), 0, atol=1e-9)


def test_truth_agrees_with_its_own_geometry(phantom: UltrasoundPhantom) -> None:
    geometry = phantom.info.geometry
    assert geometry is not None
    for estimate in phantom.truth(1, 0.3, (1, 2, 3)).estimates:
        np.testing.assert_allclose(
            geometry.position_mm(estimate.uv_px)[1:], estimate.position_mm[1:], atol=1e-9
        )
        assert estimate.status is Status.TRACKED


@pytest.mark.parametrize(
    ("couch_mm", "expected_px"),
    [
        # the picture's columns run to the feet (-Y) and its rows to the back (-Z), 0.5 mm each
        pytest.param((0, 5, 0), (-10, 0), id="towards-the-gantry"),
        pytest.param((0, -5, 0), (10, 0), id="away-from-the-gantry"),
        pytest.param((0, 0, 3), (0, -6), id="up"),
        pytest.param((0, 0, -3), (0, 6), id="down"),
        pytest.param((0, 4, -2), (-8, 4), id="both"),
        pytest.param((4, 0, 0), (0, 0), id="sideways-is-out-of-plane"),
        pytest.param((0, 2.6, 0), (-5.2, 0), id="by-a-fraction"),
    ],
)
def test_couch_moves_picture_and_truth(
    phantom: UltrasoundPhantom, couch_mm: tuple[float, ...], expected_px: tuple[float, float]
) -> None:
    # one and the same moment: the receiver noise is the same too, and stays where it is
    before, after = picture(phantom, EXHALED_S), picture(phantom, EXHALED_S, couch_mm)
    moved = shift_px(before, after, (round(expected_px[0]), round(expected_px[1])))
    np.testing.assert_allclose(moved, expected_px, atol=0.15)
    truth_moved = (
        truth_px(phantom, EXHALED_S, couch_mm)["portal_vein"] - truth_px(phantom, EXHALED_S)["portal_vein"]
    )
    np.testing.assert_allclose(truth_moved, expected_px, atol=1e-9)


def test_breath_moves_the_picture_as_the_truth() -> None:
    """Between two moments near in time, where the speckle holds, the picture moves with the truth."""
    phantom = UltrasoundPhantom(
        PhantomParameters(
            motion=MotionParameters(kind="breathing", peak_to_peak_mm=15.0, anterior_mm=3.0, period_s=4.0)
        )
    )
    early, late = 1.2, 1.5
    way = truth_px(phantom, late)["portal_vein"] - truth_px(phantom, early)["portal_vein"]
    assert np.linalg.norm(way) > 2
    moved = shift_px(picture(phantom, early), picture(phantom, late), tuple(np.round(way).astype(int)))
    np.testing.assert_allclose(moved, way, atol=0.2)


def test_breath_reaches_from_peak_to_peak() -> None:
    parameters = PhantomParameters(
        motion=MotionParameters(kind="breathing", peak_to_peak_mm=20.0, anterior_mm=4.0, period_s=4.0)
    )
    phantom = UltrasoundPhantom(parameters)
    positions = np.array([phantom.truth(1, 0.01 * i).estimates[0].position_mm for i in range(400)])
    np.testing.assert_allclose(np.ptp(positions, axis=0), (0, 20, 4), atol=1e-9)


def test_wall_does_not_breathe(phantom: UltrasoundPhantom) -> None:
    inhaled, exhaled = picture(phantom, 1.2), picture(phantom, EXHALED_S)
    wall = np.corrcoef(inhaled[:30].ravel(), exhaled[:30].ravel())[0, 1]
    liver = np.corrcoef(inhaled[60:].ravel(), exhaled[60:].ravel())[0, 1]
    assert wall > 0.9 > liver


def test_frames_come_at_their_rate() -> None:
    phantom = UltrasoundPhantom(PhantomParameters(rate_hz=20.0))
    frames = list(islice(phantom, 4))
    assert [f.stamp_ns for f in frames] == [NS_PER_S + i * NS_PER_S // 20 for i in range(4)]
    assert all(f.image.shape == (256, 320) and f.image.dtype == np.uint8 for f in frames)
    np.testing.assert_array_equal(frames[3].image, phantom.render(1, 3 / 20).image)


def test_unknown_phantom() -> None:
    with pytest.raises(UserError, match="Did you mean 'ultrasound'"):
        open_phantom("ultrasond")

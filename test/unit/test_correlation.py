"""The correlation tracker on synthetic images with known motion, and on images that are broken."""

import cv2
import numpy as np
import pytest

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import ImageGeometry, Modality
from lmtrack_ros.core.parameters import build
from lmtrack_ros.core.records import Frame, Landmark, Status
from lmtrack_ros.trackers import create_tracker
from lmtrack_ros.trackers.correlation import CorrelationParameters

GEOMETRY = ImageGeometry(Modality.MR, (1.0, 1.0, 0.0))
SHAPE = (120, 140)
START = (70.0, 60.0)
SETTINGS = {"patch_half_width_px": 12}
LANDMARK = Landmark("a", START)


def texture(seed=0, shape=(200, 220), grain_px=2.0):
    noise = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), grain_px)
    return (smooth - smooth.min()) / np.ptp(smooth) * 200 + 20


BIG = texture()


def scene(shift=(0.0, 0.0)):
    """The texture moved by (columns, rows), px."""
    centre = (109.5 - shift[0], 99.5 - shift[1])
    matrix = np.array([[1, 0, centre[0] - 69.5], [0, 1, centre[1] - 59.5]], np.float32)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(BIG, matrix, SHAPE[::-1], flags=flags)


def frame(image, number=0, geometry=GEOMETRY):
    return Frame(number * 100_000_000, image, geometry)


def breathing(number):
    phase = 2 * np.pi * number / 20
    return (2.0 * np.sin(phase), 8.0 * np.sin(phase + 0.4))


def started(landmarks=(LANDMARK,), image=None, geometry=GEOMETRY, **settings):
    tracker = create_tracker("correlation", {**SETTINGS, **settings})
    tracker.initialize(frame(scene() if image is None else image, 0, geometry), landmarks)
    return tracker


def only(estimates):
    (estimate,) = estimates.estimates
    return estimate


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("half_width", [8, 12, 24], ids=lambda v: f"half-width {v}")
def test_follows_subpixel_motion(dtype, half_width):
    scale = 1 if dtype is np.uint8 else 100
    tracker = started(image=(scene() * scale).astype(dtype), patch_half_width_px=half_width)
    for number in range(1, 25):
        shift = breathing(number)
        estimate = only(tracker.update(frame((scene(shift) * scale).astype(dtype), number)))
        assert estimate.status is Status.TRACKED
        error = np.array(estimate.uv_px) - START - shift
        assert np.abs(error).max() < 0.1
        assert np.hypot(*error) < estimate.radius_mm < 1.0


def test_follows_through_noise_and_gain():
    rng = np.random.default_rng(1)
    tracker = started()
    errors, radii = [], []
    for number in range(1, 40):
        shift = breathing(number)
        image = scene(shift) * (1 - 0.01 * number) + rng.standard_normal(SHAPE) * 10
        estimate = only(tracker.update(frame(image.astype(np.float32), number)))
        assert estimate.status is Status.TRACKED
        errors.append(np.hypot(*(np.array(estimate.uv_px) - START - shift)))
        radii.append(estimate.radius_mm)
    assert np.mean(errors) < 0.15
    assert (np.array(errors) <= radii).mean() >= 0.9


def test_slow_change_of_appearance_brings_no_drift():
    other = texture(seed=9)[:120, :140]
    tracker = started()
    for number in range(1, 120):
        shift = breathing(number)
        mixed = scene(shift) * (1 - 0.004 * number) + np.roll(other, int(shift[1]), 0) * 0.004 * number
        estimate = only(tracker.update(frame(mixed, number)))
    assert np.hypot(*(np.array(estimate.uv_px) - START - shift)) < 0.5


BROKEN = {
    "black": lambda image: np.zeros_like(image),
    "saturated": lambda image: np.full_like(image, 255),
    "NaN": lambda image: np.full_like(image, np.nan),
    "mostly NaN": lambda image: np.where(np.arange(image.shape[1]) > 30, np.float32(np.nan), image),
    "infinite": lambda image: np.full_like(image, np.inf),
    "noise": lambda image: np.random.default_rng(3).random(image.shape, dtype=np.float32),
    "other anatomy": lambda image: texture(seed=5)[:120, :140],
    "another size": lambda image: image[:-3],
    "a volume": lambda image: image[None],
    "empty": lambda image: image[:0],
}


@pytest.mark.parametrize("break_image", BROKEN.values(), ids=BROKEN)
def test_a_broken_image_is_never_tracked_and_it_recovers(break_image):
    tracker = started()
    for number in range(1, 8):
        tracker.update(frame(scene(breathing(number)), number))
    for number in range(8, 16):
        estimate = only(tracker.update(frame(break_image(scene(breathing(number))), number)))
        assert estimate.status is not Status.TRACKED
        assert np.isfinite(estimate.uv_px).all()
        assert 0 <= estimate.confidence < 0.5
    last = [only(tracker.update(frame(scene(breathing(n)), n))) for n in range(16, 24)][-1]
    assert last.status is Status.TRACKED
    assert np.hypot(*(np.array(last.uv_px) - START - breathing(23))) < 0.2


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38], ids=str)
def test_single_bad_pixels_do_no_harm(value):
    tracker = started()
    image = scene((1.0, 3.0))
    image[5, 5] = value
    estimate = only(tracker.update(frame(image, 1)))
    assert np.isfinite(estimate.uv_px).all()
    if not np.isfinite(value):
        assert np.hypot(*(np.array(estimate.uv_px) - START - (1.0, 3.0))) < 0.2


def test_after_a_jump_it_must_be_confirmed():
    tracker = started()
    for number in range(1, 8):
        tracker.update(frame(scene(), number))
    statuses = [only(tracker.update(frame(scene((0.0, 20.0)), n))).status for n in range(8, 16)]
    assert Status.TRACKED not in statuses[:3]
    assert statuses[-1] is Status.TRACKED


def test_confidence_is_high_only_where_tracked():
    tracker = started()
    good = only(tracker.update(frame(scene((0.5, 1.0)), 1)))
    bad = only(tracker.update(frame(texture(seed=5)[:120, :140], 2)))
    assert good.confidence > 0.9
    assert bad.confidence < 0.1


def test_an_undefined_axis_is_unobserved():
    """A horizontal edge has a row and no column."""
    y = np.arange(SHAPE[0], dtype=np.float32)[:, None]
    rng = np.random.default_rng(0)

    def edge(row):
        return (200 / (1 + np.exp((row - y) / 2)) + rng.standard_normal(SHAPE)).astype(np.float32)

    tracker = started([Landmark("dome", START, (False, True))], edge(60))
    for number in range(1, 20):
        row = 60 + breathing(number)[1] - breathing(0)[1]
        estimate = only(tracker.update(frame(edge(row), number)))
        assert estimate.observed == (False, True, False)
        assert np.isinf(estimate.covariance_mm2[0, 0])
        assert abs(estimate.uv_px[1] - row) < 0.3
        assert abs(estimate.uv_px[0] - START[0]) < 3


@pytest.mark.parametrize("uv", [(3.0, 60.0), (136.5, 60.0), (70.0, 2.0), (2.5, 117.0)], ids=str)
def test_landmarks_near_the_border(uv):
    tracker = started([Landmark("edge", uv)])
    for number in range(1, 10):
        shift = (np.sin(number), 0.8 * np.cos(number) - 0.8)
        estimate = only(tracker.update(frame(scene(shift), number)))
        assert np.hypot(*(np.array(estimate.uv_px) - uv - shift)) < 0.6


def test_works_without_geometry_in_pixels():
    tracker = started(geometry=None)
    estimate = only(tracker.update(frame(scene((1.0, 2.0)), 1, None)))
    assert estimate.uv_px == pytest.approx((71, 62), abs=0.1)
    assert np.isnan(estimate.position_mm).all()


def test_a_changed_spacing_loses_the_landmarks():
    tracker = started()
    zoomed = ImageGeometry(Modality.MR, (0.5, 0.5, 0.0))
    assert only(tracker.update(frame(scene(), 1, zoomed))).status is Status.LOST


def test_the_same_frames_give_the_same_bits():
    def run():
        tracker = started([Landmark("a", START), Landmark("b", (40.0, 40.0))])
        sets = [tracker.update(frame(scene(breathing(n)), n)) for n in range(1, 10)]
        return [(e.uv_px, e.radius_mm, e.confidence) for s in sets for e in s.estimates]

    assert run() == run()


def test_estimates_keep_the_order_of_the_landmarks():
    tracker = started([Landmark("b", START), Landmark("a", (40.0, 40.0))])
    assert tracker.landmark_ids == ("b", "a")
    assert [e.id for e in tracker.update(frame(scene(), 1)).estimates] == ["b", "a"]


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        ([], "at least one"),
        ([Landmark("a", (140.0, 60.0))], "'a' at .* outside the image"),
        ([Landmark("a", (np.nan, 60.0))], "outside the image"),
        ([Landmark("a", START), Landmark("a", (40.0, 40.0))], "more than once"),
        ([Landmark("a", (1.0, 2.0, 3.0), (True, True, True))], "3 coordinates"),
        ([Landmark("a", START, (False, False))], "'a' is defined on no axis"),
        ([Landmark("a", (0.0, 0.0), (True, True))], None),
    ],
    ids=["none", "outside", "NaN", "twice", "3-D", "no axis", "in the corner"],
)
def test_what_cannot_be_followed_is_refused(landmarks, message):
    if message is None:
        started(landmarks)
        return
    with pytest.raises(UserError, match=message):
        started(landmarks)


@pytest.mark.parametrize(
    ("rows", "uv", "message"), [(90, (999.0, 0.0), "outside"), (4, (50.0, 2.0), "too close")]
)
def test_after_a_refused_start_it_goes_on_as_before(rows, uv, message):
    refused, undisturbed = started(), started()
    for tracker in (refused, undisturbed):
        tracker.update(frame(scene(breathing(1)), 1))
    # another size, spacing and scene, so that anything that is taken over shows
    zoomed = ImageGeometry(Modality.MR, (0.5, 0.5, 0.0))
    with pytest.raises(UserError, match=message):
        refused.initialize(frame(texture(seed=4)[:rows, :100], 2, zoomed), [Landmark("b", uv)])
    assert refused.landmark_ids == ("a",)
    for number in range(3, 6):
        after, expected = (
            only(tracker.update(frame(scene(breathing(number)), number)))
            for tracker in (refused, undisturbed)
        )
        assert after.status is Status.TRACKED
        assert (after.uv_px, after.radius_mm, after.confidence) == (
            expected.uv_px,
            expected.radius_mm,
            expected.confidence,
        )


@pytest.mark.parametrize(
    "image", [np.zeros(SHAPE, np.uint8), np.full(SHAPE, np.nan, np.float32), np.zeros((3, 4, 5))]
)
def test_a_first_frame_without_structure_is_refused(image):
    with pytest.raises(UserError, match="without structure"):
        started(image=image)


@pytest.mark.parametrize("values", [{"patch_half_width_px": 2}, {"nearness": -1.0}, {"adaptation": 2.0}])
def test_parameters_out_of_range_are_refused(values):
    with pytest.raises(UserError):
        build(CorrelationParameters, values, "correlation")

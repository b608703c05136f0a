"""A synthetic target in given pictures: where it is, what it does to them, and what is refused."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from lmtrack_ros.core import frames
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import View
from lmtrack_ros.core.geometry import ImageGeometry, Modality
from lmtrack_ros.core.records import NS_PER_S, Frame
from lmtrack_ros.phantoms.export import write
from lmtrack_ros.phantoms.insertion import insert
from lmtrack_ros.phantoms.motion import Breathing, MotionKind, MotionParameters
from lmtrack_ros.phantoms.target_appearance import TargetParameters
from lmtrack_ros.sources import SourceInfo, open_source
from lmtrack_ros.sources.annotations import read_annotations

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
START_PX = (100.3, 80.6)
RATE_HZ = 5.0
SPHERE = TargetParameters(diameters_mm=(18.0, 18.0, 18.0), texture=0.0)
VIEWS = {
    Modality.FLUOROSCOPY: View.CORONAL,
    Modality.ULTRASOUND: View.LONGITUDINAL,
    Modality.MR: View.SAGITTAL,
    Modality.ULTRASOUND_VOLUME: View.AXIAL,
}
BREATH = Breathing(
    MotionParameters(
        kind=MotionKind.BREATHING.value, peak_to_peak_mm=12.0, anterior_mm=5.0, left_mm=3.0, lag_s=0.3
    )
)


class Pictures:
    """A source of given pictures."""

    def __init__(self, images, modality=Modality.FLUOROSCOPY, spacing_mm=(0.9, 0.7, 0.0), **geometry):
        pose = frames.isocenter_from_image(VIEWS[modality])
        self.geometry = ImageGeometry(modality, spacing_mm, pose=pose, **geometry)
        self.images = images
        self.info = SourceInfo("pictures", self.geometry, RATE_HZ, len(images))

    def __iter__(self):
        for i, image in enumerate(self.images):
            stamp_ns = round((1 + i / RATE_HZ) * NS_PER_S)
            yield Frame(stamp_ns, image, self.geometry, stamp_ns)

    def close(self):
        pass


def texture(mean, std, *, blur_px=1.5, shape=(180, 210), seed=0):
    noise = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal(shape), (0, 0), blur_px)
    return mean + std * noise / noise.std()


def chest(dtype=np.float32):
    """Return lungs beside a bright spine, bones white."""
    columns = np.arange(210)
    spine = 60.0 * np.exp(-0.5 * ((columns - 105) / 25.0) ** 2)
    return (texture(150.0, 2.0) + spine).astype(dtype)


def centroid(weight):
    """Return the (column, row) of the centre of mass of what clearly differs from 0."""
    # what is faint is mostly rounding and noise
    weight = np.where(np.abs(weight) > 0.15 * np.abs(weight).max(), weight, 0.0)
    rows, columns = np.mgrid[: weight.shape[0], : weight.shape[1]]
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


def at_times(source, times=(0, 3, 7, 12), target=SPHERE, **arguments):
    """Return (before, inserted) at some frames."""
    made = list(insert(source, START_PX, target, BREATH, **arguments))
    return [(source.images[i].astype(float), made[i]) for i in times]


@pytest.mark.parametrize("background", ["flat", "textured"])
@pytest.mark.parametrize("modality", [Modality.FLUOROSCOPY, Modality.ULTRASOUND, Modality.MR])
def test_target_is_where_the_truth_says(modality, background):
    if modality is Modality.FLUOROSCOPY:
        image = (np.full((180, 210), 2000.0) if background == "flat" else 10 * chest()).astype(np.uint16)
    else:
        # ultrasound takes no field without speckle
        std = 3.0 if background == "textured" else 1.0
        image = texture(120.0 if modality is Modality.ULTRASOUND else 40.0, std).astype(np.uint8)
    source = Pictures([image] * 13, modality)
    seen = set()
    for before, made in at_times(source, target=replace(SPHERE, polarity="bones_black", wall_db=0.0)):
        after = made.frame.image.astype(float)
        change = np.log(before / after) if modality is Modality.FLUOROSCOPY else after - before
        found = centroid(change)
        true = np.array(made.truth.estimates[0].uv_px)
        assert np.abs(found - true).max() < 0.1
        seen.add(tuple(true.round(1)))
        assert centroid(made.masks["target"]) == pytest.approx(true, abs=0.1)
    assert len(seen) == 4, "it did not move"


@pytest.mark.parametrize("modality", [Modality.FLUOROSCOPY, Modality.ULTRASOUND, Modality.MR])
def test_moves_as_the_motion_does_in_the_image_plane(modality):
    source = Pictures([texture(120.0, 4.0).astype(np.uint8)] * 13, modality)
    target = replace(SPHERE, polarity="bones_white")
    truths = [t.truth.estimates[0].uv_px for t in insert(source, START_PX, target, BREATH)]
    assert truths[0] == pytest.approx(START_PX)
    moved_mm = BREATH.displacement_mm(7 / RATE_HZ) - BREATH.displacement_mm(0.0)
    left, head, up = moved_mm
    right_down_mm = {
        Modality.FLUOROSCOPY: (left, -head),
        Modality.ULTRASOUND: (-head, -up),
        Modality.MR: (-up, -head),
    }[modality]
    assert truths[7] == pytest.approx(np.array(START_PX) + np.array(right_down_mm) / (0.9, 0.7))
    estimate = next(insert(source, START_PX, target, BREATH)).truth.estimates[0]
    blind = {Modality.FLUOROSCOPY: 2, Modality.ULTRASOUND: 0, Modality.MR: 0}[modality]
    assert [i for i in range(3) if not estimate.observed[i]] == [blind]


def test_projection_is_measured_at_the_isocentre():
    source = Pictures([chest()] * 8, spacing_mm=(0.9, 0.9, 0.0), sad_mm=1000.0, sid_mm=1500.0)
    made = list(insert(source, START_PX, SPHERE, BREATH))
    head_mm = (BREATH.displacement_mm(7 / RATE_HZ) - BREATH.displacement_mm(0.0))[1]
    assert made[7].truth.estimates[0].uv_px[1] == pytest.approx(START_PX[1] - head_mm / 0.6)
    assert made[0].masks["target"].sum() == pytest.approx(np.pi * (9.0 / 0.6) ** 2, rel=0.02)


def test_attenuation_is_thickness_times_difference():
    before = chest()
    source = Pictures([before], spacing_mm=(0.5, 0.5, 0.0))
    target = replace(SPHERE, diameters_mm=(24.0, 24.0, 30.0), edge_mm=0.1, attenuation_per_mm=0.015)
    after = next(insert(source, START_PX, target, BREATH)).frame.image
    # bones are white: nothing passes at the brightest grey value
    opaque = float(before.max())
    row, column = round(START_PX[1]), round(START_PX[0])
    for right_px in (0, 6, 12, 18):
        across_mm = np.hypot(column + right_px - START_PX[0], row - START_PX[1]) * 0.5
        chord_mm = 30.0 * np.sqrt(1 - (across_mm / 12.0) ** 2)
        at = row, column + right_px
        added = -np.log((opaque - after[at]) / (opaque - before[at]))
        assert added == pytest.approx(0.015 * chord_mm, rel=0.04)


def test_two_targets_commute():
    other = replace(SPHERE, diameters_mm=(10.0, 14.0, 10.0), texture=0.2)
    places = {SPHERE: START_PX, other: (108.0, 86.0)}

    def one_after_the_other(*targets):
        image = chest()
        for target in targets:
            # the first picture tells which grey value is opaque
            image[0, 0] = 255.0
            source = Pictures([image])
            image = next(insert(source, places[target], target, BREATH)).frame.image
        return image

    both = one_after_the_other(SPHERE, other)
    assert np.abs(both - chest()).max() > 5
    np.testing.assert_allclose(both, one_after_the_other(other, SPHERE), atol=0.05)


def test_texture_keeps_mass_and_centroid():
    def attenuation(target):
        image = np.full((180, 210), 3000, np.uint16)
        made = next(insert(Pictures([image]), START_PX, target, BREATH, seed=4))
        return np.log(3000 / made.frame.image.astype(float))

    smooth = replace(SPHERE, polarity="bones_black")
    plain, rough = attenuation(smooth), attenuation(replace(smooth, texture=0.2))
    assert rough.sum() == pytest.approx(plain.sum(), rel=0.01)
    assert np.abs(rough - plain).max() > 0.05 * plain.max()
    assert np.abs(centroid(rough) - centroid(plain)).max() < 0.1


def test_polarity_is_seen_or_given():
    white = chest(np.uint8)
    black = 255 - white
    for image, sign in ((white, 1), (black, -1)):
        for before, made in at_times(Pictures([image] * 8), (0, 7)):
            change = made.frame.image[made.masks["target"]].astype(float) - before[made.masks["target"]]
            assert sign * change.mean() > 3
    given = replace(SPHERE, polarity="bones_black")
    for before, made in at_times(Pictures([white]), (0,), given):
        assert (
            made.frame.image[made.masks["target"]].astype(float) - before[made.masks["target"]]
        ).mean() < -3
    with pytest.raises(UserError, match="set polarity"):
        insert(Pictures([texture(100.0, 3.0)]), START_PX, SPHERE, BREATH)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_keeps_type_size_and_surroundings(dtype):
    image = chest(dtype)
    image[60:75, 100:110] = image.max()
    kept = image.copy()
    source = Pictures([image] * 2)
    made = list(insert(source, START_PX, SPHERE, BREATH))[1]
    mask = made.masks["target"]
    assert made.frame.image.dtype == dtype
    assert made.frame.image.shape == mask.shape == image.shape
    np.testing.assert_array_equal(image, kept)
    far = cv2.dilate(mask.astype(np.uint8), np.ones((41, 41))) == 0
    np.testing.assert_array_equal(made.frame.image[far], image[far])
    # what is bright already does not wrap round
    assert (made.frame.image.astype(float) - image >= -1).all()


def test_ultrasound_lumen_is_dark_walled_and_speckled():
    image = np.clip(texture(110.0, 20.0, blur_px=1.0), 0, 255).astype(np.uint8)
    source = Pictures([image], Modality.ULTRASOUND, (0.3, 0.3, 0.0))
    made = next(insert(source, START_PX, replace(SPHERE, diameters_mm=(16.0, 12.0, 9.0)), BREATH))
    after = made.frame.image.astype(float)
    row, column = round(START_PX[1]), round(START_PX[0])
    lumen = after[row - 10 : row + 10, column - 12 : column + 12]
    assert 40 < 110 - lumen.mean() < 60  # 12 dB of 60
    assert lumen.std() > 10
    top = round(START_PX[1] - 6.0 / 0.3)
    assert (after - image)[top - 4 : top - 1, column - 3 : column + 4].mean() > 10


@pytest.mark.parametrize("level", [60.0, 12.0])
@pytest.mark.parametrize("blur_px", [0.3, 1.0])
def test_mr_noise_stays_as_strong(level, blur_px):
    image = texture(level, 4.0, blur_px=blur_px).astype(np.float32)
    target = replace(SPHERE, diameters_mm=(40.0, 40.0, 9.0), signal=3.0)
    made = next(insert(Pictures([image], Modality.MR), (100.0, 85.0), target, BREATH, seed=1))
    inside = made.frame.image[70:101, 85:116]
    assert inside.mean() == pytest.approx(3 * level, rel=0.05)
    rough, before = (np.diff(x, axis=1).std() for x in (inside, image))
    assert inside.std() == pytest.approx(4.0, rel=0.25)
    assert rough == pytest.approx(before, rel=0.35)


def test_dark_mr_vessel_shows_rician_noise():
    image = texture(60.0, 4.0, blur_px=0.3).astype(np.float32)
    target = replace(SPHERE, diameters_mm=(40.0, 40.0, 9.0), signal=0.0)
    inside = next(insert(Pictures([image], Modality.MR), (100.0, 85.0), target, BREATH)).frame.image
    # Rayleigh: the mean of the magnitude of noise alone
    assert inside[70:101, 85:116].mean() == pytest.approx(4.0 * np.sqrt(np.pi / 2), rel=0.15)


def test_one_seed_gives_one_result():
    source = Pictures([chest(np.uint8)] * 4)
    target = replace(SPHERE, texture=0.1)
    first, again, other = (
        np.stack([t.frame.image for t in insert(source, START_PX, target, BREATH, seed)])
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def collimated():
    """Return a chest of which the target's side is blocked."""
    image = chest(np.uint8)
    image[:, :130] = 255
    return image


def no_geometry(source):
    source.geometry = None
    return source


@pytest.mark.parametrize(
    ("source", "start_px", "says"),
    [
        (Pictures([chest()] * 13), (300.0, 80.0), "leaves the picture"),
        (Pictures([chest()] * 13), (100.0, 172.0), "leaves the picture"),
        (Pictures([chest()] * 13), (100.0, 20.0), "leaves the picture"),
        (Pictures([]), START_PX, "no frame"),
        (no_geometry(Pictures([chest()])), START_PX, "spacing is unknown"),
        (Pictures([np.zeros((9, 90, 90), np.uint8)], Modality.ULTRASOUND_VOLUME), START_PX, "volumes"),
        (Pictures([chest()], Modality.ULTRASOUND_VOLUME), START_PX, "only for fluoroscopy"),
        (Pictures([np.full((180, 210), 56, np.uint8)], Modality.ULTRASOUND), START_PX, "no speckle"),
        (Pictures([np.zeros((180, 210), np.uint8)], Modality.MR), START_PX, "no signal"),
        (Pictures([collimated()]), START_PX, "no X-rays"),
    ],
    ids=[
        "outside",
        "on the edge",
        "later outside",
        "empty",
        "unknown",
        "volume",
        "modality",
        "no speckle",
        "air",
        "blocked",
    ],
)
def test_refuses_before_the_first_frame(source, start_px, says):
    with pytest.raises(UserError, match=says) as caught:
        insert(source, start_px, SPHERE, BREATH)
    assert "\n" not in str(caught.value)


def test_refuses_a_frame_that_it_leaves_late():
    source = Pictures([chest()] * 13)
    source.info = replace(source.info, frames=None)
    made = insert(source, (100.0, 20.0), SPHERE, BREATH)
    with pytest.raises(UserError, match="leaves the picture"):
        list(made)


def test_refuses_sizes_that_are_none():
    with pytest.raises(ValueError, match="three values"):
        TargetParameters(diameters_mm=(10.0, 10.0))


@pytest.mark.parametrize(
    ("name", "start_px", "target"),
    [
        ("xray_chest", (300.0, 330.0), TargetParameters()),
        ("us_kidney", (360.0, 300.0), TargetParameters(diameters_mm=(14.0, 10.0, 10.0))),
        ("cine_liver", (70.0, 110.0), TargetParameters(diameters_mm=(12.0, 9.0, 9.0))),
    ],
    ids=["xray_chest", "us_kidney", "cine_liver"],
)
def test_goes_into_real_recordings(name, start_px, target):
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"the reference recording ../shared/data/{name} is not here")
    pairs = zip(insert(open_source(folder), start_px, target, BREATH), open_source(folder), strict=True)
    for made, plain in islice(pairs, 0, 12, 4):
        before, after = (f.image.astype(float) for f in (plain, made.frame))
        share = (255.0 - after) / (255.0 - before + 1e-9)
        change = -np.log(np.clip(share, 0.3, 1.0)) if name == "xray_chest" else np.abs(after - before)
        assert change[made.masks["target"]].mean() > 20 * change[~made.masks["target"]].mean()
        true = np.array(made.truth.estimates[0].uv_px)
        assert np.abs(centroid(change) - true).max() < (0.2 if name == "xray_chest" else 0.6)


def test_can_be_written_and_evaluated(tmp_path):
    source = Pictures([chest(np.uint8)] * 4)
    folder = tmp_path / "inserted"
    write(folder, source.info, insert(source, START_PX, SPHERE, BREATH))
    (annotation,) = read_annotations(folder)
    assert annotation.landmark.uv_px == pytest.approx(START_PX, abs=1e-3)
    made = list(insert(source, START_PX, SPHERE, BREATH))
    for frame, expected in zip(open_source(folder), made, strict=True):
        np.testing.assert_array_equal(frame.image, expected.frame.image)

"""The fetal head: a population with correlated shapes, and volumes that agree with their truth."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, center_of_mass, map_coordinates

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import Modality
from lmtrack_ros.core.records import NS_PER_S, Landmark
from lmtrack_ros.phantoms import open_phantom, presets
from lmtrack_ros.phantoms.phantom import PhantomParameters
from lmtrack_ros.phantoms.volume_ultrasound import PRESETS, VolumeUltrasoundPhantom
from lmtrack_ros.phantoms.volume_ultrasound.head import LANDMARKS, FetalHead
from lmtrack_ros.sources.annotations import Mark, read_annotations
from lmtrack_ros.sources.landmarks import first_frame_landmarks

FULL = "fetal_head_full"
SMALL = "fetal_head_small"
SPACING_MM = PRESETS[SMALL].spacing_mm


def small(seed: int = 0, mount: str = "room") -> VolumeUltrasoundPhantom:
    return VolumeUltrasoundPhantom(PhantomParameters(preset=SMALL, seed=seed, mount=mount))


@pytest.fixture(scope="module")
def phantom() -> VolumeUltrasoundPhantom:
    return small()


@pytest.fixture(scope="module")
def other() -> VolumeUltrasoundPhantom:
    """Another patient."""
    return small(seed=1)


def volume(
    phantom: VolumeUltrasoundPhantom, time_s: float, couch_mm: tuple[float, ...] = (0, 0, 0)
) -> np.ndarray:
    return phantom.render(NS_PER_S, time_s, couch_mm).image.astype(np.float32)


def truth_px(
    phantom: VolumeUltrasoundPhantom, time_s: float, couch_mm: tuple[float, ...] = (0, 0, 0)
) -> dict[str, np.ndarray]:
    return {e.id: np.array(e.uv_px) for e in phantom.truth(NS_PER_S, time_s, couch_mm).estimates}


def grey_at(image: np.ndarray, positions_px: np.ndarray) -> np.ndarray:
    """Return the grey levels at (N, 3) pixels (column, row, slice)."""
    return map_coordinates(image, positions_px[:, ::-1].T, order=1)


def population(number: int = 300) -> np.ndarray:
    """Return the (number, 30) landmarks of patients in the head frame."""
    heads = (FetalHead.draw(np.random.default_rng(seed)) for seed in range(number))
    return np.array([np.concatenate(list(head.landmarks_mm().values())) for head in heads])


def test_few_components_explain_the_population() -> None:
    """Six factors drive it, and a small independent part does the rest."""
    shapes = population()
    variance = np.linalg.svd(shapes - shapes.mean(axis=0), compute_uv=False) ** 2
    explained = np.cumsum(variance) / variance.sum()
    assert explained[4] > 0.90
    assert explained[0] < 0.90
    assert explained[9] < 1 - 1e-4  # the independent part


def test_landmarks_correlate() -> None:
    shapes = population().reshape(-1, len(LANDMARKS), 3)
    of = {name: shapes[:, i] for i, name in enumerate(LANDMARKS)}

    def correlation(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.corrcoef(one, other)[0, 1])

    assert correlation(of["frontal_skull"][:, 1], of["occipital_skull"][:, 1]) < -0.95
    assert correlation(of["parietal_skull_left"][:, 0], of["cerebellum_left"][:, 0]) > 0.5
    assert correlation(of["atrium_left"][:, 0], of["atrium_right"][:, 0]) < -0.5


def test_landmarks_lie_on_two_planes() -> None:
    for seed in range(20):
        marks = FetalHead.draw(np.random.default_rng(seed)).landmarks_mm()
        assert all(marks[name][2] == 0 for name in LANDMARKS[:7])
        tc = np.array([marks[name] for name in ("cavum_septi_pellucidi", *LANDMARKS[7:])])
        assert np.linalg.svd(tc - tc.mean(axis=0), compute_uv=False)[2] < 1e-9


def test_sizes_are_those_of_screening() -> None:
    """Biparietal 40 to 62 mm, cephalic index 0.7 to 0.9, cerebellum about 1 mm a week."""
    for seed in range(100):
        head = FetalHead.draw(np.random.default_rng(seed))
        marks = head.landmarks_mm()
        bpd_mm = np.ptp([marks["parietal_skull_left"][0], marks["parietal_skull_right"][0]])
        ofd_mm = marks["frontal_skull"][1] - marks["occipital_skull"][1]
        tcd_mm = np.linalg.norm(marks["cerebellum_left"] - marks["cerebellum_right"])
        assert 38 < bpd_mm < 62
        assert 0.69 < bpd_mm / ofd_mm < 0.91
        assert 0.8 < tcd_mm / head.age_weeks < 1.2


def test_same_seed_gives_the_same_volumes_to_the_bit(phantom: VolumeUltrasoundPhantom) -> None:
    again = small()
    again.render(1, 3.1, (1, 2, 3))
    for time_s in (0.0, 2.3):
        one = phantom.render(1, time_s, (0, 1, 2)).image
        assert one.dtype == np.uint8
        assert one.tobytes() == again.render(9, time_s, (0, 1, 2)).image.tobytes()


def test_another_seed_gives_another_patient(
    phantom: VolumeUltrasoundPhantom, other: VolumeUltrasoundPhantom
) -> None:
    assert np.corrcoef(volume(phantom, 0.0).ravel(), volume(other, 0.0).ravel())[0, 1] < 0.9
    one, two = (np.array(list(truth_px(p, 0.0).values())) for p in (phantom, other))
    assert np.abs(one - two).max() > 2


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name == FULL else ()) for name in PRESETS]
)
def test_every_preset_renders(name: str) -> None:
    opened = open_phantom("volume_ultrasound", PhantomParameters(preset=name))
    frame = next(iter(opened))
    assert frame.image.shape == PRESETS[name].shape
    assert frame.geometry.modality is Modality.ULTRASOUND_VOLUME
    assert frame.image.std() > 20


def test_default_is_the_fetal_head() -> None:
    assert next(iter(presets("volume_ultrasound"))) == "fetal_head"


@pytest.mark.parametrize("time_s", [0.0, 13.3])
@pytest.mark.parametrize("name", ["cavum_septi_pellucidi", "occipital_skull", "cerebellum_left"])
def test_point_target_is_where_the_truth_says(
    phantom: VolumeUltrasoundPhantom, monkeypatch: pytest.MonkeyPatch, name: str, time_s: float
) -> None:
    """A small bright ball painted into the anatomy at a landmark is found there, to 0.2 voxel."""
    grid = phantom._grid
    at = (phantom.head.landmarks_mm()[name] - grid.origin_mm) / grid.spacing_mm
    index = np.indices(grid.bone.shape, dtype=np.float32)
    away = np.sqrt(sum((i - a) ** 2 for i, a in zip(index, at, strict=True))) * grid.spacing_mm
    empty = np.zeros_like(grid.bone)
    monkeypatch.setattr(
        phantom,
        "_grid",
        type(grid)(
            grid.origin_mm,
            grid.spacing_mm,
            np.full_like(grid.bone, -10),
            (1e3 * np.exp(-0.5 * (away / 1.2) ** 2)).astype(np.complex64),
            empty,
            empty,
            grid.structures,
        ),
    )
    couch_mm = (3.0, -2.0, 1.5)
    image = volume(phantom, time_s, couch_mm)
    column, row, slice_ = truth_px(phantom, time_s, couch_mm)[name]
    near = np.indices(image.shape) - np.array([slice_, row, column])[:, None, None, None]
    bright = np.where((np.abs(near).max(axis=0) < 7) & (image > 150), image, 0)
    found = center_of_mass(bright)
    np.testing.assert_allclose(found, (slice_, row, column), atol=0.2)


def shift_px(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the (columns, rows, slices) by which a volume moved, by phase correlation."""
    spectrum = np.fft.fftn(after - after.mean()) * np.conj(np.fft.fftn(before - before.mean()))
    peak = np.fft.ifftn(spectrum / (np.abs(spectrum) + 1e-3 * np.abs(spectrum).max())).real
    best = np.array(np.unravel_index(peak.argmax(), peak.shape))
    return np.where(best > np.array(peak.shape) / 2, best - peak.shape, best)[::-1]


@pytest.mark.parametrize("sign", [1, -1], ids=["plus", "minus"])
@pytest.mark.parametrize(
    ("axis", "expected"),
    [(0, (1, 0, 0)), (1, (0, 0, 1)), (2, (0, -1, 0))],
    ids=["left-is-columns", "head-is-slices", "up-is-against-the-rows"],
)
def test_couch_moves_volume_and_truth(
    phantom: VolumeUltrasoundPhantom, axis: int, expected: tuple[int, int, int], sign: int
) -> None:
    couch_mm = np.eye(3)[axis] * 4 * SPACING_MM * sign
    before = truth_px(phantom, 1.0)
    after = truth_px(phantom, 1.0, tuple(couch_mm))
    box = tuple(slice(round(c) - 17, round(c) + 17) for c in before["cavum_septi_pellucidi"][::-1])
    moved = shift_px(volume(phantom, 1.0)[box], volume(phantom, 1.0, tuple(couch_mm))[box])
    np.testing.assert_array_equal(moved, 4 * sign * np.array(expected))
    for name in before:
        np.testing.assert_allclose(after[name] - before[name], moved, atol=1e-9)


def test_couch_that_carries_the_probe_changes_nothing() -> None:
    carried = small(mount="couch")
    assert (volume(carried, 1.0) == volume(carried, 1.0, (5, 6, 7))).all()


def test_landmarks_stay_in_the_field_of_view(phantom: VolumeUltrasoundPhantom) -> None:
    """For every patient; the field of view is the same for all."""
    seen = np.zeros(PRESETS[SMALL].shape, dtype=bool)
    seen.reshape(-1)[phantom._converter.seen] = True
    for seed in range(31):
        patient = small(seed)
        for time_s in np.linspace(0.0, 60.0, 31):
            for name, pixel in truth_px(patient, time_s).items():
                column, row, slice_ = np.round(pixel).astype(int)
                assert seen[slice_, row, column], (seed, time_s, name)


def test_masks_agree_with_the_picture(phantom: VolumeUltrasoundPhantom) -> None:
    """A bright skull runs round the brain, with dark fluid beyond; landmarks lie in their structures."""
    couch_mm = (3.0, 0.0, -3.0)
    image, masks = volume(phantom, 2.0, couch_mm), phantom.masks(2.0, couch_mm)
    truth = truth_px(phantom, 2.0, couch_mm)

    def holds(name: str, landmark: str) -> bool:
        column, row, slice_ = np.round(truth[landmark]).astype(int)
        return bool(masks[name][slice_, row, column])

    assert holds("cavum_septi_pellucidi", "cavum_septi_pellucidi")
    assert holds("lateral_ventricles", "atrium_left")
    assert holds("lateral_ventricles", "atrium_right")
    assert not holds("cerebellum", "cisterna_magna")
    brain = masks["brain"]
    assert brain[masks["cerebellum"]].mean() > 0.99
    skull = binary_dilation(brain) & ~brain
    beyond = binary_dilation(brain, iterations=8) & ~binary_dilation(brain, iterations=5)
    assert image[skull].mean() > 1.3 * image[brain].mean()
    assert image[brain].mean() > 1.5 * image[beyond].mean()


def test_skull_is_bright_at_the_ends_of_the_biparietal_diameter(
    phantom: VolumeUltrasoundPhantom, other: VolumeUltrasoundPhantom
) -> None:
    """The beam meets the skull there at about a right angle, and the brain behind it is darker."""
    off = []  # of the way to the middle
    for patient in (phantom, other):
        image, truth = volume(patient, 0.0), truth_px(patient, 0.0)
        middle = (truth["frontal_skull"] + truth["occipital_skull"]) / 2
        for side in ("parietal_skull_left", "parietal_skull_right"):
            line = truth[side] + np.linspace(-0.35, 0.35, 41)[:, None] * (middle - truth[side])
            off.append(np.argmax(grey_at(image, line)) / 40 * 0.7 - 0.35)
    np.testing.assert_allclose(off, 0, atol=0.09)


def test_head_moves_by_itself(phantom: VolumeUltrasoundPhantom) -> None:
    """Within a minute it drifts and nods by millimetres, never suddenly."""
    frames: Mapping[str, list[np.ndarray]] = {name: [] for name in LANDMARKS}
    for time_s in np.arange(0, 60, 0.25):
        for name, position in phantom.positions_mm(time_s).items():
            frames[name].append(position)
    for path in frames.values():
        assert np.ptp(path, axis=0).max() > 2
        assert np.linalg.norm(np.diff(path, axis=0), axis=1).max() < 4


def test_frames_follow_the_rate(phantom: VolumeUltrasoundPhantom) -> None:
    first, second = islice(phantom, 2)
    assert second.stamp_ns - first.stamp_ns == NS_PER_S / PRESETS[SMALL].rate_hz


def test_landmark_file_of_volumes(tmp_path: Path) -> None:
    """A column z_px gives three coordinates; a landmark without it keeps two."""
    (tmp_path / "landmarks.csv").write_text(
        "frame,landmark,x_px,y_px,z_px,certain,spread_px,axes\n"
        "0,cavum,10.5,20,30.25,1,0,xyz\n"
        "0,edge,1,2,3,1,0,yz\n"
        "0,flat,4,5,,1,0,xy\n"
        "1,cavum,11,21,31,0,0,xyz\n"
    )
    cavum = Landmark("cavum", (10.5, 20.0, 30.25), (True, True, True))
    edge = Landmark("edge", (1.0, 2.0, 3.0), (False, True, True))
    flat = Landmark("flat", (4.0, 5.0), (True, True))
    assert first_frame_landmarks(tmp_path) == (cavum, edge, flat)
    annotations = read_annotations(tmp_path)
    assert [annotation.landmark for annotation in annotations] == [cavum, edge, flat]
    assert annotations[0].marks == {0: Mark((10.5, 20.0, 30.25), True), 1: Mark((11.0, 21.0, 31.0), False)}


def test_landmark_with_a_slice_now_and_then_is_refused(tmp_path: Path) -> None:
    rows = "0,cavum,1,2,,1,0,xy\n1,cavum,1,2,3,1,0,xyz\n"
    (tmp_path / "landmarks.csv").write_text(f"frame,landmark,x_px,y_px,z_px,certain,spread_px,axes\n{rows}")
    with pytest.raises(UserError, match="some frames only"):
        read_annotations(tmp_path)

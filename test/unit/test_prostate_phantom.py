"""The prostate: landmarks that agree with its shape and picture, and how it moves."""

from itertools import islice

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion, shift

from lmtrack_ros.core.geometry import Modality
from lmtrack_ros.phantoms.motion import MotionParameters
from lmtrack_ros.phantoms.phantom import PhantomParameters
from lmtrack_ros.phantoms.prostate import LANDMARKS, Gland, ProstatePhantom


def prostate(seed: int = 0, mount: str = "room", **motion: object) -> ProstatePhantom:
    return ProstatePhantom(PhantomParameters(seed=seed, mount=mount, motion=MotionParameters(**motion)))


@pytest.fixture(scope="module")
def phantom() -> ProstatePhantom:
    return prostate()


def truth_px(phantom: ProstatePhantom, time_s: float, couch_mm: tuple[float, ...] = (0, 0, 0)) -> np.ndarray:
    return np.array([e.uv_px for e in phantom.truth(1, time_s, couch_mm).estimates])


@pytest.mark.parametrize("seed", range(6))
def test_landmarks_are_the_outermost_points_of_the_mask(seed: int) -> None:
    phantom = prostate(seed)
    slices, rows, columns = np.nonzero(phantom.masks(30.0)["prostate"])
    truth = dict(zip(LANDMARKS, truth_px(phantom, 30.0), strict=True))
    spacing_mm = phantom.geometry.spacing_mm[0]
    for name, axis, end in (
        ("left", 0, columns.max()),
        ("right", 0, columns.min()),
        ("base", 1, rows.max()),
        ("apex", 1, rows.min()),
        ("anterior", 2, slices.max()),
    ):
        # the mask's outermost voxel lies within the surface, but within one voxel of it
        assert abs(truth[name][axis] - end) * spacing_mm < 1.6, name
    # the back is dented in the midline
    assert -1.0 < slices.min() - truth["posterior"][2] < 4.0
    np.testing.assert_allclose(truth["center"], (truth["left"] + truth["right"]) / 2, atol=1e-6)


def test_glands_have_their_volumes() -> None:
    volumes_ml = []
    for seed in range(60):
        gland = Gland.draw(np.random.default_rng(seed))
        points_mm = np.stack(np.meshgrid(*[np.arange(-45.0, 45.0, 1.5)] * 3, indexing="ij")).astype(
            np.float32
        )
        volumes_ml.append((gland.outside_mm(points_mm) < 0).sum() * 1.5**3 / 1000)
    # the notch takes a little
    assert 17 < min(volumes_ml) < 25
    assert 75 < max(volumes_ml) < 91


@pytest.mark.parametrize("couch_mm", [(0.0, 0.0, 0.0), (3.0, -2.0, 2.0)])
def test_picture_of_the_gland_moves_as_the_truth_says(couch_mm: tuple[float, ...]) -> None:
    """All of it, its surface too, far from where it was at first."""
    trace = {"kind": "breathing", "peak_to_peak_mm": 12.0, "anterior_mm": 0.0, "period_s": 4.0}
    phantom = prostate(3, **trace)
    still, moved = 1.0, 2.0
    rows = phantom.positions_mm(moved)["center"][1] - phantom.positions_mm(still)["center"][1]
    before = phantom.render(1, still, couch_mm).image.astype(float)
    after = shift(phantom.render(1, moved, couch_mm).image.astype(float), (0, -rows, 0), order=1)
    near = phantom.masks(still, couch_mm)["prostate"]
    shell = binary_dilation(near, iterations=2) & ~binary_erosion(near, iterations=2)
    for region in (near, shell):
        agreement = [
            np.corrcoef(before[region], shift(after, (0, more, 0), order=1)[region])[0, 1]
            for more in (-2, 0, 2)
        ]
        assert agreement[1] == max(agreement)
        assert agreement[1] > 0.6


def test_frames_are_volumes_at_two_hertz(phantom: ProstatePhantom) -> None:
    frames = list(islice(phantom, 3))
    assert frames[0].image.shape == (72, 72, 96)
    assert frames[0].geometry is not None
    assert frames[0].geometry.modality is Modality.ULTRASOUND_VOLUME
    assert frames[1].stamp_ns - frames[0].stamp_ns == 500_000_000


def test_same_seed_gives_the_same_volumes_to_the_bit(phantom: ProstatePhantom) -> None:
    again = prostate()
    again.render(1, 7.0)
    assert phantom.render(1, 3.0).image.tobytes() == again.render(1, 3.0).image.tobytes()
    assert phantom.render(1, 3.0).image.tobytes() != prostate(1).render(1, 3.0).image.tobytes()


def test_gland_creeps_slowly_and_gas_pushes_it() -> None:
    """Within a second it moves by less than a millimetre, within minutes by some."""
    times_s = np.arange(0.0, 300.0, 1.0)
    farthest_mm, fastest_mm_s = [], []
    for seed in range(12):
        phantom = prostate(seed)
        path = np.array([phantom.positions_mm(t)["center"] for t in times_s])
        farthest_mm.append(np.linalg.norm(path - path[0], axis=1).max())
        fastest_mm_s.append(np.linalg.norm(np.diff(path, axis=0), axis=1).max())
    assert max(fastest_mm_s) < 1.5
    assert 2.0 < np.median(farthest_mm) < 8.0


def test_motion_that_is_asked_for_is_all_there_is() -> None:
    phantom = prostate(kind="breathing", peak_to_peak_mm=10.0, anterior_mm=0.0, period_s=4.0)
    path = np.array([phantom.positions_mm(t)["center"] for t in np.arange(0.0, 8.0, 0.1)])
    np.testing.assert_allclose(np.ptp(path, axis=0), [0, 10, 0], atol=0.05)


@pytest.mark.parametrize("axis", range(3))
def test_couch_carries_the_picture(phantom: ProstatePhantom, axis: int) -> None:
    couch_mm = np.zeros(3)
    couch_mm[axis] = 4.0
    before, after = truth_px(phantom, 0.0), truth_px(phantom, 0.0, tuple(couch_mm))
    np.testing.assert_allclose(after - before, np.tile(couch_mm, (7, 1)), atol=1e-9)
    one, two = (phantom.render(1, 0.0, c).image.astype(float) for c in ((0, 0, 0), couch_mm))
    image_axis = 2 - axis
    inside = (slice(16, -16),) * 3
    correlations = [
        np.corrcoef(one[inside].ravel(), np.roll(two, -shift, axis=image_axis)[inside].ravel())[0, 1]
        for shift in (0, 2, 4, 6)
    ]
    assert int(np.argmax(correlations)) == 2


def test_probe_on_the_couch_does_not_see_it_move() -> None:
    phantom = prostate(mount="couch")
    assert phantom.render(1, 0.0, (3, 2, 1)).image.tobytes() == phantom.render(1, 0.0).image.tobytes()

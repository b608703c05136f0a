"""What is wrong with a frame itself: frozen, blank, of another geometry; and landmarks beyond its border."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lmtrack_ros.core.geometry import ImageGeometry, Modality, Mount
from lmtrack_ros.core.records import Estimate, Frame, Reason
from lmtrack_ros.phantoms import open_phantom
from lmtrack_ros.phantoms.phantom import PhantomParameters
from lmtrack_ros.sources import open_source
from lmtrack_ros.trackers.frame_check import FrameCheck, is_blank, outside_image

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
GOOD = Reason(0)
GEOMETRY = ImageGeometry(Modality.FLUOROSCOPY, (0.5, 0.5, 0.0), sad_mm=1000.0, sid_mm=1500.0)
TYPES = pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
SHAPES = pytest.mark.parametrize("shape", [(200, 300), (30, 7), (40, 50, 60)], ids=["2-D", "small", "volume"])


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return list(islice(open_phantom("ultrasound", PhantomParameters(preset="demo")), 4))


def picture(shape: tuple[int, ...], dtype: type, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(20, 120, shape).astype(dtype)


def frame(image: np.ndarray, stamp_ns: int = 1, geometry: ImageGeometry | None = GEOMETRY) -> Frame:
    return Frame(stamp_ns, image, geometry)


def checked(marked: Frame, *later: Frame, frozen_frames: int = 2) -> list[Reason]:
    check = FrameCheck(frozen_frames)
    check.mark(marked)
    return [check.check(f) for f in later]


def test_real_frames_are_good(frames: list[Frame]) -> None:
    assert checked(frames[0], *frames) == [GOOD] * 4


@pytest.mark.parametrize("name", ["us_kidney", "us_muscle", "xray_chest", "cine_liver", "cine_thorax"])
def test_reference_recordings_are_good(name: str) -> None:
    """Sorted into a 4-D sequence, cine_thorax repeats single frames: one repeat is no frozen image."""
    if not (DATA / name).is_dir():
        pytest.skip(f"the reference recording ../shared/data/{name} is not here")
    with open_source(DATA / name) as source:
        recorded = iter(source)
        first = next(recorded)
        assert not any(checked(first, first, *recorded))


class TestFrozen:
    """The same pixels again and again."""

    @pytest.mark.parametrize("limit", [1, 2, 5])
    def test_after_so_many_repeats_with_new_stamps(self, frames: list[Frame], limit: int) -> None:
        still = [replace(frames[1], stamp_ns=i, image=frames[1].image.copy()) for i in range(limit + 3)]
        found = checked(frames[0], *still, frozen_frames=limit)
        assert found == [GOOD] * limit + [Reason.FROZEN_IMAGE] * 3

    def test_ends_with_the_next_new_picture(self, frames: list[Frame]) -> None:
        still = [replace(frames[1], stamp_ns=i) for i in range(4)]
        assert checked(frames[0], *still, frames[2], frames[3])[-3:] == [Reason.FROZEN_IMAGE, GOOD, GOOD]

    def test_message_that_comes_twice_is_not_frozen(self, frames: list[Frame]) -> None:
        assert checked(frames[0], *[frames[1]] * 5) == [GOOD] * 5

    def test_never_where_it_is_switched_off(self, frames: list[Frame]) -> None:
        still = [replace(frames[1], stamp_ns=i) for i in range(5)]
        assert checked(frames[0], *still, frozen_frames=0) == [GOOD] * 5

    @TYPES
    @SHAPES
    def test_one_pixel_of_a_difference_is_enough(self, shape: tuple[int, ...], dtype: type) -> None:
        pictures = [picture(shape, dtype) for _ in range(4)]
        for i, image in enumerate(pictures):
            image.flat[i] += 1
        assert checked(frame(pictures[0]), *(frame(p, i) for i, p in enumerate(pictures))) == [GOOD] * 4

    def test_pixels_that_are_not_numbers_repeat_too(self) -> None:
        image = picture((64, 64), np.float32)
        image[3] = np.nan
        still = [frame(image.copy(), i) for i in range(3)]
        assert checked(still[0], *still)[-1] == Reason.FROZEN_IMAGE

    @given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=12), st.integers(1, 3))
    def test_is_the_run_of_equal_pictures_with_other_stamps(
        self, sequence: list[tuple[int, int]], limit: int
    ) -> None:
        """Against a direct count, for every order of pictures and stamps."""
        pictures = [picture((16, 16), np.uint8, seed) for seed in range(3)]
        found = checked(
            frame(pictures[0]), *(frame(pictures[p], s) for p, s in sequence), frozen_frames=limit
        )
        repeats = 0
        for i, (now, reason) in enumerate(zip(sequence, found, strict=True)):
            before = sequence[i - 1] if i else None
            if before is None or before[0] != now[0]:
                repeats = 0
            elif before[1] != now[1]:
                repeats += 1
            assert reason == (Reason.FROZEN_IMAGE if repeats >= limit else GOOD)


class TestBlank:
    """Frames that show nothing of what was marked."""

    @TYPES
    @SHAPES
    def test_black_and_saturated(self, shape: tuple[int, ...], dtype: type) -> None:
        marked = frame(picture(shape, dtype))
        white = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1e30
        dim = (marked.image * 0.01).astype(dtype)
        found = checked(
            marked,
            frame(np.zeros(shape, dtype), 2),
            frame(np.full(shape, white, dtype), 3),
            frame(dim, 4),
            marked,
        )
        assert found == [Reason.BLACK_IMAGE, Reason.SATURATED_IMAGE, Reason.BLACK_IMAGE, GOOD]

    @TYPES
    @given(gain=st.floats(0.2, 1.5), offset=st.floats(0.0, 40.0))
    def test_gain_and_brightness_may_change(self, dtype: type, gain: float, offset: float) -> None:
        marked = frame(picture((64, 64), dtype))
        assert checked(marked, frame((marked.image * gain + offset).astype(dtype), 2)) == [GOOD]

    def test_mostly_saturated_is_saturated_though_the_rest_has_contrast(self) -> None:
        marked = frame(picture((128, 128), np.uint8))
        part, most = marked.image.copy(), marked.image.copy()
        part[:50] = 255
        most[:80] = 255
        assert checked(marked, frame(part, 2), frame(most, 3)) == [GOOD, Reason.SATURATED_IMAGE]
        assert checked(frame(part), frame(most, 3)) == [GOOD], "it was marked like that"

    def test_blank_frames_are_not_frozen_as_well(self) -> None:
        """A beam that pauses gives black frames, which are all the same; it must not latch."""
        marked = frame(picture((64, 64), np.uint8))
        black = [frame(np.zeros((64, 64), np.uint8), 2 + i) for i in range(5)]
        assert checked(marked, *black, marked) == [Reason.BLACK_IMAGE] * 5 + [GOOD]

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_pixels_without_a_value_are_blank(self, value: float) -> None:
        marked = frame(picture((64, 64), np.float32))
        few, many, fan = (marked.image.copy() for _ in range(3))
        few[:10] = many[:40] = value
        fan[20:] = value
        assert checked(marked, frame(few, 2), frame(many, 3)) == [GOOD, Reason.BLACK_IMAGE]
        assert checked(marked, frame(np.full_like(few, value), 2)) == [Reason.BLACK_IMAGE]
        assert checked(frame(fan), frame(fan, 2)) == [GOOD], "an outline without values is no fault"

    def test_before_landmarks_are_marked_only_an_empty_picture_is_blank(self) -> None:
        images = (picture((64, 64), np.uint8), np.zeros((64, 64), np.uint8), np.full((64, 64), 90, np.uint8))
        check = FrameCheck(2)
        found = [check.check(frame(image, i)) for i, image in enumerate(images)]
        assert found == [GOOD, Reason.BLACK_IMAGE, Reason.SATURATED_IMAGE]
        assert [is_blank(image) for image in images] == [False, True, True]

    @given(
        arrays.arrays(
            np.float32,
            arrays.array_shapes(min_dims=2, max_dims=3, max_side=12),
            elements=st.floats(width=32),
        )
    )
    def test_any_picture_has_an_answer(self, image: np.ndarray) -> None:
        """Not finite, as large as can be, or one pixel wide: neither error nor warning."""
        with np.errstate(all="raise"):
            checked(frame(picture(image.shape, np.float32)), frame(image, 2))
            checked(frame(image), frame(image, 2))


class TestGeometry:
    """Frames that are not like the one on which landmarks were marked."""

    def test_missing(self) -> None:
        marked = frame(picture((64, 64), np.uint8))
        assert checked(marked, replace(marked, geometry=None)) == [Reason.GEOMETRY_MISSING]

    @pytest.mark.parametrize(
        "change",
        [
            lambda image: image[:-1],
            lambda image: image.T.copy(),
            lambda image: image.astype(np.uint16),
            lambda image: image[None],
            lambda image: image[:0, :0],
        ],
        ids=["cropped", "turned", "type", "volume", "unreadable"],
    )
    def test_other_size_or_type(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
        marked = frame(picture((64, 80), np.uint8))
        assert checked(marked, frame(change(marked.image), 2), marked) == [Reason.GEOMETRY_CHANGED, GOOD]

    def test_unreadable_frame_is_at_fault_before_any_is_marked(self) -> None:
        assert FrameCheck(2).check(frame(np.zeros((0, 0), np.uint8))) == Reason.GEOMETRY_CHANGED

    @pytest.mark.parametrize(
        "change",
        [
            {"modality": Modality.PORTAL},
            {"spacing_mm": (0.5, 0.501, 0.0)},
            {"mount": Mount.COUCH},
            {"mount": Mount.PATIENT},
            {"sad_mm": 1001.0},
            {"sid_mm": 1501.0},
            {"projection": np.eye(3, 4)},
            {"pose": np.array([[1, 0, 0, 0.01], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_imager_that_changes(self, change: dict[str, object]) -> None:
        marked = frame(picture((64, 64), np.uint8))
        changed = replace(marked, stamp_ns=2, geometry=replace(GEOMETRY, **change))
        assert checked(marked, changed) == [Reason.GEOMETRY_CHANGED]

    def test_same_imager_that_says_so_again(self) -> None:
        marked = frame(picture((64, 64), np.uint8), geometry=replace(GEOMETRY, projection=np.eye(3, 4)))
        again = replace(GEOMETRY, pose=np.eye(4) + 1e-9, projection=np.eye(3, 4))
        assert checked(marked, replace(marked, geometry=again)) == [GOOD]

    def test_hand_held_imager_may_move_but_not_zoom(self) -> None:
        held = replace(GEOMETRY, mount=Mount.PATIENT)
        moved = replace(held, pose=np.diag([-1.0, -1.0, 1.0, 1.0]))
        zoomed = replace(held, spacing_mm=(0.4, 0.4, 0.0))
        marked = frame(picture((64, 64), np.uint8), geometry=held)
        found = checked(marked, replace(marked, geometry=moved), replace(marked, geometry=zoomed))
        assert found == [GOOD, Reason.GEOMETRY_CHANGED]


@pytest.mark.parametrize(
    ("uv_px", "expected"),
    [
        ((0.0, 0.0), GOOD),
        ((-0.4, 19.4), GOOD),
        ((9.4, 0.0), GOOD),
        ((-0.6, 5.0), Reason.OUTSIDE_IMAGE),
        ((5.0, 19.6), Reason.OUTSIDE_IMAGE),
        ((19.0, 5.0), Reason.OUTSIDE_IMAGE),
        ((np.inf, 5.0), Reason.OUTSIDE_IMAGE),
        ((np.nan, np.nan), GOOD),
    ],
)
def test_estimate_outside_the_image(uv_px: tuple[float, ...], expected: Reason) -> None:
    """The image is 10 wide and 20 high; what is not known lies nowhere."""
    estimates = [Estimate("inside", uv_px=(5.0, 5.0)), Estimate("probed", uv_px=uv_px)]
    assert outside_image(estimates, (20, 10)) == expected


def test_estimate_outside_the_volume() -> None:
    assert not outside_image([Estimate("a", uv_px=(9.0, 19.0, 29.0))], (30, 20, 10))
    assert outside_image([Estimate("a", uv_px=(9.0, 19.0, 30.0))], (30, 20, 10)) == Reason.OUTSIDE_IMAGE

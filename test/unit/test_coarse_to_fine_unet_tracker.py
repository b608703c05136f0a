"""The coarse-to-fine U-Net as a tracker: a small network, really trained, on discs over noise."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from coarse_to_fine_unet_example import image_of_discs, write_run  # noqa: E402

from lmtrack_ros.core.errors import UserError  # noqa: E402
from lmtrack_ros.core.geometry import ImageGeometry, Modality  # noqa: E402
from lmtrack_ros.core.records import NS_PER_S, Frame, LandmarkSet, Status  # noqa: E402
from lmtrack_ros.inference.parameters import InferenceParameters  # noqa: E402
from lmtrack_ros.models.coarse_to_fine_unet.candidates import candidates  # noqa: E402
from lmtrack_ros.models.coarse_to_fine_unet.finder import Finder  # noqa: E402
from lmtrack_ros.models.coarse_to_fine_unet.parameters import CoarseToFineUnetParameters  # noqa: E402
from lmtrack_ros.models.coarse_to_fine_unet.steadiness import Steadiness  # noqa: E402
from lmtrack_ros.models.coarse_to_fine_unet.strands import Strands  # noqa: E402
from lmtrack_ros.models.coarse_to_fine_unet.tracker import CoarseToFineUnetTracker  # noqa: E402
from lmtrack_ros.trackers import create_tracker  # noqa: E402

EAGER = InferenceParameters(device="cpu", backend="eager", precision="fp32")
GEOMETRY = ImageGeometry(Modality.FLUOROSCOPY, (2.0, 2.0, 0.0))
STEP_NS = NS_PER_S // 2


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_run(tmp_path_factory.mktemp("run"))


def made(run: str, late_steps: int = 0) -> CoarseToFineUnetTracker:
    # the small network's outlines are less clear than those of one that learnt for long
    return CoarseToFineUnetTracker(
        CoarseToFineUnetParameters(weights=run, late_steps=late_steps, inference=EAGER, least_clarity=0.5)
    )


@pytest.fixture
def tracker(run: str) -> CoarseToFineUnetTracker:
    return made(run)


def row_at(time_s: float) -> float:
    return 20 + 8 * float(np.sin(2 * np.pi * time_s / 3))


def frame(stamp_ns: int, places: Sequence[tuple[float, float]]) -> Frame:
    return Frame(NS_PER_S + stamp_ns, image_of_discs(list(places), stamp_ns // 10**7), GEOMETRY)


def breathing(number: int, step_ns: int = STEP_NS) -> Frame:
    return frame(number * step_ns, [(24.0, row_at(number * step_ns / NS_PER_S))])


def states(found: Sequence[LandmarkSet]) -> list[Status]:
    return [one.estimates[0].status for one in found]


def test_finds_what_moves_without_a_mark(tracker: CoarseToFineUnetTracker) -> None:
    assert not tracker.needs_initialization
    assert tracker.landmark_ids == ("tumor",)
    found = [tracker.update(breathing(number)) for number in range(12)]
    # nothing is known before it was found for a second
    assert states(found) == [Status.UNCERTAIN] * 2 + [Status.TRACKED] * 10
    for number, one in enumerate(found):
        (estimate,) = one.estimates
        np.testing.assert_allclose(estimate.uv_px, (24.0, row_at(number / 2)), atol=1.2)
        np.testing.assert_allclose(estimate.position_mm, GEOMETRY.position_mm(estimate.uv_px))
    sure = found[-1].estimates[0]
    assert 0 < sure.radius_mm < 4
    assert sure.confidence > 0.9


def test_outline_is_that_of_the_tumour(tracker: CoarseToFineUnetTracker) -> None:
    estimate = [tracker.update(breathing(number)) for number in range(4)][-1].estimates[0]
    away_mm = np.linalg.norm(estimate.contour_mm - GEOMETRY.position_mm((24.0, row_at(1.5))), axis=1)
    assert len(estimate.contour_mm) > 8
    # a disc of 4 px at 2 mm
    assert 4 < away_mm.min() < away_mm.max() < 13


def test_no_tumour_in_view_is_lost_and_known_again_only_after_a_while(
    tracker: CoarseToFineUnetTracker,
) -> None:
    numbers = range(14)
    shown = [breathing(n) if n not in (5, 6) else frame(n * STEP_NS, []) for n in numbers]
    of = states([tracker.update(one) for one in shown])
    assert of[4:] == [Status.TRACKED, *[Status.LOST] * 2, *[Status.UNCERTAIN] * 2, *[Status.TRACKED] * 5]


def test_two_tumours_are_uncertain(tracker: CoarseToFineUnetTracker) -> None:
    for number in range(5):
        both = [(10.0, row_at(number / 2)), (36.0, row_at(number / 2))]
        found = tracker.update(frame(number * STEP_NS, both))
    assert found.estimates[0].status is Status.UNCERTAIN
    assert found.estimates[0].radius_mm == np.inf


def test_leap_is_uncertain_until_it_lasts(tracker: CoarseToFineUnetTracker) -> None:
    of = []
    for number in range(10):
        column = 12.0 if number < 5 else 36.0
        # 48 mm in a twentieth of a second
        stamp_ns = number * STEP_NS - (STEP_NS * 9 // 10 if number >= 5 else 0)
        of.append(tracker.update(frame(stamp_ns, [(column, row_at(number / 2))])).estimates[0].status)
    assert of[4] is Status.TRACKED
    assert of[5] is of[6] is Status.UNCERTAIN
    assert of[-1] is Status.TRACKED


def test_faster_frames_are_streams_by_turns(run: str) -> None:
    fast, slow = made(run), made(run)
    every = [fast.update(breathing(number, STEP_NS // 5)) for number in range(40)]
    alone = [slow.update(breathing(number)) for number in range(8)]
    for one, other in zip(every[::5], alone, strict=True):
        np.testing.assert_array_equal(one.estimates[0].uv_px, other.estimates[0].uv_px)
    assert states(every)[-20:] == [Status.TRACKED] * 20


def test_late_output_is_of_the_earlier_frame(run: str) -> None:
    late = made(run, late_steps=2)
    found = [late.update(breathing(number)) for number in range(10)]
    assert [one.stamp_ns for one in found] == [NS_PER_S + (n - 2) * STEP_NS for n in range(10)]
    assert states(found) == [*[Status.LOST] * 2, *[Status.UNCERTAIN] * 2, *[Status.TRACKED] * 6]
    for number, one in enumerate(found[2:]):
        np.testing.assert_allclose(one.estimates[0].uv_px, (24.0, row_at(number / 2)), atol=1.2)


def test_another_image_size_and_a_gap_begin_anew(tracker: CoarseToFineUnetTracker) -> None:
    for number in range(4):
        tracker.update(breathing(number))
    wider = np.pad(breathing(4).image, ((0, 0), (4, 4)), mode="edge")
    assert states([tracker.update(Frame(NS_PER_S + 4 * STEP_NS, wider, GEOMETRY))]) == [Status.UNCERTAIN]
    of = states([tracker.update(breathing(number)) for number in (5, 6, 7, 8, 12, 13)])
    assert of[3:] == [Status.TRACKED, Status.UNCERTAIN, Status.UNCERTAIN]


def test_frame_without_others_a_step_before_it_is_not_known(tracker: CoarseToFineUnetTracker) -> None:
    """After a pause shorter than a step some frames follow none, though the tumour was found all the time."""
    fast_ns = NS_PER_S // 20
    stamps_ns = [*range(0, 3 * NS_PER_S, fast_ns), *range(3 * NS_PER_S + STEP_NS, 6 * NS_PER_S, fast_ns)]
    of = dict(
        zip(
            stamps_ns,
            states([tracker.update(frame(ns, [(24.0, row_at(ns / NS_PER_S))])) for ns in stamps_ns]),
            strict=True,
        )
    )
    last_ns = 3 * NS_PER_S - fast_ns
    assert of[last_ns] is Status.TRACKED
    # the strands that end a step before go on; what comes later begins anew, and is known a second after
    begun_anew = [ns for ns in stamps_ns if last_ns + 1.36 * STEP_NS < ns < last_ns + 1.74 * STEP_NS]
    assert begun_anew
    assert {of[ns] for ns in begun_anew} == {Status.UNCERTAIN}
    assert of[stamps_ns[-1]] is Status.TRACKED


def test_time_that_goes_back_begins_anew(tracker: CoarseToFineUnetTracker) -> None:
    assert states([tracker.update(breathing(number)) for number in range(8)])[-1] is Status.TRACKED
    again = states([tracker.update(breathing(number)) for number in range(5, 9)])
    assert again == [Status.UNCERTAIN] * 2 + [Status.TRACKED] * 2


def test_output_that_is_no_number_is_lost_and_begins_anew(
    tracker: CoarseToFineUnetTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        tracker.update(breathing(number))
    with monkeypatch.context() as broken:
        whole = tracker._finder.advanced

        def nowhere(*given: Any) -> Any:
            output, stream = whole(*given)
            return np.full_like(output, np.nan), stream

        broken.setattr(tracker._finder, "advanced", nowhere)
        assert states([tracker.update(breathing(6))]) == [Status.LOST]
    assert states([tracker.update(breathing(number)) for number in (7, 8)]) == [Status.UNCERTAIN] * 2


def test_what_cannot_be_seen_is_lost(tracker: CoarseToFineUnetTracker) -> None:
    blank = np.full((40, 48), np.nan, np.float32)
    for number in range(4):
        tracker.update(breathing(number))
    assert states([tracker.update(Frame(NS_PER_S + 4 * STEP_NS, blank, GEOMETRY))]) == [Status.LOST]
    volume = np.zeros((4, 40, 48), np.uint8)
    assert states([tracker.update(Frame(NS_PER_S + 5 * STEP_NS, volume, GEOMETRY))]) == [Status.LOST]
    # and what was seen does no harm
    of = states([tracker.update(breathing(number)) for number in range(6, 10)])
    assert of[-1] is Status.TRACKED


def test_without_geometry_there_are_pixels_alone(tracker: CoarseToFineUnetTracker) -> None:
    for number in range(4):
        shown = breathing(number)
        found = tracker.update(Frame(shown.stamp_ns, shown.image))
    assert np.isfinite(found.estimates[0].uv_px).all()
    assert not any(found.estimates[0].observed)
    assert len(found.estimates[0].contour_mm) == 0


def test_unknown_weights_are_named() -> None:
    with pytest.raises(UserError, match="no_such"):
        create_tracker("coarse_to_fine_unet", {"weights": "no_such"})


def test_engine_goes_along_as_the_stream_does(run: str) -> None:
    eager, other = (
        Finder(run, InferenceParameters(device="cpu", backend=name, precision="fp32"))
        for name in ("eager", "openvino")
    )
    rng = np.random.default_rng(0)
    frames = rng.random((6, 32, 32), dtype=np.float32)
    streams = [one.begun(frames[0]) for one in (eager, other)]
    for image in frames:
        outputs = []
        for index, one in enumerate((eager, other)):
            output, streams[index] = one.advanced(streams[index], image)
            outputs.append(output)
        np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-3)


def squares(*corners: tuple[int, int, int, float]) -> NDArray[np.float32]:
    output = np.zeros((32, 32), np.float32)
    for row, column, side, value in corners:
        output[row : row + side, column : column + side] = value
    return output


def test_candidates_are_parts_that_are_found_the_largest_first() -> None:
    found = candidates(squares((2, 2, 4, 0.9), (20, 10, 6, 1.0), (10, 25, 5, 0.4), (28, 28, 1, 0.9)))
    assert [one.centroid_px.tolist() for one in found] == [[12.5, 22.5], [3.5, 3.5]]
    assert found[0].area_px == 36
    assert [one.clarity for one in found] == pytest.approx([1.0, 0.9])
    assert candidates(squares()) == []


def test_centroid_is_the_less_certain_the_more_the_network_hesitates() -> None:
    (sure,) = candidates(squares((10, 10, 6, 1.0)))
    (large,) = candidates(squares((4, 4, 12, 1.0)))
    (fuzzy,) = candidates(squares((10, 10, 6, 0.8)))
    (beside,) = candidates(squares((10, 10, 6, 1.0), (10, 16, 4, 0.2)))
    (far,) = candidates(squares((10, 10, 6, 1.0), (10, 26, 6, 0.2)))

    def floor(pixels: int) -> float:
        return 0.5**2 + 0.05**2 * 4 * pixels / np.pi

    np.testing.assert_allclose(sure.sigma_px, floor(36) ** 0.5, rtol=1e-5)
    np.testing.assert_allclose(large.sigma_px, floor(144) ** 0.5, rtol=1e-5)
    assert (fuzzy.sigma_px > sure.sigma_px).all()
    # along columns, where the other place is
    assert beside.sigma_px[0] > 1.05 * beside.sigma_px[1] > 0
    np.testing.assert_array_equal(far.sigma_px, sure.sigma_px)
    # by hand: 36 pixels of 0.8 * 0.2 about their own centre, over the square of their area
    variance = 0.8 * 0.2 * 6 * 2 * (0.5**2 + 1.5**2 + 2.5**2) / (36 * 0.8) ** 2 + floor(36)
    np.testing.assert_allclose(fuzzy.sigma_px, variance**0.5, rtol=1e-5)


def test_rival_counts_against_what_is_not_known_yet_or_if_it_stays() -> None:
    steady = Steadiness(1.0, 0.7, 60.0)
    quarter = STEP_NS // 2

    def told(rivals: str, start: int) -> str:
        """Say for each frame, "x" with a rival, whether it is steady."""
        found = [
            steady.add((start + i) * quarter, np.zeros(2), has_rival=r == "x") for i, r in enumerate(rivals)
        ]
        return "".join("-S"[one] for one in found)

    assert told("..x..........", 0) == "-------SSSSSS"
    # one that flickers, and one in every other frame for a second
    assert told("xx....x...", 13) == "SSSSSSSSSS"
    assert told("x.x.x.....", 23) == "SSSS-----S"


def test_steady_is_what_lasts_without_gap_or_leap() -> None:
    steady = Steadiness(1.0, 0.7, 60.0)
    here, there = np.zeros(2), np.array([40.0, 0.0])
    half = STEP_NS

    def told(*places: NDArray[np.float64], start: int = 0) -> list[bool]:
        return [steady.add((start + i) * half, place, has_rival=False) for i, place in enumerate(places)]

    assert told(here, here, here, here) == [False, False, True, True]
    assert told(there, there, there, start=4) == [False, False, True]
    assert told(there, start=9) == [False]  # after 1.5 s
    assert told(there, there, start=10) == [False, True]
    steady.forget()
    assert told(there, start=12) == [False]


def test_strand_goes_on_where_one_ended_a_step_before() -> None:
    strands: Strands[str] = Strands(0.5)
    for time_ms, name in ((0, "a"), (100, "b"), (520, "a2")):
        strands.add(time_ms * 10**6, name)
    assert strands.before(600 * 10**6) == "b"
    assert strands.before(1000 * 10**6) == "a2"
    assert strands.before(800 * 10**6) is None
    strands.clear()
    assert strands.before(600 * 10**6) is None

"""How hard phantoms are to track: the statistics, the comparison itself, table and figure."""

import cv2
import numpy as np
import pytest

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.evaluation.difficulty import (
    SETTINGS,
    TRACKERS,
    Difficulty,
    Setting,
    Spread,
    _Job,
    measure,
    sequence_count,
)
from lmtrack_ros.evaluation.difficulty_report import draw, table, write_table
from lmtrack_ros.phantoms import PhantomParameters, open_phantom
from lmtrack_ros.phantoms.export import samples, write

SECONDS = 0.7


def spread(*sequences):
    return Spread(tuple(np.array(s, dtype=float) for s in sequences))


def difficulty(real, simulated, tracker="correlation", setting=SETTINGS[0]):
    return Difficulty(setting, tracker, spread(real), spread(real), spread(*simulated))


def test_each_sequence_counts_alike():
    uneven = spread([1.0] * 100, [3.0] * 4)
    assert uneven.mean_mm == pytest.approx(2.0)
    assert uneven.p95_mm == 3.0
    errors_mm, part = uneven.distribution()
    assert part[np.searchsorted(errors_mm, 2.0) - 1] == pytest.approx(0.5)
    assert part[-1] == pytest.approx(1.0)


def test_percentile_is_the_usual_one_for_equal_sequences():
    sequences = np.random.default_rng(0).exponential(1.0, (5, 200))
    expected = np.percentile(sequences, 95, method="inverted_cdf")
    assert spread(*sequences).p95_mm == pytest.approx(expected)


def test_interval_is_that_of_a_mean_over_sequences():
    rng = np.random.default_rng(1)
    centers = rng.normal(5.0, 1.0, 40)
    # many frames do not make up for few sequences
    found = spread(*(c + 0.01 * rng.standard_normal(500) for c in centers))
    low, high = found.mean_interval_mm
    assert low < found.mean_mm < high
    assert high - low == pytest.approx(2 * 1.96 * centers.std() / np.sqrt(40), rel=0.15)
    low, high = found.p95_interval_mm
    assert low <= found.p95_mm <= high


def test_one_sequence_leaves_nothing_to_resample():
    one = spread([1.0, 2.0, 3.0])
    assert one.mean_interval_mm == (2.0, 2.0)


@pytest.mark.parametrize(("simulated_mm", "enough"), [(0.69, False), (0.71, True), (3.0, True)])
def test_phantoms_must_not_be_easier(simulated_mm, enough):
    one = difficulty([0.5, 1.5], [[simulated_mm], [simulated_mm]])
    assert one.ratio == pytest.approx(simulated_mm)
    assert one.is_hard_enough is enough
    assert one.is_hard_enough is enough
    assert ("**no**" in table([one])) is not enough


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Compare phantoms with a recording that is itself the phantom of seed 0."""
    data = tmp_path_factory.mktemp("data")
    phantom = open_phantom("mr", PhantomParameters(seed=0))
    write(data / "same", phantom.info, samples(phantom, SECONDS))
    setting = Setting("mr", ("same",), SECONDS)
    done = []
    found = measure(setting, data, (0, 1), 2, lambda: done.append(1))
    assert len(done) == sequence_count(setting, (0, 1)) == 4
    return found


def test_phantom_is_measured_as_its_recording_is(measured):
    assert tuple(one.tracker for one in measured) == TRACKERS
    phantom = open_phantom("mr")
    names = list(phantom.positions_mm(0.0))
    # the first frame is where it starts from
    frames = round(SECONDS * phantom.info.rate_hz) - 1
    for one in measured:
        (real,) = one.real.errors_mm
        first, _ = one.simulated.errors_mm
        assert len(first) == len(names) * frames
        np.testing.assert_allclose(first, real, atol=0.02)
    first, other = measured[0].simulated.errors_mm
    assert not np.allclose(first, other, atol=0.005)


def test_table_and_figure_are_written(measured, tmp_path):
    write_table(tmp_path / "difficulty.md", measured, (0, 1))
    text = (tmp_path / "difficulty.md").read_text(encoding="utf-8")
    assert "seeds 0 to 1, 0.7 s each, beside same" in text
    assert sum(line.startswith("| mr |") for line in text.splitlines()) == len(TRACKERS)
    hard = difficulty([1.0, 2.0], [[4.0, 5.0]], setting=SETTINGS[0])
    draw(tmp_path / "difficulty.png", [*measured, hard])
    picture = cv2.imread(str(tmp_path / "difficulty.png"))
    assert picture.shape[0] > 400
    assert picture.std() > 5


def test_dome_is_scored_along_rows_alone():
    _, annotations = _Job("mr", seed=0, seconds=0.2).open()
    axes = {a.landmark.id: a.landmark.axes for a in annotations}
    assert axes["dome"] == (False, True)
    assert axes["portal_vein"] == (True, True)


def test_finer_recording_is_also_followed_on_the_phantoms_pixels(tmp_path):
    """On pixels twice as coarse, marks lie at the same places in mm."""
    phantom = open_phantom("mr", PhantomParameters(preset="thorax"))
    write(tmp_path / "fine", phantom.info, samples(phantom, 0.7))
    fine, marks = _Job(tmp_path / "fine").open()
    coarse, moved = _Job(tmp_path / "fine", pitch_mm=2.0).open()
    (a, *_), (b, *_) = fine, coarse
    assert b.image.shape == (135, 135)
    assert b.geometry.spacing_mm[:2] == (2.0, 2.0)
    for one, other in zip(marks, moved, strict=True):
        at_mm = [(np.array(m.marks[0].uv_px) + 0.5) * s for m, s in ((one, 1.0), (other, 2.0))]
        np.testing.assert_allclose(*at_mm, atol=1e-9)
    same, _ = _Job(tmp_path / "fine", pitch_mm=1.1).open()
    assert next(iter(same)).image.shape == a.image.shape


def test_needs_the_recordings(tmp_path):
    with pytest.raises(UserError, match="no recording at"):
        measure(SETTINGS[2], tmp_path)

"""Cases of lung tumours: what is rendered of them, and that it is kept."""

import numpy as np
from numpy.testing import assert_array_equal

from lmtrack_ros.phantoms.fluoroscopy import FluoroscopyPhantom
from lmtrack_ros.phantoms.lung_cases import LARGE_MM, SMALL_MM, Case, load
from lmtrack_ros.phantoms.phantom import PhantomParameters

CASES = (
    Case(7, 1, SMALL_MM, frames=2),
    Case(7, 2, LARGE_MM, frames=3, amplitude=2.0),
    Case(7, None, frames=2),
)


def test_cases_show_their_tumors_and_are_kept(tmp_path):
    told = []
    small, large, none = load(CASES, tmp_path, told.append)
    assert told == [3]
    chest = FluoroscopyPhantom(PhantomParameters("lung_phases", 7, 2.0))
    tumor = chest.with_tumor(2, LARGE_MM, 2.0)
    for index in range(3):
        assert_array_equal(large.images[index], tumor.render(1, 0.5 * index).image)
        assert_array_equal(large.masks[index], tumor.masks(0.5 * index)["tumor"])
    assert large.spacing_mm == chest.geometry.plane_spacing_mm[0]
    assert SMALL_MM[0] <= small.diameter_mm <= SMALL_MM[1] < large.diameter_mm
    assert large.travel_mm > 0.0
    assert set(large.hidden) == {"bone", "mediastinum"}
    assert none.diameter_mm == 0.0 == none.travel_mm
    assert not none.masks.any()
    kept = sorted(tmp_path.iterdir())
    stamps = [path.stat().st_mtime_ns for path in kept]
    again = load(CASES, tmp_path)
    assert_array_equal(again[0].images, small.images)
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir())] == stamps


def test_a_case_is_the_same_whoever_it_is_rendered_with(tmp_path):
    alone = load(CASES[1:2], tmp_path / "alone")[0]
    among = load(CASES, tmp_path / "among")[1]
    assert_array_equal(alone.images, among.images)
    assert np.array_equal(alone.masks, among.masks)

"""Calibration: 95 % means 95 %, each sequence counts alike, and what is not calibrated says nothing."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from lmtrack_ros.core.frames import View, isocenter_from_image
from lmtrack_ros.core.geometry import ImageGeometry, Modality
from lmtrack_ros.core.records import Frame, Landmark, Status
from lmtrack_ros.models.calibration import Calibration, fit_factor
from lmtrack_ros.models.tracking import Measurement, Trust, judged
from lmtrack_ros.training.calibration import TrueSequence, calibrate

GEOMETRY = ImageGeometry(Modality.MR, (2.0, 2.0, 0.0), pose=isocenter_from_image(View.SAGITTAL))
LANDMARK = Landmark("vessel", (10.0, 10.0))


def test_factor_covers_the_wanted_share() -> None:
    rng = np.random.default_rng(0)
    scores = [np.abs(rng.standard_normal(200)) for _ in range(40)]
    factor = fit_factor(scores, [200] * 40)
    assert np.mean(np.concatenate(scores) <= factor) == pytest.approx(0.95 * 41 / 40, abs=0.005)


def test_factor_generalises_to_new_sequences() -> None:
    """Sequences differ in how far their errors exceed what is claimed, and still 95 % are covered."""
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(60):
        spread = rng.lognormal(0.0, 0.5, 31)
        *fitted, new = [s * np.abs(rng.standard_normal(100)) for s in spread]
        covered.append(np.mean(new <= fit_factor(fitted, [100] * 30)))
    assert np.mean(covered) >= 0.93


def test_long_sequence_counts_no_more_than_a_short_one() -> None:
    short, long = np.full(10, 1.0), np.full(10_000, 0.1)
    assert fit_factor([short, long], [10, 10_000]) == 1.0


def test_few_sequences_give_the_worst_case() -> None:
    assert fit_factor([np.array([0.5, 3.0]), np.array([1.0])], [2, 1]) == 3.0


def test_kind_that_is_rare_in_a_sequence_weighs_little_there() -> None:
    usual, rare = np.full(100, 1.0), np.array([50.0])
    assert fit_factor([usual] * 99 + [rare], [100] * 100) == 1.0
    assert fit_factor([usual] * 9 + [rare], [100] * 9 + [1]) == 50.0


def test_nothing_to_fit() -> None:
    with pytest.raises(ValueError, match="no estimate"):
        fit_factor([], [])


def test_without_calibration_nothing_is_tracked() -> None:
    one = Measurement("network", np.array([10.0, 10.0]), np.array([0.1, 0.1]))
    estimate = judged(LANDMARK, [one], GEOMETRY, Calibration({}), Trust())
    assert estimate.status is Status.UNCERTAIN
    assert estimate.radius_mm == np.inf
    assert estimate.confidence == 0.0


def test_last_measurement_counts() -> None:
    calibration = Calibration({"network": {2: 1.0}, "refined": {1: 9.0, 2: 2.0}})
    rough = Measurement("network", np.array([20.0, 20.0]), np.array([9.0, 9.0]))
    fine = Measurement("refined", np.array([10.5, 9.5]), np.array([0.2, 0.2]))
    estimate = judged(LANDMARK, [rough, fine], GEOMETRY, calibration, Trust())
    assert estimate.status is Status.TRACKED
    assert estimate.uv_px == (10.5, 9.5)
    # 0.2 px × 2 mm, and 0.2 mm of marking; × factor 2; of that √5.991 is the 95 % radius in a plane
    assert estimate.radius_mm == pytest.approx(2 * np.hypot(0.4, 0.2) * 5.991**0.5)


def test_number_of_axes_that_is_not_calibrated_has_the_greatest_factor() -> None:
    calibration = Calibration({"refined": {1: 3.0, 2: 2.0}})
    assert calibration.sigma("refined", np.ones(2), 1).tolist() == [3.0, 3.0]
    assert calibration.sigma("refined", np.ones(3), 3).tolist() == [3.0, 3.0, 3.0]


def test_points_and_edges_are_calibrated_apart() -> None:
    edge = Landmark("dome", (10.0, 10.0), (False, True))
    of_edge = replace(sequence("b"), landmarks=[edge], truth_px=[dict.fromkeys(range(5), (13.0, 12.0))])
    fitted = calibrate(Biased(), [sequence("a"), of_edge])
    # the edge is 2 px above where it is claimed to be
    assert fitted.factors["coarse"][1] == pytest.approx(4.0 / np.hypot(2.0, 0.2) / 3.841**0.5, abs=1e-3)
    assert fitted.factors["coarse"][2] == pytest.approx(6.0 / np.hypot(2.0, 0.2) / 5.991**0.5, abs=1e-3)


def test_what_was_not_found_is_lost() -> None:
    assert judged(LANDMARK, [], GEOMETRY, Calibration({"network": {2: 1.0}}), Trust()).status is Status.LOST


class Biased:
    """Errs by a known amount, claims another, and refines only once the first kind is calibrated."""

    calibrated_in_turn = (("coarse",), ("fine",))

    def __init__(self) -> None:
        self.calibration = Calibration({})

    def initialize(self, frame: Frame, landmarks: list[Landmark]) -> None:
        self._at = np.array(landmarks[0].uv_px)

    def measure(self, frame: Frame) -> list[tuple[Measurement, ...]]:
        coarse = Measurement("coarse", self._at + np.array([3.0, 0.0]), np.array([1.0, 1.0]))
        radius = self.calibration.radius("coarse", coarse.sigma_px, 2)
        if not np.isfinite(radius).all():
            return [(coarse,)]
        return [(coarse, Measurement("fine", self._at + np.array([0.5, 0.0]), np.array([1.0, 1.0])))]


class Unconditional(Biased):
    """Refines at once, and is calibrated at once."""

    calibrated_in_turn = (("coarse", "fine"),)

    def measure(self, frame: Frame) -> list[tuple[Measurement, ...]]:
        self.calibration = Calibration({"coarse": {2: 1.0}})
        return super().measure(frame)


def sequence(name: str) -> TrueSequence:
    frames = [Frame(i + 1, np.zeros((20, 20), np.uint8), GEOMETRY) for i in range(5)]
    return TrueSequence(name, frames, [LANDMARK], [dict.fromkeys(range(5), (10.0, 10.0))])


def test_kinds_are_calibrated_in_turn() -> None:
    tracker = Biased()
    fitted = calibrate(tracker, [sequence("a"), sequence("b")])
    # an error of 6 mm, claimed to be within √5.991 times 2 mm and what marking is uncertain by
    assert fitted.factors["coarse"][2] == pytest.approx(6.0 / np.hypot(2.0, 0.2) / 5.991**0.5, abs=1e-3)
    assert fitted.factors["fine"][2] == pytest.approx(1.0 / np.hypot(2.0, 0.2) / 5.991**0.5, abs=1e-3)
    assert fitted.sequences == 2
    assert tracker.calibration is fitted


def test_kind_that_hardly_occurs_is_trusted_no_more_than_surer_ones() -> None:
    """One sequence cannot promise anything, so that the fine kind has the factor of the coarse one."""
    tracker = Unconditional()
    few = calibrate(tracker, [sequence("a")])
    assert few.factors["fine"] == few.factors["coarse"]
    many = calibrate(tracker, [sequence(str(n)) for n in range(19)])
    assert many.factors["fine"][2] < many.factors["coarse"][2]


def test_kind_that_never_occurs_is_never_trusted() -> None:
    tracker = Biased()
    tracker.calibrated_in_turn = (("coarse",), ("fine", "finest"))
    fitted = calibrate(tracker, [sequence("a")])
    assert fitted.factors["finest"] == {}
    assert np.isinf(fitted.sigma("finest", np.ones(2), 2)).all()

"""The ablations: one thing at a time, scored on known landmarks, resumable."""

from collections import Counter
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest
from template_matching_example import TINY

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import ImageGeometry, Modality
from lmtrack_ros.core.records import Frame, Landmark
from lmtrack_ros.evaluation.ablation_study import page, study
from lmtrack_ros.evaluation.ablation_study.arms import ARMS, SCHEDULE, VARIED, Arm
from lmtrack_ros.evaluation.ablation_study.landmarks import (
    LandmarkErrors,
    landmark_errors,
    mean_interval_mm,
    pooled,
)
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.evaluation.trained_run import trained_run
from lmtrack_ros.models.description import Description, plain_values
from lmtrack_ros.models.tracking import Measurement
from lmtrack_ros.training.calibration import TrueSequence

BASE = replace(TINY, depth=3)


def test_one_thing_at_a_time_is_changed():
    base = asdict(SCHEDULE)
    for arm in ARMS:
        changed = {name for name, value in asdict(arm.configuration).items() if value != base[name]}
        assert changed == (set() if arm.is_base else {arm.parameter})
    names = Counter(arm.name for arm in ARMS)
    assert names.pop("unchanged") == len(VARIED)
    assert set(names.values()) == {1}


def texture(seed=0):
    noise = np.random.default_rng(seed).standard_normal((120, 120)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def sequence():
    """Return a picture that moves up by 1 px a frame; what is known of the edge lacks one frame."""
    geometry = ImageGeometry(Modality.MR, (2.0, 1.0, 0.0))
    frames = [Frame(n + 1, texture()[n : n + 80, :70], geometry) for n in range(4)]
    landmarks = [Landmark("spot", (30.0, 40.0)), Landmark("edge", (35.0, 30.0), (False, True))]
    spot = {n: (30.0, 40.0 - n) for n in range(4)}
    edge = {n: (99.0, 30.0 - n) for n in (0, 1, 3)}
    return TrueSequence("moving up", frames, landmarks, [spot, edge])


class Stays:
    """A tracker that finds everything where it was marked but for 3 px to the right, or not at all."""

    def __init__(self, finds=True):
        self._finds = finds

    def initialize(self, frame, landmarks):
        self._uv_px = [np.add(m.uv_px, (3.0, 0.0)) for m in landmarks]

    def measure(self, frame):
        found = [(Measurement("network", uv_px, np.ones(2)),) for uv_px in self._uv_px]
        return found if self._finds else [()] * len(found)


def test_errors_are_over_the_axes_and_frames_that_are_known():
    errors = landmark_errors(Stays(), sequence())
    # frame by frame the spot, 3 px to the right and n below, then the edge, of which only the row counts
    assert errors.error_px == pytest.approx([10**0.5, 1, 13**0.5, 18**0.5, 3])
    assert errors.error_mm == pytest.approx([37**0.5, 1, 40**0.5, 45**0.5, 3])
    assert errors.moved_mm == pytest.approx([1, 1, 2, 3, 3])


def test_what_is_not_found_has_no_error_and_spoils_the_mean():
    errors = landmark_errors(Stays(finds=False), sequence())
    assert len(errors.error_px) == 5
    assert np.isnan(pooled([errors, landmark_errors(Stays(), sequence())]).error_mm.mean())


def test_interval_is_over_patients_not_frames():
    rng = np.random.default_rng(1)
    alike = [LandmarkErrors(*[rng.uniform(0, 2, 200)] * 3) for _ in range(20)]
    differing = [LandmarkErrors(*[np.full(200, level)] * 3) for level in np.linspace(0, 2, 20)]
    (low, high), (least, most) = mean_interval_mm(alike), mean_interval_mm(differing)
    assert low < pooled(alike).error_mm.mean() < high
    assert least < 1.0 < most
    assert most - least > 3 * (high - low)


@pytest.fixture
def order(tmp_path, monkeypatch):
    """Yield what asks for a study of two tiny networks, on a few pictures and a sequence."""
    data, out, work = (tmp_path / name for name in ("data", "out", "work"))
    for folder in (data, out, work):
        folder.mkdir()
    for number in range(12):
        cv2.imwrite(str(data / f"{number:02d}.png"), texture(number)[:80, :70])
    (data / "sequence.yaml").write_text(
        "modality: mr\nimages: '*.png'\nspacing_mm: [1.5, 1.5]\nrate_hz: 4.0\n"
    )
    arms = (Arm("depth", 1, BASE), Arm("depth", 3, BASE), Arm("loss", "normal", BASE))
    monkeypatch.setattr(study, "ARMS", arms)
    monkeypatch.setattr(page, "ARMS", arms)
    monkeypatch.setattr(study, "DATA", str(data))
    monkeypatch.setattr(study, "phantom_patients", lambda data: [sequence(), sequence()])
    return Order("", out, work, "lmtrack study ...", lambda what, done, total: None)


def test_study_trains_each_network_once_and_says_what_it_found(order):
    written = study.conduct(order)
    assert sorted(p.name for p in order.work.iterdir()) == ["depth-1", "unchanged"]
    text = written.read_text()
    depth, loss = (text.split(f"## {page._TITLES[p]}")[1].split("##")[0] for p in ("depth", "loss"))
    assert "| 1 |" in depth
    assert "| **3** |" in depth
    assert "| **normal** |" in loss
    assert depth.split("| **3** |")[1].split("\n")[0] == loss.split("| **normal** |")[1].split("\n")[0]
    assert "2.0 mm in phantoms" in text
    assert cv2.imread(str(written.with_suffix(".png"))) is not None


def test_interrupted_study_goes_on_where_it_was(order):
    def interrupt(what, done, total):
        if (what, done) == ("unchanged", 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.conduct(replace(order, progress=interrupt))
    assert "**So far 1 of 2 networks are done.**" in (order.out / "ablations.md").read_text()
    weights = order.work / "depth-1" / "best.safetensors"
    begun = weights.stat().st_mtime_ns
    assert "So far" not in study.conduct(order).read_text()
    assert weights.stat().st_mtime_ns == begun


def test_other_training_in_the_folder_and_weights_are_refused(order):
    def planned(depth):
        values = plain_values(Arm("depth", depth, BASE).configuration)
        return Description("template_matching", "realtime", (study.DATA,), study.SEED, values)

    trained_run(order.work / "x", planned(1), order.progress)
    with pytest.raises(UserError, match="another configuration"):
        trained_run(order.work / "x", planned(2), order.progress)
    with pytest.raises(UserError, match="leave out --weights"):
        study.conduct(replace(order, weights="mr"))

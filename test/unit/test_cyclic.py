"""The cyclic error: which frames and places, in which views, and what comes back."""

import argparse
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from template_matching_example import TINY, write_run

from lmtrack_ros.cli import evaluate
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import ImageGeometry, Modality
from lmtrack_ros.core.records import Frame
from lmtrack_ros.evaluation.cyclic import (
    CyclicErrors,
    cyclic_errors,
    grid,
    key_frames,
    open_matcher,
    read_key_frames,
    tiles,
)
from lmtrack_ros.inference.parameters import InferenceParameters

EAGER = InferenceParameters(device="cpu", backend="eager")
SIZES = st.integers(20, 700)


@settings(deadline=None, max_examples=50)
@given(SIZES, SIZES)
def test_places_fill_the_image_evenly_and_are_not_too_many(height, width):
    places = grid((height, width))
    assert places.size // 2 <= 5200
    before, after = places[0, 0], np.array([width - 1, height - 1]) - places[-1, -1]
    assert (before >= 0).all()
    assert (abs(before - after) <= 1).all()
    steps = np.diff(places[0, :, 0])
    assert (steps == steps[0]).all()
    assert steps[0] >= 2
    assert (after < steps[0]).all()


@settings(deadline=None, max_examples=50)
@given(SIZES, SIZES, st.floats(16, 900))
def test_every_place_is_once_in_a_tile_and_near_the_middle_of_its_region(height, width, view_px):
    places = grid((height, width)).reshape(-1, 2)
    found = tiles(places, (height, width), view_px, 64)
    assert sorted(np.concatenate([t.index for t in found])) == list(range(len(places)))
    for tile in found:
        assert len(tile.index) <= 64
        away = abs(tile.view.to_view(places[tile.index]) - 31.5) / 64
        assert away.max() <= 1 / 8 + 1e-9


def test_whole_images_are_seen_whole():
    places = grid((90, 120)).reshape(-1, 2)
    found = tiles(places, (90, 120), None, 64)
    assert sorted(np.concatenate([t.index for t in found])) == list(range(len(places)))
    for tile in found:
        assert tile.view.to_image(np.array([-0.5, 31.5])) == pytest.approx([-0.5, 44.5])


@pytest.mark.parametrize(("count", "targets"), [(101, 10), (5, 10), (2, 3)])
def test_targets_are_the_far_ends_of_motion_all_over_the_recording(count, targets):
    phase = np.arange(count) * 2 * np.pi / 10
    thumbnails = np.stack([1 - np.cos(phase), np.zeros(count)], axis=1)
    source, *chosen = key_frames(thumbnails, targets)
    assert source == 0
    assert len(chosen) == min(targets, count - 1)
    assert (np.diff(chosen) > 0).all()
    if count == 101:
        assert [number % 10 for number in chosen] == [5] * 10


def errors_of(away_px, sigma_px, spacing_mm=(2.0, 0.5)):
    places = np.stack(np.meshgrid(np.arange(3) * 2.0, np.arange(2) * 2.0), axis=-1)
    return CyclicErrors(places, np.broadcast_to(away_px, (4, 2, 3, 2)), sigma_px, spacing_mm)


def test_errors_are_lengths_in_pixels_and_millimetres():
    sigma = np.ones((4, 2, 3, 2))
    sigma[:, 0] = 0.1
    away = np.zeros((4, 2, 3, 2))
    away[:, 1] = (3.0, -4.0)
    figures = errors_of(away, sigma).figures()
    assert figures["cyclic_mean_px"] == 2.5
    assert figures["cyclic_std_px"] == 2.5
    assert figures["cyclic_surer_half_mean_px"] == 0.0
    assert figures["cyclic_mean_mm"] == pytest.approx(np.hypot(6, 2) / 2, abs=1e-4)
    assert figures["sigma_mean_px"] == pytest.approx(np.sqrt(2) * 0.55, abs=1e-4)
    assert not any("mm" in name for name in errors_of(away, sigma, None).figures())


def test_what_is_not_finite_has_no_figure():
    away = np.zeros((4, 2, 3, 2))
    away[2, 0, 0] = np.nan
    figures = errors_of(away, np.ones((4, 2, 3, 2))).figures()
    assert figures["cyclic_mean_px"] is None
    assert figures["cyclic_surer_half_mean_mm"] is None


class Shifted:
    """Stands for a network that finds every patch, wherever it was taken, so far from there."""

    def __init__(self, configuration, shift_px):
        self.configuration = configuration
        self._shift_px = np.array(shift_px)

    def encode(self, views, places_px):
        return np.asarray(places_px, dtype=np.float32)

    def find(self, views, encoded):
        return np.concatenate([encoded + self._shift_px, np.ones_like(encoded)], axis=-1)


@pytest.mark.parametrize("view_mm", [0.0, 40.0], ids=["whole", "regions"])
def test_there_and_back_adds_up_in_the_images_own_pixels(view_mm):
    frame = Frame(1, np.zeros((60, 80), np.uint8), ImageGeometry(Modality.MR, (0.5, 0.5, 0.0)))
    configuration = replace(TINY, view_mm=view_mm)
    errors = cyclic_errors(Shifted(configuration, (1.0, -0.5)), frame, [frame] * 3)
    scale = 80 / 64
    assert errors.away_px == pytest.approx(
        np.broadcast_to([2 * scale, -scale], errors.away_px.shape), abs=1e-4
    )
    assert errors.sigma_px == pytest.approx(np.full(errors.sigma_px.shape, scale))
    assert errors.stride_px == 2


def test_what_was_found_nowhere_does_not_come_back():
    frame = Frame(1, np.zeros((60, 80), np.uint8), ImageGeometry(Modality.MR, (0.5, 0.5, 0.0)))
    errors = cyclic_errors(Shifted(TINY, (np.nan, 0.0)), frame, [frame])
    assert np.isnan(errors.error_px).all()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recording")
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.standard_normal((120, 120)).astype(np.float32), (0, 0), 3)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    for number in range(6):
        cv2.imwrite(str(folder / f"{number}.png"), texture[number : number + 60, :70])
    (folder / "sequence.yaml").write_text(
        "modality: mr\nimages: '*.png'\nframes: 6\nspacing_mm: [1.5, 1.5]\nrate_hz: 4.0\n"
    )
    return folder


def lmtrack(*arguments):
    parser = argparse.ArgumentParser()
    evaluate.configure(parser)
    return evaluate.run(parser.parse_args([str(a) for a in arguments]))


@pytest.mark.parametrize("view_mm", [0.0, 60.0], ids=["whole", "regions"])
def test_a_network_that_is_not_trained_comes_back_wrong(folder, tmp_path, view_mm):
    matcher = open_matcher(write_run(tmp_path, replace(TINY, view_mm=view_mm)), EAGER)
    frames = read_key_frames(folder, targets=2)
    assert frames.numbers[0] == 0
    calls = []
    errors = cyclic_errors(matcher, frames.source, frames.targets, lambda n, of: calls.append((n, of)))
    assert errors.away_px.shape == (2, *grid((60, 70)).shape)
    assert calls[-1][0] == calls[-1][1] == len(calls)
    # it finds everything in the middle of its view, so that the way back is as long as the view is far
    assert errors.figures()["cyclic_mean_px"] > 2.0


def test_command_writes_figures_and_map(folder, tmp_path, capsys):
    weights = write_run(tmp_path / "run")
    config = tmp_path / "config.yaml"
    own = f"{{weights: {weights}, inference: {{backend: eager, device: cpu}}}}"
    config.write_text(f"tracker:\n  ros__parameters:\n    template_matching: {own}\n")
    said = ["--sequence", folder, "--tracker", "template_matching", "--config", config]
    picture = tmp_path / "map.png"
    assert lmtrack(*said, "--cyclic", picture, "--json") == 0
    report = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))
    assert report["target_frames"] == [1, 2, 3, 4, 5]
    assert report["cyclic_mean_mm"] == pytest.approx(1.5 * report["cyclic_mean_px"], abs=1e-3)
    assert cv2.imread(str(picture)).shape[1] > 600
    lmtrack(*said, "--cyclic", picture)
    assert f"cyclic_mean_px {report['cyclic_mean_px']:.4g}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tracker", "correlation", "--cyclic", "m.png"], "correlation does not match patches"),
        (["--tracker", "template_matching", "--cyclic", "m.gif"], "must end in .png"),
        (["--tracker", "template_matching", "--cyclic", "/nowhere/m.png"], "folder that is there"),
        (["--tracker", "template_matching", "--cyclic", "m.png", "--baselines"], "takes one sequence"),
    ],
    ids=lambda v: " ".join(v[1:]) if isinstance(v, list) else "",
)
def test_mistakes_are_one_line(folder, arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        lmtrack("--sequence", folder, *arguments)
    assert "\n" not in str(caught.value)


def test_a_recording_of_one_frame_or_without_spacing_is_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((40, 40), np.uint8))
    (tmp_path / "sequence.yaml").write_text(
        "modality: mr\nimages: '*.png'\nspacing_mm: [1, 1]\nrate_hz: 4.0\n"
    )
    with pytest.raises(UserError, match="needs two"):
        read_key_frames(tmp_path)
    frame = Frame(1, np.zeros((60, 80), np.uint8), None)
    with pytest.raises(UserError, match="pixel spacing must be known"):
        cyclic_errors(Shifted(TINY, (0.0, 0.0)), frame, [frame])

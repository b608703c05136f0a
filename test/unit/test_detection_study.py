"""The study of detection: its baselines, its figures, and that it goes on where it was."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")

import template_matching_example
import torch
import torchvision
from torch import nn

from lmtrack_ros.cli.main import main
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.evaluation import studies
from lmtrack_ros.evaluation.detection_study import fitting, page, study, supervised
from lmtrack_ros.evaluation.detection_study.networks import Residual, nt_xent
from lmtrack_ros.evaluation.detection_study.patch_matching import PatchMatching
from lmtrack_ros.evaluation.detection_study.plan import Plan
from lmtrack_ros.evaluation.detection_study.radiographs import EDGES, Radiographs
from lmtrack_ros.evaluation.detection_study.results import BASELINES, MEAN, OURS, Results
from lmtrack_ros.evaluation.detection_study.scores import advantage_px, distances_px, score
from lmtrack_ros.evaluation.detection_study.variation import Variation, varied
from lmtrack_ros.evaluation.studies import Order

SIDE_PX = 64
TINY = Plan(
    counts=(1, 4),
    more_counts=(3,),
    draws=2,
    trained_draws=1,
    supervised_steps=2,
    supervised_batch=4,
    pretraining_steps=2,
    pretraining_batch=4,
    patch_steps=2,
    patch_images=2,
    patches_per_image=2,
    grid_px=8,
    timed_images=1,
)


def some(count: int, seed: int) -> Radiographs:
    """Return blurred noise with two landmarks, the second an edge."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((count, SIDE_PX // 4, SIDE_PX // 4))
    images = (np.kron(coarse, np.ones((1, 4, 4))) * 255).astype(np.uint8)
    axes = np.array([[True, True], [False, True]])
    return Radiographs(images, rng.uniform(20, 44, (count, 2, 2)), axes, ("carina", "dome_right"), 2.0)


def test_places_follow_the_varied_image() -> None:
    torch.manual_seed(3)
    images = torch.zeros(20, SIDE_PX, SIDE_PX)
    images[:, 25, 38] = 1.0  # row, column
    middle = torch.full((20, 2), (SIDE_PX - 1) / 2)
    squares = varied(images, middle, SIDE_PX, replace(Variation(), noise=0.0, gamma=(0.99, 1.01)))
    place = squares.place(torch.tensor([[38.0, 25.0]]).expand(20, 1, 2))[:, 0]
    bright = squares.grey * (squares.grey > 0.01)  # no value is exactly zero
    weight = bright / bright.sum((1, 2), keepdim=True)
    at = torch.arange(float(SIDE_PX))
    centre = torch.stack([(weight.sum(1) * at).sum(1), (weight.sum(2) * at).sum(1)], -1)
    assert torch.linalg.norm(place - middle, dim=1).std() > 1
    # a dot between pixels is smeared, and what is dim of it left out
    np.testing.assert_allclose(centre, place, atol=0.5)


def test_contrastive_loss_is_that_of_simclr() -> None:
    torch.manual_seed(0)
    one, other = torch.randn(3, 5), torch.randn(3, 5)
    both = torch.cat([one, other])
    cosine = torch.nn.functional.cosine_similarity(both[:, None], both[None], dim=-1)
    terms = []
    for i in range(6):
        rest = sum(torch.exp(cosine[i, k] / 0.1) for k in range(6) if k != i)
        terms.append(-torch.log(torch.exp(cosine[i, (i + 3) % 6] / 0.1) / rest))
    assert nt_xent(one, other) == pytest.approx(torch.stack(terms).mean().item(), rel=1e-4)
    assert nt_xent(one, one) < nt_xent(one, other)


def test_training_goes_on_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "_SAVE_EVERY_S", 0.0)

    def trained(checkpoint: Path, killed_at: int | None = None) -> nn.Linear:
        torch.manual_seed(0)
        network = nn.Linear(3, 1)

        def on_step(done: int) -> None:
            if done == killed_at:
                raise KeyboardInterrupt

        fitting.fit(
            network,
            lambda: network(torch.randn(4, 3)).square().mean(),
            checkpoint,
            steps=6,
            learning_rate=0.1,
            seed=1,
            on_step=on_step,
        )
        return network

    torch.manual_seed(0)
    untrained = nn.Linear(3, 1)
    whole = trained(tmp_path / "whole.pt")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed.pt", killed_at=4)
    resumed = trained(tmp_path / "killed.pt")
    assert torch.equal(resumed.weight, whole.weight)
    assert torch.equal(trained(tmp_path / "killed.pt").weight, whole.weight)
    assert not torch.equal(whole.weight, untrained.weight)


def test_supervised_network_begins_with_the_mean_of_the_examples(tmp_path: Path) -> None:
    examples = some(3, 1)
    network, _ = supervised.train(
        examples,
        None,
        replace(TINY, supervised_steps=1, learning_rate=0.0),
        0,
        tmp_path / "a",
        lambda _: None,
    )
    found = network.detect(examples.images[0])
    np.testing.assert_allclose(found, examples.uv_px.mean(axis=0), atol=4.0)


def test_a_patch_is_found_where_it_was_cut() -> None:
    torch.manual_seed(0)
    one = some(1, 2)
    on_grid = replace(one, uv_px=np.array([[[24.0, 40.0], [32.0, 16.0]]]))
    found = PatchMatching(Residual().eval(), on_grid, grid_px=8).find(one.images[0])
    np.testing.assert_allclose(found[:, 0, :2], on_grid.uv_px[0], atol=4.0)
    np.testing.assert_allclose(found[:, 0, 2], 1.0, atol=1e-5)


def test_only_the_row_of_an_edge_counts() -> None:
    truth = some(3, 0)
    found = truth.uv_px[None] + np.array([3.0, 4.0])
    np.testing.assert_allclose(distances_px(found, truth), np.broadcast_to([5.0, 4.0], (1, 3, 2)))
    assert score(found, truth).by_landmark_px == pytest.approx((5.0, 4.0))


def test_what_is_not_finite_is_no_error_of_zero() -> None:
    truth = some(3, 0)
    found = truth.uv_px[None].copy()
    found[0, 1, 1, 0] = np.nan  # the axis of an edge that does not count
    assert np.isnan(score(found, truth).mean_px)


def test_interval_is_over_patients() -> None:
    rng = np.random.default_rng(0)
    truth = some(40, 0)
    by_patient = rng.uniform(0, 10, (1, 40, 1))
    found = truth.uv_px[None] + np.stack(np.broadcast_arrays(np.zeros(()), by_patient), -1)
    s = score(np.repeat(found, 5, axis=0), truth)
    expected = 1.96 * by_patient.std() / np.sqrt(40)
    assert (s.interval_px[1] - s.interval_px[0]) / 2 == pytest.approx(expected, rel=0.15)
    mean, low, high = advantage_px(found, found + np.array([0.0, 1.0]), truth)
    assert mean == pytest.approx(1.0)
    assert (low, high) == pytest.approx((1.0, 1.0))


def test_draws_are_nested() -> None:
    draws = study.drawn(20, Plan())
    for few, many in zip(study.subsets_of(draws, 1), study.subsets_of(draws, 5), strict=True):
        assert set(few) < set(many)
    assert len({tuple(d) for d in study.subsets_of(draws, 5)}) == Plan().draws
    assert [sorted(d) for d in study.subsets_of(draws, 20)] == [list(range(20))]


def test_edges_are_those_of_the_phantom() -> None:
    from lmtrack_ros.phantoms.fluoroscopy import FluoroscopyPhantom

    assert FluoroscopyPhantom.edges == EDGES


class Shallow(nn.Module):
    """Stands for ResNet-18 where only what is done with it matters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = self.fc = nn.Identity()
        self.widen = nn.Linear(64, Residual.width)

    def forward(self, grey: torch.Tensor) -> torch.Tensor:
        return self.fc(self.widen(self.conv1(grey).amax((2, 3))))


@pytest.fixture
def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Order:
    """Return an order for a study of small noise instead of radiographs."""
    monkeypatch.setattr(torchvision.models, "resnet18", Shallow)
    sets = {study.EXAMPLE_SEEDS: some(4, 1), study.TARGET_SEEDS: some(6, 2)}
    monkeypatch.setattr(study, "labelled", lambda seeds, on_patient: sets[seeds])
    monkeypatch.setattr(study, "unlabelled", lambda: some(5, 3).images)
    whole = replace(template_matching_example.TINY, image_px=SIDE_PX, view_mm=0.0)
    weights = template_matching_example.write_run(tmp_path / "run", whole)
    for name in ("out", "work"):
        (tmp_path / name).mkdir()
    return Order(weights, tmp_path / "out", tmp_path / "work", "lmtrack study ...", lambda *_: None)


def places(results: Results) -> dict[tuple[str, int], NDArray[np.float64]]:
    return {key: arm.found_px for key, arm in results.arms.items()}


def test_study_measures_all_and_takes_over_what_is_trained(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = study.measure(order, TINY)
    assert {c for m, c in results.arms if m == OURS} == {1, 3, 4}
    for method in (OURS, *BASELINES):
        assert [len(results.arms[method, 4].found_px), results.arms[method, 1].found_px.shape[1:]] == [
            1,
            (6, 2, 2),
        ]
    means = results.arms[MEAN, 4].found_px[0]
    np.testing.assert_allclose(means, np.broadcast_to(some(4, 1).uv_px.mean(axis=0), means.shape))

    monkeypatch.setattr(fitting, "seed_all", lambda *_: pytest.fail("a finished training is done again"))
    again = places(study.measure(order, TINY))
    for key, found in places(results).items():
        np.testing.assert_array_equal(again[key], found)

    written = page.write(order, results).read_text()
    assert "**simulated**" in written
    assert order.command in written
    for picture in (page.CURVE, page.OVERLAY):
        assert f"({picture})" in written
        assert (order.out / picture).stat().st_size > 1000
    assert written.count(f"| {OURS} |") == len(TINY.counts)


def test_wrong_weights_are_told_before_anything_is_rendered(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "labelled", lambda *_: pytest.fail("rendered"))
    with pytest.raises(UserError, match="weights"):
        study.conduct(replace(order, weights="nowhere"))


def test_command_names_page_and_refuses_unknown_studies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[Order] = []

    def conduct(order: Order) -> Path:
        asked.append(order)
        order.progress("trained", 1, 2)
        return order.out / "detection.md"

    monkeypatch.setattr(study, "conduct", conduct)
    assert main(["study", "template_matching", "detection", "--out", "here", "--weights", "runs/a"]) == 0
    said = capsys.readouterr().out
    assert "trained: 1/2" in said
    assert "written: here/detection.md" in said
    assert asked[0].command == "lmtrack study template_matching detection --out here --weights runs/a"
    assert asked[0].work.is_dir()
    assert main(["study", "template_matching", "detektion"]) == 2
    assert "Did you mean 'detection'?" in capsys.readouterr().err
    assert main(["study", "landmarknet", "detection"]) == 2


@pytest.mark.parametrize("entry", studies.STUDIES.values(), ids=lambda entry: entry.name)
def test_every_study_can_be_imported(entry: studies.Study) -> None:
    from importlib import import_module

    module, function = entry.conduct.split(":")
    assert callable(getattr(import_module(module), function))

"""Training of the coarse-to-fine U-Net: windows, the order of its steps, and that it can go on anywhere."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from coarse_to_fine_unet_example import CLIPS, CPU, TINY  # noqa: E402

from lmtrack_ros.models.coarse_to_fine_unet import populations, training  # noqa: E402
from lmtrack_ros.models.coarse_to_fine_unet.agreement import agreement, centroids  # noqa: E402
from lmtrack_ros.models.coarse_to_fine_unet.training import CoarseToFineUnetTrainee  # noqa: E402
from lmtrack_ros.models.coarse_to_fine_unet.windows import draw, parts  # noqa: E402
from lmtrack_ros.models.parts import Part  # noqa: E402
from lmtrack_ros.models.randomness import seed_all  # noqa: E402

CYCLE = next(one for one in CLIPS if one.is_cycle)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(training, "clips", lambda *_: CLIPS)

    def trainee(**changes: Any) -> CoarseToFineUnetTrainee:
        seed_all(0, 0)
        return CoarseToFineUnetTrainee(replace(TINY, **changes), ("group",), 0, CPU)

    return trainee


def test_whole_image_is_in_the_square_with_its_mask() -> None:
    one = CLIPS[0]
    assert one.frames.shape == (9, 32, 32)
    assert one.spacing_mm == pytest.approx(2.0 * 48 / 32)
    frames, masks = one.window(2, 4)
    for frame, mask in zip(frames, masks, strict=True):
        assert frame[mask > 0].mean() > frame[mask == 0].mean() + 0.4
    # 4 px of 48 across are 4 * 32 / 48 px; the middle of the image is that of the square
    assert masks[0].sum() == pytest.approx(np.pi * (4 * 32 / 48) ** 2, rel=0.15)
    assert centroids(masks)[0, 0].item() == pytest.approx((8 + 0.5) * 32 / 48 - 0.5, abs=0.3)


def test_cycle_goes_on_with_its_first_frame() -> None:
    cycle = CYCLE
    assert cycle.starts(4) == 6
    frames, _ = cycle.window(4, 4)
    again, _ = cycle.window(0, 2)
    assert torch.equal(frames[2:], again)
    assert CLIPS[0].starts(4) == 6


def test_windows_vary_pictures_and_masks_alike() -> None:
    torch.manual_seed(0)
    windows = draw([CLIPS[0], CYCLE], 24, 4, 32, CPU)
    assert windows.frames.shape == (24, 4, 32, 32)
    assert windows.masks.shape == (24, 4, 1, 32, 32)
    assert set(windows.masks.unique().tolist()) == {0.0, 1.0}
    darker = 0
    for frames, masks in zip(windows.frames, windows.masks[:, :, 0], strict=True):
        contrast = frames[masks > 0].mean() - frames[masks == 0].mean()
        # shown as a negative, or not
        darker += int(contrast < 0)
        assert abs(contrast) > 0.05
        assert (masks.flatten(1).sum(1) > 5).all()
    assert 1 <= darker <= 14
    torch.manual_seed(0)
    assert torch.equal(draw([CLIPS[0], CYCLE], 24, 4, 32, CPU).frames, windows.frames)


def test_parts_mostly_show_the_tumour_and_nothing_beyond_the_image() -> None:
    torch.manual_seed(0)
    windows = draw([CLIPS[0], CYCLE], 60, 4, 16, CPU)
    assert windows.frames.shape == (60, 4, 16, 16)
    shown = windows.masks.flatten(1).any(1).float().mean()
    assert 0.8 < shown < 1.0
    without = draw([CLIPS[-1]], 4, 4, 16, CPU)
    assert not without.masks.any()


def test_in_some_windows_a_couch_carries_the_patient() -> None:
    torch.manual_seed(0)
    one = CLIPS[0]
    still = replace(one, frames=one.frames[:1].expand(9, -1, -1), masks=one.masks[:1].expand(9, -1, -1))
    moved_px = []
    for masks in draw([still], 60, 4, 32, CPU).masks[:, :, 0]:
        at = centroids(masks)
        moved_px.append((at.amax(0) - at.amin(0)).tolist())
    across, along = np.transpose(moved_px)
    assert 0.1 < (along > 0).mean() < 0.5
    # to and fro by 6 % of 32 px at most, enlarged at most 1.4 times and turned a little
    assert along.max() < 2 * 0.06 * 32 * 1.4 + 0.5
    assert across.max() < 0.6 * along.max()


def test_parts_make_up_the_whole() -> None:
    masks = torch.arange(2 * 3 * 16.0).reshape(2, 3, 1, 4, 4)
    found = parts(masks, 2)
    assert found.shape == (8, 3, 1, 2, 2)
    assert torch.equal(
        found[4:], torch.stack([masks[1, :, :, r : r + 2, c : c + 2] for r in (0, 2) for c in (0, 2)])
    )
    assert torch.equal(parts(masks, 4), masks)


def test_agreement_counts_pixels_and_measures_centres() -> None:
    truth, found = torch.zeros(2, 8, 8), torch.zeros(2, 8, 8)
    truth[:, 2:4, 2:4] = 1.0
    found[0, 3:5, 2:4] = 0.9
    found[0, 7, 7] = 0.4
    of = agreement(found, truth, 2.0)
    assert of.iou[0] == pytest.approx(2 / 6)
    assert of.dice[0] == pytest.approx(4 / 8)
    np.testing.assert_allclose(of.away_mm[0], (0.0, 2.0))
    assert of.iou[1] == of.dice[1] == 0.0
    assert np.isnan(of.away_mm[1]).all()


def test_two_steps_of_the_generator_then_one_of_the_critic(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainee = made()
    networks = {name: trainee.stateful()[name] for name in ("taught", "critic")}
    steps = []

    def noted(whose: str, teach: Any) -> Any:
        def taught(*masks: Any) -> Any:
            before = {name: [w.clone() for w in one.parameters()] for name, one in networks.items()}
            answer = teach(*masks)
            steps.append(whose)
            for name, one in networks.items():
                pairs = zip(one.parameters(), before[name], strict=True)
                assert any(not torch.equal(now, then) for now, then in pairs) == (name == whose)
            return answer

        return taught

    monkeypatch.setattr(trainee, "_teach_generator", noted("taught", trainee._teach_generator))
    monkeypatch.setattr(trainee, "_teach_critic", noted("critic", trainee._teach_critic))
    losses = trainee.step(0)
    assert steps == ["taught", "taught", "critic"]
    assert set(losses) == {"l1", "ssim", "iou", "entropy", "gan", "critic"}
    assert "critic" not in made(gan_weight=0.0).step(0)


def test_weights_of_losses_are_those_of_equation_9(made: Any) -> None:
    plain, heavy = (made(l1_weight=w, gan_weight=0.0, generator_steps=1) for w in (1.0, 100.0))
    seed_all(1)
    first = plain.step(0)
    seed_all(1)
    second = heavy.step(0)
    assert second["l1"] == pytest.approx(100 * first["l1"], rel=1e-5)
    assert second["iou"] == pytest.approx(first["iou"], rel=1e-5)


def test_goes_on_from_a_checkpoint_to_the_bit(made: Any, tmp_path: Any) -> None:
    def train(trainee: CoarseToFineUnetTrainee, steps: range) -> None:
        for index in steps:
            seed_all(0, 1, index)
            trainee.step(index)
            trainee.end_epoch()

    whole = made()
    train(whole, range(2))
    torch.save({name: part.state_dict() for name, part in whole.stateful().items()}, tmp_path / "state.pt")
    train(whole, range(2, 4))
    again = made()
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    for name, part in again.stateful().items():
        part.load_state_dict(state[name])
    train(again, range(2, 4))
    for part in ("taught", "mean", "critic"):
        expected = whole.stateful()[part].state_dict()
        for key, value in again.stateful()[part].state_dict().items():
            assert torch.equal(value, expected[key]), (part, key)


def test_validation_says_how_masks_agree(made: Any) -> None:
    trainee = made()
    figures = trainee.validate()
    assert next(iter(figures)) == "one_less_iou"
    assert 0.0 <= figures["one_less_iou"] <= 1.0
    assert {"dice", "vertical_mm", "nothing_found", "seen_without_tumour"} <= set(figures)
    scores = trainee.scores()
    assert {"dice", "newest_dice", "newest_vertical_mm"} <= set(scores)
    assert 0.0 <= scores["newest_dice"] <= 1.0
    assert trainee.picture().shape[2] == 3
    assert trainee.split()["training"] == "6 sequences"


def test_learns_to_find_a_disc_against_a_critic(made: Any) -> None:
    trainee = made(learning_rate=3e-3)
    for index in range(60):
        seed_all(0, 1, index)
        trainee.step(index)
    assert trainee.validate()["dice"] > 0.6


def test_network_is_the_mean_of_the_last_steps(made: Any) -> None:
    def some(weights: Any) -> Any:
        return next(iter(weights.parameters())).detach().clone()

    trainee = made(generator_steps=1, mean_steps=500)
    trainee.begin_from({name: w + 0.01 for name, w in trainee.network.state_dict().items()}, "weights")
    assert torch.equal(some(trainee.network), some(trainee.stateful()["taught"]))
    taught = []
    for index in range(3):
        seed_all(0, 1, index)
        trainee.step(index)
        taught.append(some(trainee.stateful()["taught"]))
    expected = taught[0].lerp(taught[1], 9 / 11).lerp(taught[2], 9 / 12)
    torch.testing.assert_close(some(trainee.network), expected)
    newest = made(generator_steps=1, mean_steps=1)
    newest.step(0)
    newest.step(1)
    assert torch.equal(some(newest.network), some(newest.stateful()["taught"]))


def test_fixed_levels_stay_as_they_were(made: Any) -> None:
    def changed(fixed_levels: int) -> set[str]:
        trainee = made(fixed_levels=fixed_levels, gan_weight=0.0)
        before = {name: weight.clone() for name, weight in trainee.network.named_parameters()}
        trainee.step(0)
        after = trainee.network.named_parameters()
        return {name for name, weight in after if not torch.equal(weight, before[name])}

    everything, some = changed(0), changed(2)
    # four levels of the first, three of the second; a level's way up ends at the level above
    deep = {"first": ("3", "4"), "second": ("2", "3")}
    expected = {
        name
        for name in everything
        for net, part, number, *_ in [name.split(".")]
        if (part in ("recurrences", "scales") and number in deep[net])
        or (part == "down" and str(int(number) + 1) in deep[net])
        or (part == "up" and number in ("0", "1"))
    }
    assert everything - some == expected
    assert not any(name.startswith("second") for name in changed(3) if "head" not in name)


def test_parts_of_populations_share_no_case() -> None:
    for name in ("group", "patient", "finetune-1", "finetune-15"):
        parts = {part: set(populations.cases(name, part)) for part in Part}
        assert not parts[Part.TRAINING] & parts[Part.TEST]
        assert not parts[Part.VALIDATION] & (parts[Part.TRAINING] | parts[Part.TEST])
    assert len({case.patient for case in populations.cases("group", Part.TRAINING)}) == 110
    assert len({case.patient for case in populations.cases("group", Part.TEST)}) == 30


def test_patient_is_tested_between_the_breaths_that_are_learnt() -> None:
    learnt, tested = (
        sorted(case.amplitude for case in populations.cases("patient", part))
        for part in (Part.TRAINING, Part.TEST)
    )
    assert (len(learnt), len(tested)) == (80, 20)
    assert learnt[39] < tested[0] < tested[-1] < learnt[40]


def test_sub_group_learns_shallow_breaths_and_is_tested_on_deep_ones() -> None:
    learnt, tested = (
        [case.amplitude for case in populations.cases("finetune-3", part)]
        for part in (Part.TRAINING, Part.TEST)
    )
    assert (len(learnt), len(tested)) == (10, 10)
    assert max(learnt) < min(tested)

"""The coarse-to-fine U-Net: recurrences, residual relation, critic, and the stream against the whole."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from lmtrack_ros.models.coarse_to_fine_unet.configuration import (  # noqa: E402
    PAPER,
    REALTIME,
    CoarseToFineUnetConfiguration,
)
from lmtrack_ros.models.coarse_to_fine_unet.contrast import LocalContrast  # noqa: E402
from lmtrack_ros.models.coarse_to_fine_unet.critic import Critic  # noqa: E402
from lmtrack_ros.models.coarse_to_fine_unet.generator import (  # noqa: E402
    NOTHING,
    Generator,
    Memories,
    triples,
    widths,
)
from lmtrack_ros.models.coarse_to_fine_unet.recurrence import BothWays, ConvLstm, Recurrent  # noqa: E402
from lmtrack_ros.models.coarse_to_fine_unet.stream import FADING, advanced, nothing_yet  # noqa: E402

TINY = CoarseToFineUnetConfiguration(
    image_px=32, part_px=16, levels=4, refinement_levels=3, channels=4, most_channels=16, critic_levels=2
)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def generator(configuration: CoarseToFineUnetConfiguration = TINY) -> Generator:
    return Generator(configuration).eval()


def test_convolutional_lstm_is_equation_3() -> None:
    lstm = ConvLstm(3, 2)
    frames = torch.rand(1, 4, 3, 5, 6)
    hidden = cell = torch.zeros(1, 2, 5, 6)
    weights = torch.cat([lstm.of_hidden.weight, lstm.of_input.weight], dim=1)
    for number in range(4):
        both = torch.cat([hidden, frames[:, number]], dim=1)
        gates = torch.nn.functional.conv2d(both, weights, lstm.of_input.bias, padding=1)
        forget, put, out = (torch.sigmoid(gates[:, k : k + 2]) for k in (0, 2, 4))
        cell = forget * cell + put * torch.tanh(gates[:, 6:])
        hidden = out * torch.tanh(cell)
        found = lstm(frames, lstm.nothing(frames)).after(number)
        torch.testing.assert_close(found.hidden, hidden)
        torch.testing.assert_close(found.cell, cell)


def test_state_goes_on_where_a_window_ended() -> None:
    lstm = ConvLstm(3, 2)
    frames = torch.rand(1, 5, 3, 5, 6)
    first = lstm(frames[:, :2], lstm.nothing(frames)).after(-1)
    whole = lstm(frames, lstm.nothing(frames)).after(-1)
    torch.testing.assert_close(lstm(frames[:, 2:], first).after(-1).hidden, whole.hidden)


def test_both_ways_is_one_from_each_end() -> None:
    both = BothWays(4)
    frames = torch.rand(2, 5, 4, 3, 3)
    known, forth = both(frames, None)
    torch.testing.assert_close(known[:, :, :2], forth.hidden)
    back = both.back(frames.flip(1), both.back.nothing(frames)).hidden
    torch.testing.assert_close(known[:, :, 2:], back.flip(1))


def test_frames_have_their_neighbours_as_channels() -> None:
    frames = torch.arange(3.0).reshape(1, 3, 1, 1)
    assert triples(frames)[0, :, :, 0, 0].tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 2]]


def test_refined_is_coarse_and_residual() -> None:
    made = generator()
    window = triples(torch.rand(1, 3, 32, 32))
    prediction = made(window)
    assert prediction.refined.shape == (1, 3, 1, 32, 32)
    residual, _ = made.second(torch.sigmoid(prediction.coarse), {})
    torch.testing.assert_close(prediction.refined, prediction.coarse + residual)
    alone = generator(replace(TINY, refinement=False))(window)
    assert torch.equal(alone.refined, alone.coarse)


def test_levels_and_recurrences_are_those_of_the_paper() -> None:
    made = Generator(REALTIME)
    assert len(made.first.down) == 7
    assert set(made.first.recurrences) == set("123456")
    assert made.second is not None
    assert len(made.second.down) == 5
    assert set(made.second.recurrences) == {"5"}
    assert widths(PAPER.channels, PAPER.most_channels, 7) == [64, 128, 256, 512, 512, 512, 512]
    kernels = [layer[0].out_channels for layer in made.first.down]
    assert [layer[0].out_channels for layer in made.second.down] == [k // 2 for k in kernels[:5]]
    assert not Generator(replace(REALTIME, recurrence=False)).first.recurrences


@pytest.mark.parametrize("recurrence", [True, False], ids=["recurrent", "not"])
def test_only_recurrences_see_farther_than_the_neighbours(recurrence: bool) -> None:
    made = generator(replace(TINY, recurrence=recurrence))
    frames = torch.rand(1, 6, 32, 32)
    other = frames.clone()
    other[:, 5] = torch.rand(32, 32)
    with torch.no_grad():
        change = (made(triples(frames)).refined - made(triples(other)).refined).abs().amax((0, 2, 3, 4))
    assert (change[4:] > 1e-4).all()
    assert ((change[:4] > 1e-6) == recurrence).all()


def test_critic_scores_each_sequence_by_itself_without_bounds() -> None:
    critic = Critic(TINY)
    masks = torch.rand(3, 4, 1, 16, 16)
    scores = critic(masks)
    assert scores.shape == (3,)
    torch.testing.assert_close(critic(masks[1:2]), scores[1:2])
    with torch.no_grad():
        critic.score.bias += 5.0
    torch.testing.assert_close(critic(masks), scores + 5.0)


def streamed(made: Generator, frames: Sequence[Tensor], late: int) -> Iterator[Tensor]:
    """Yield the output after each of (B, H, W) frames, by a window for every frame of the stream so far."""
    still = [frames[0]] * (late + 2)
    for newest in range(len(frames)):
        known = [*still, *frames[: newest + 1]]
        memories = NOTHING
        for first in range(1, newest + 2):
            before, *window = known[first - 1 : first + late + 2]
            after = [*window[1:], window[-1]]
            seen = [torch.stack(three, 1) for three in zip([before, *window], window, after, strict=False)]
            prediction = made(torch.stack(seen, 1), memories)
            memories = Memories(
                *(
                    {
                        level: Recurrent(FADING * s.hidden[:, 0], FADING * s.cell[:, 0])
                        for level, s in memory.items()
                    }
                    for memory in prediction.memories
                )
            )
        yield torch.sigmoid(prediction.refined[:, 1, 0])


@pytest.mark.parametrize("late", [0, 1, 2])
@pytest.mark.parametrize("refinement", [True, False], ids=["refined", "coarse"])
def test_new_frame_costs_a_short_window_and_comes_out_as_the_whole_stream(
    late: int, refinement: bool
) -> None:
    made = generator(replace(TINY, refinement=refinement))
    frames = list(torch.rand(6, 2, 32, 32))
    with torch.no_grad():
        seen = nothing_yet(frames[0], late)
        for frame, whole in zip(frames, streamed(made, frames, late), strict=True):
            output, seen = advanced(made, seen, frame)
            torch.testing.assert_close(output, whole, atol=1e-5, rtol=0.0)
    assert output.std() > 0.01


def test_stream_that_stands_still_forgets_how_it_began() -> None:
    made = generator()
    with torch.no_grad():
        for level in made.first.recurrences.values():
            level.forth.of_input.bias.fill_(4.0)  # every gate open: without fading, cells grow for ever
        still = torch.rand(1, 32, 32)
        _, after = advanced(made, nothing_yet(still), still)
        for _ in range(20):
            before = after
            _, after = advanced(made, after, still)
    for old, new in zip(before.memories.coarse.values(), after.memories.coarse.values(), strict=True):
        torch.testing.assert_close(new.cell, old.cell, atol=1e-3, rtol=0.0)


def test_late_output_is_of_an_older_frame() -> None:
    made = generator(replace(TINY, recurrence=False, refinement=False))
    frames = list(torch.rand(5, 1, 32, 32))
    with torch.no_grad():
        seen = nothing_yet(frames[0], 1)
        for frame in frames:
            output, seen = advanced(made, seen, frame)
        middle = made(triples(torch.stack(frames[2:], 1))).refined[:, 1, 0]
    torch.testing.assert_close(output, torch.sigmoid(middle), atol=1e-5, rtol=0.0)


def test_stream_takes_a_fifth_of_the_operations_of_a_window() -> None:
    made = Generator(REALTIME).eval()
    frames = torch.rand(1, 10, 128, 128)
    with torch.no_grad():
        _, seen = advanced(made, nothing_yet(frames[:, 0]), frames[:, 0])
        with FlopCounterMode(display=False) as window:
            made(triples(frames))
        with FlopCounterMode(display=False) as stream:
            advanced(made, seen, frames[:, 1])
    assert window.get_total_flops() >= 5 * stream.get_total_flops()


def test_local_contrast_is_that_of_the_surroundings_alone() -> None:
    contrast = LocalContrast(64)
    picture = torch.rand(2, 64, 64)
    found = contrast(picture)
    # brighter or darker, and a slope of brightness, change hardly anything
    ramp = torch.linspace(0.0, 0.3, 64)
    torch.testing.assert_close(contrast(picture + 0.4), found, atol=1e-4, rtol=0.0)
    assert (contrast(picture + ramp) - found).abs().mean() < 0.05
    assert found.mean().abs() < 0.05
    # of a part it is nearly what it is of the whole, and in its middle the same
    part = contrast(picture[:, :48, :48])
    torch.testing.assert_close(part[:, 8:24, 8:24], found[:, 8:24, 8:24], atol=0.1, rtol=0.0)
    assert found.std() == pytest.approx(1.0, abs=0.1)
    # by hand: one bright pixel has the weight of the middle in both means
    spot = torch.zeros(64, 64)
    spot[32, 32] = 1.0
    line = torch.exp(-(((torch.arange(64) - 32) / 6.4) ** 2) / 2)
    share = (line / line.sum())[32].item() ** 2
    near = [share * (line[32 + step] / line[32]).item() for step in (0, 1)]
    assert contrast(spot)[32, 32] > 2.5 > 0 > contrast(spot)[32, 33] > -1.0
    off = spot - contrast._mean(spot)
    assert off[32, 32].item() == pytest.approx(1 - near[0], abs=1e-5)
    assert off[32, 33].item() == pytest.approx(-near[1], abs=1e-5)

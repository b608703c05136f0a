"""The losses and the selection of the attention Mask R-CNN, each against values worked out by hand."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lmtrack_ros.models.attention_mask_rcnn.attention import AttentionNetwork, anchors  # noqa: E402
from lmtrack_ros.models.attention_mask_rcnn.boxes import corners, decode, encode  # noqa: E402
from lmtrack_ros.models.attention_mask_rcnn.losses import (  # noqa: E402
    angular_margin,
    attention_loss,
    box_loss,
    large_margin_loss,
    large_margin_softmax_loss,
)
from lmtrack_ros.models.attention_mask_rcnn.selection import chosen, combined  # noqa: E402


def test_box_parameters_are_relative_to_the_anchor() -> None:
    anchor = torch.tensor([50.0, 40.0, 100.0, 80.0])
    box = torch.tensor([60.0, 36.0, 50.0, 80.0 * math.e])
    torch.testing.assert_close(encode(box, anchor), torch.tensor([0.1, -0.05, math.log(0.5), 1.0]))
    torch.testing.assert_close(decode(encode(box, anchor), anchor), box)
    torch.testing.assert_close(corners(anchor), torch.tensor([0.0, 0.0, 100.0, 80.0]))


def test_anchors_overlap_the_region_by_more_than_seven_tenths() -> None:
    found = anchors(100)
    assert len(found) > 9
    left, top, right, bottom = corners(found).T + 0.5
    width = right.clamp(max=100) - left.clamp(min=0)
    height = bottom.clamp(max=100) - top.clamp(min=0)
    union = 100**2 + found[:, 2] * found[:, 3] - width * height
    assert (width * height / union > 0.7).all()
    assert ((found - torch.tensor([49.5, 49.5, 100.0, 100.0])).abs().sum(1) < 1e-4).any()


def test_attention_loss_of_parameters() -> None:
    """Σ (t - o)² of the parameters; on a flat image U and V do not differ."""
    one = torch.tensor([[50.0, 50.0, 100.0, 100.0]])
    boxes = torch.tensor([[[50.0, 50.0, 40.0, 40.0], [50.0, 50.0, 60.0, 60.0]]])
    found, true = torch.zeros(1, 1, 4), torch.tensor([[[0.1, -0.2, 0.3, 0.0]]])
    loss = attention_loss(torch.ones(1, 100, 100), found, true, one, boxes)
    assert loss.item() == pytest.approx(0.01 + 0.04 + 0.09, abs=1e-6)


def test_attention_loss_of_patches() -> None:
    """On a ramp of one grey value per pixel, boxes that lie 3 px apart differ by 3 everywhere: (3)² = 9."""
    ramp = torch.arange(100.0).expand(1, 100, 100)
    boxes = torch.tensor([[[47.0, 50.0, 40.0, 40.0], [50.0, 50.0, 40.0, 40.0]]])
    same = torch.zeros(1, 1, 4)
    one = torch.tensor([[50.0, 50.0, 100.0, 100.0]])
    assert attention_loss(ramp, same, same, one, boxes).item() == pytest.approx(9.0, abs=1e-3)
    apart = torch.tensor([[[20.0, 50.0, 20.0, 20.0], [70.0, 50.0, 20.0, 20.0]]])
    assert attention_loss(ramp, same, same, one, apart).item() == 0.0


def test_patches_of_the_attention_loss_pull_the_box_to_its_place() -> None:
    ramp = torch.arange(100.0).expand(1, 100, 100)
    found = torch.tensor([47.0, 50.0, 40.0, 40.0], requires_grad=True)
    boxes = torch.stack([found, torch.tensor([50.0, 50.0, 40.0, 40.0])])[None]
    same = torch.zeros(1, 1, 4)
    attention_loss(ramp, same, same, torch.tensor([[50.0, 50.0, 100.0, 100.0]]), boxes).backward()
    assert found.grad is not None
    assert found.grad[0] < 0


def test_large_margin_loss_is_the_distance_that_is_missing() -> None:
    """With f = W x the gradient of f_o - f_t is w_o - w_t, here of length 5."""
    weight = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    x = torch.tensor([[1.0, 0.25], [0.2, 0.1]], requires_grad=True)
    scores = x @ weight.T
    torch.testing.assert_close(scores[:, 0].detach(), torch.tensor([4.0, 1.0]))
    labels = torch.tensor([0, 1])
    loss = large_margin_loss(scores, labels, [x], margin=1.0)
    # of the first, f_o - f_t = -4: 1 - 4/5; of the second +1: 1 + 1/5
    assert loss.item() == pytest.approx((0.2 + 1.2) / 2, abs=1e-5)


def test_large_margin_loss_sums_over_layers_and_stops_at_the_margin() -> None:
    x = torch.tensor([[2.0]], requires_grad=True)
    hidden = 2 * x
    scores = torch.cat([hidden, -hidden], dim=1)
    # f_o - f_t = -8 with gradient -2 at the hidden layer and -4 at x: distances 4 and 2
    labels = torch.tensor([0])
    assert large_margin_loss(scores, labels, [x, hidden], margin=5.0).item() == pytest.approx(3.0 + 1.0)
    assert large_margin_loss(scores, labels, [x, hidden], margin=1.9).item() == 0.0


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_angular_margin_is_as_defined(m: int) -> None:
    theta = torch.linspace(0.01, math.pi - 0.01, 97)
    k = torch.floor(m * theta / math.pi)
    expected = (-1.0) ** k * torch.cos(m * theta) - 2 * k
    torch.testing.assert_close(angular_margin(torch.cos(theta), m), expected, atol=1e-4, rtol=0)
    # it falls all the way, so that the angle to the true class always shrinks
    assert (angular_margin(torch.cos(theta), m).diff() < 0).all()


def test_large_margin_softmax_loss_by_hand() -> None:
    """At 60° to the weights of the true class and 30° to the other's: φ(60°) = cos 120° = -½ with m = 2."""
    weight = torch.tensor([[0.0, 2.0], [2.0, 0.0]])
    angle = math.pi / 3
    x = torch.tensor([[3.0 * math.cos(angle), 3.0 * math.sin(angle)]])
    true_logit = 2 * 3 * (-0.5)
    other_logit = 2 * 3 * math.cos(math.pi / 6)
    expected = -math.log(math.exp(true_logit) / (math.exp(true_logit) + math.exp(other_logit)))
    loss = large_margin_softmax_loss(x, weight, torch.tensor([1]), m=2, decay=0.5)
    assert loss.item() == pytest.approx(expected + 0.5 * 8.0, abs=1e-4)


def test_large_margin_softmax_without_margin_is_softmax() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(20, 6), torch.randn(2, 6)
    labels = torch.randint(2, (20,))
    expected = torch.nn.functional.cross_entropy(x @ weight.T, labels)
    torch.testing.assert_close(large_margin_softmax_loss(x, weight, labels, m=1, decay=0.0), expected)
    assert large_margin_softmax_loss(x, weight, labels, m=4, decay=0.0) > expected


def test_box_loss_is_smooth() -> None:
    """½·0.4² + ½·0² of the first, 3 - ½ + ½·1² of the second, of two."""
    found = torch.tensor([[0.4, 0.0], [3.0, -1.0]])
    assert box_loss(found, torch.zeros(2, 2)).item() == pytest.approx((0.08 + 2.5 + 0.5) / 2)
    assert box_loss(found[:0], found[:0]).item() == 0.0


def test_combined_score_is_score_and_nearness() -> None:
    places = np.array([[10.0, 10.0], [13.0, 14.0], [1000.0, 10.0]])
    found = combined(np.array([0.2, 0.9, 1.0]), places, np.array([10.0, 10.0]), nearness=0.5)
    np.testing.assert_allclose(found, [0.1 + 0.25, 0.45 + 0.5 / (1 + math.exp(5)), 0.5], atol=1e-12)
    assert (found >= 0).all()
    assert (found <= 1).all()


def test_best_localisation_is_chosen_not_the_worst() -> None:
    """The equation is printed with argmin."""
    here = np.array([10.0, 10.0])
    near_and_likely, far_and_unlikely = [10.0, 11.0], [40.0, 10.0]
    places = np.array([far_and_unlikely, near_and_likely])
    assert chosen(np.array([0.1, 0.9]), places, here, nearness=0.5) == 1
    # of equals the nearer one; of equally near ones the likelier
    assert chosen(np.array([0.5, 0.5]), places, here, nearness=0.5) == 1
    assert chosen(np.array([0.5, 0.6]), np.array([[9.0, 10.0], [11.0, 10.0]]), here, nearness=0.5) == 1


def test_attended_box_is_the_mean_of_what_the_anchors_say() -> None:
    network = AttentionNetwork(100, reference=True).eval()
    true = torch.tensor([55.0, 47.0, 60.0, 60.0])
    told = encode(true, network.anchors)[None]
    torch.testing.assert_close(network.box(told)[0], true)
    regions = torch.zeros(3, 100, 100)
    attended = network(regions, regions)
    assert attended.parameters.shape == (3, len(network.anchors), 4)
    torch.testing.assert_close(torch.exp(attended.log_shares).sum(-1), torch.ones(3))


def test_cells_of_the_region_are_numbered_by_rows_and_the_middle_one_is_the_landmarks() -> None:
    network = AttentionNetwork(100, reference=True)
    places = torch.tensor([[49.5, 49.5], [57.5, 49.5], [49.5, 41.5], [0.0, 0.0], [99.0, 99.0]])
    assert network.cell(places).tolist() == [84, 85, 71, 0, 168]


def test_without_the_frame_of_marking_there_is_nothing_to_match() -> None:
    regions = torch.rand(2, 100, 100)
    assert AttentionNetwork(100, reference=False).eval()(regions, regions).log_shares is None

"""The patch-based iterative network: patches, shape model, labels, rules and search, tested."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

torch = pytest.importorskip("torch")

from lmtrack_ros.core.errors import UserError  # noqa: E402
from lmtrack_ros.models.patch_iterative import REALTIME, populations  # noqa: E402
from lmtrack_ros.models.patch_iterative import data as training_data  # noqa: E402
from lmtrack_ros.models.patch_iterative.configuration import PAPER, PROSTATE, PatchIterativeConfiguration  # noqa: E402
from lmtrack_ros.models.patch_iterative.losses import directions, losses  # noqa: E402
from lmtrack_ros.models.patch_iterative.network import Move, PatchIterative, one_hot  # noqa: E402
from lmtrack_ros.models.patch_iterative.patches import (  # noqa: E402
    Level,
    Uploaded,
    cut,
    level_of,
    upload,
    upright,
)
from lmtrack_ros.models.patch_iterative.rules import RULES, STEP_MM, most_likely  # noqa: E402
from lmtrack_ros.models.patch_iterative.search import (  # noqa: E402
    SLOW_STEPS,
    lie,
    refine,
    search,
    shape_starts,
    single_starts,
)
from lmtrack_ros.models.patch_iterative.shape_model import ShapeModel, fit  # noqa: E402
from lmtrack_ros.phantoms.phantom import PhantomParameters  # noqa: E402
from lmtrack_ros.phantoms.prostate import ProstatePhantom  # noqa: E402
from lmtrack_ros.phantoms.volume_ultrasound import VolumeUltrasoundPhantom  # noqa: E402

SINGLE = replace(REALTIME, landmarks=("one",), refined=False)


def noise_volume(shape: tuple[int, int, int] = (31, 37, 41)) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


# patches -----------------------------------------------------------------------------------------


def test_patches_are_what_scipy_samples() -> None:
    volume, voxel_mm = noise_volume(), np.array([0.8, 1.1, 1.4])
    level = level_of(Uploaded(torch.from_numpy(volume), 0.0, 1.0), voxel_mm.tolist(), 0.5)
    points = np.array([[0.0, 0.0, 0.0], [3.3, -2.7, 4.1], [-5.0, 6.2, -1.5]])
    turns = Rotation.random(3, rng=1).as_matrix()
    found = cut(level, torch.tensor(points).float(), torch.tensor(turns).float(), 9, 0.7).numpy()
    along = (np.arange(9) - 4) * 0.7
    down, across = np.meshgrid(along, along, indexing="ij")
    none = np.zeros_like(across)
    middle = (np.array(volume.shape[::-1]) - 1) / 2
    for point, turn, planes in zip(points, turns, found, strict=True):
        for offsets, plane in zip(
            [(across, down, none), (across, none, down), (none, across, down)], planes, strict=True
        ):
            at = (point + np.stack(offsets, -1) @ turn.T) / voxel_mm + middle
            expected = map_coordinates(volume, at[..., ::-1].reshape(-1, 3).T, order=1, mode="grid-constant")
            inside = ((at >= 0) & (at <= 2 * middle)).all(-1)
            np.testing.assert_allclose(plane[inside], expected.reshape(9, 9)[inside], atol=2e-4)


def test_patches_are_dark_outside_the_volume() -> None:
    level = level_of(Uploaded(torch.ones(9, 9, 9), 0.0, 1.0), (1.0, 1.0, 1.0), 1.0)
    far = torch.tensor([[100.0, 0.0, 0.0]])
    assert not cut(level, far, upright(1, far), 5, 1.0).any()


@pytest.mark.parametrize("wanted_mm", [0.5, 1.0, 1.5])
def test_a_level_keeps_places_and_means(wanted_mm: float) -> None:
    """A ramp stays the same ramp, whatever the size of the blocks."""
    z, y, x = np.indices((23, 26, 29)).astype(np.float32)
    ramp = torch.from_numpy(2 * (x - 14) + 3 * (y - 12.5) - (z - 11)) / 200 + 0.6
    level = level_of(Uploaded(ramp, 0.0, 1.0), (0.5, 0.5, 0.5), wanted_mm)
    assert level.voxel_mm.tolist() == [wanted_mm] * 3
    points = torch.tensor([[0.0, 0.0, 0.0], [2.0, -1.5, 1.0]])
    middles = cut(level, points, upright(2, points), 3, 0.5)[:, 0, 1, 1]
    expected = (points / 0.5) @ torch.tensor([2.0, 3.0, -1.0]) / 200 + 0.6
    torch.testing.assert_close(middles, expected, atol=1e-4, rtol=1e-4)


# shape model -------------------------------------------------------------------------------------


def shapes(count: int = 60) -> torch.Tensor:
    """Return (count, 6, 3) landmarks that vary in four ways."""
    rng = torch.Generator().manual_seed(1)
    ways = torch.randn(4, 18, generator=rng)
    mean = 20 * torch.randn(18, generator=rng)
    return (mean + torch.randn(count, 4, generator=rng) @ ways).reshape(count, 6, 3)


def test_shapes_come_back_from_their_parameters() -> None:
    every = shapes()
    model = fit(every, 4)
    torch.testing.assert_close(model.positions_mm(model.parameters(every)), every, atol=1e-3, rtol=1e-4)
    two = fit(every, 2)
    assert (two.positions_mm(two.parameters(every)) - every).norm(dim=-1).max() > 1.0
    torch.testing.assert_close(model.axes.T @ model.axes, torch.eye(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(model.parameters(every).std(0), model.deviations_mm, atol=1e-3, rtol=1e-3)


def test_one_landmark_is_its_own_shape_model() -> None:
    every = shapes()[:, :1]
    model = fit(every, 15)
    torch.testing.assert_close(model.parameters(every), every[:, 0])


def test_lie_is_the_rotation_against_the_mean_shape() -> None:
    mean = shapes(1)[0]
    turns = torch.tensor(Rotation.random(4, rng=2).as_matrix()).float()
    model = ShapeModel(mean.flatten(), torch.zeros(18, 3), torch.ones(3))
    turned = torch.einsum("sij,lj->sli", turns, mean) + torch.tensor([5.0, -3.0, 2.0])
    torch.testing.assert_close(lie(turned, model), turns, atol=1e-4, rtol=0)
    assert (torch.linalg.det(lie(-turned, model)) > 0).all()


# labels and losses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("displacement", "label"),
    [
        ((3.0, -1.0, 2.0), 0),
        ((-3.0, 1.0, 2.0), 1),
        ((0.5, 2.0, 1.0), 2),
        ((1.0, 2.0, -9.0), 5),
        ((0, 0, 0), 1),
    ],
)
def test_label_is_the_longest_direction(displacement: tuple[float, ...], label: int) -> None:
    assert directions(torch.tensor([displacement], dtype=torch.float32)).item() == label


def test_loss_is_that_of_equation_2() -> None:
    true = torch.tensor([[1.0, -2.0, 0.5], [4.0, 0.0, 1.0]])
    move = Move(torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]), torch.randn(2, 6))
    alpha = 0.3
    terms = losses(move, true, alpha, 1.0)
    squares = ((true - move.displacement) ** 2).sum(1)
    torch.testing.assert_close(terms["regression"], (1 - alpha) * squares.sum() / (3 * 2))
    probability = move.logits.softmax(1)
    entropy = -(probability[0, 3].log() + probability[1, 0].log()) / 2
    torch.testing.assert_close(terms["classification"], alpha * entropy)
    assert list(losses(move, true, 1.0, 1.0)) == ["classification"]
    assert list(losses(move, true, 0.0, 1.0)) == ["regression"]


# rules and search --------------------------------------------------------------------------------


def test_rules_move_as_published() -> None:
    move = Move(torch.tensor([[4.0, -2.0, 1.0]]), torch.log(torch.tensor([[0.1, 0.2, 0.05, 0.4, 0.15, 0.1]])))
    np.testing.assert_allclose(RULES["A"](move), [[0.0, -STEP_MM, 0.0]])
    np.testing.assert_allclose(RULES["B"](move), [[4.0, -2.0, 1.0]])
    np.testing.assert_allclose(RULES["C"](move), [[0.2 * 4, 0.4 * -2, 0.15 * 1]], rtol=1e-5)
    np.testing.assert_allclose(most_likely(move.logits), [[0.2, 0.4, 0.15]], rtol=1e-5)


SOUGHT_MM = (7.0, -9.5, 12.25)


def distances() -> Level:
    """Return a volume whose grey values are squared distances from what is sought."""
    z, y, x = np.indices((81, 61, 71), dtype=np.float32)
    along = zip((x - 35, y - 30, z - 40), SOUGHT_MM, strict=True)
    squares = torch.from_numpy(sum((a - at) ** 2 for a, at in along))
    return Level(squares, torch.ones(3), torch.tensor([-35.0, -30.0, -40.0]))


def told_by_slopes(patches: torch.Tensor) -> Move:
    """Return the moves that the slopes in the middle of patches tell, exactly."""
    m = SINGLE.patch_px // 2
    x = patches[:, 0, m, m + 1] - patches[:, 0, m, m - 1]
    y = patches[:, 0, m + 1, m] - patches[:, 0, m - 1, m]
    z = patches[:, 1, m + 1, m] - patches[:, 1, m - 1, m]
    displacement = -torch.stack([x, y, z], 1) / 4
    return Move(displacement, torch.stack([displacement, -displacement], 2).flatten(1))


@pytest.mark.parametrize(
    ("rule", "steps", "within_mm"), [("A", SLOW_STEPS, 2 * STEP_MM), ("B", 1, 1e-2), ("C", 30, 0.2)]
)
def test_search_arrives_in_a_field_with_a_known_answer(rule: str, steps: int, within_mm: float) -> None:
    starts = torch.tensor([[0.0, 0.0, 0.0], [-12.0, 10.0, -14.0], [20.0, -15.0, 9.0]])
    c = replace(SINGLE, pixel_mm=1.0)
    ends = search(distances(), told_by_slopes, fit(torch.zeros(1, 1, 3), 3), starts, RULES[rule], steps, c)
    away_mm = (ends.each_mm[:, 0] - torch.tensor(SOUGHT_MM)).norm(dim=1)
    assert (away_mm < within_mm).all()
    assert (ends.moved_mm <= STEP_MM + 1e-6).all() or rule == "B"


def test_starts_are_those_of_the_paper() -> None:
    starts = single_starts(torch.tensor([160.0, 100.0, 140.0]))
    assert starts.shape == (19, 3)
    assert not starts[0].any()
    assert len(torch.unique(starts, dim=0)) == 19
    assert starts.abs().amax(0).tolist() == [40.0, 25.0, 35.0]
    model = fit(shapes(), 4)
    several = shape_starts(model, torch.Generator().manual_seed(0))
    assert several.shape == (6, 4)
    assert not several[0].any()
    assert several[1:].any(1).all()


# networks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("configuration", [REALTIME, PROSTATE, SINGLE])
def test_network_has_outputs_of_both_tasks(configuration: PatchIterativeConfiguration) -> None:
    c = configuration
    network = PatchIterative(c).eval()
    count, side = len(c.landmarks), c.patch_px
    move = network.coarse(torch.rand(2, 3 * count, side, side))
    assert move.displacement.shape == (2, c.outputs)
    assert move.logits.shape == (2, 2 * c.outputs)
    if network.fine is not None:
        fine = network.fine(torch.rand(2 * count, 3, side, side), one_hot(2, count, torch.device("cpu")))
        assert fine.displacement.shape == (2 * count, 3)


def test_paper_network_has_the_published_sizes() -> None:
    network = PatchIterative(PAPER)
    convolutions = [layer for layer in network.coarse.shared if isinstance(layer, torch.nn.Conv2d)]
    assert [one.out_channels for one in convolutions] == [32, 64, 128, 256, 512]
    assert convolutions[0].in_channels == 30
    assert network.fine is None
    assert network.coarse(torch.rand(1, 30, 101, 101)).logits.shape == (1, 30)
    assert PAPER.epochs * PAPER.steps_per_epoch == 100_000


# training data -----------------------------------------------------------------------------------


def test_training_points_know_the_way_to_the_truth() -> None:
    """In a volume that is turned, scaled and mirrored, the patches are those of where the points are."""
    torch.manual_seed(3)
    c = replace(
        REALTIME, landmarks=("a_left", "a_right", "b"), components=9, turned_deg=20.0, refined_mm=1e-3,
        pixel_mm=1.0, near_share=1.0,
    )  # fmt: skip
    landmarks = torch.tensor([[10.0, 5.0, 0.0], [-8.0, 4.0, 3.0], [1.0, -12.0, 6.0]])
    values = np.zeros((101, 101, 101), np.float32)
    for x, y, z in landmarks.int().tolist():
        values[50 + z - 1 : 52 + z, 50 + y - 1 : 52 + y, 50 + x - 1 : 52 + x] = 1.0
    one = training_data.annotated(values, (1.0, 1.0, 1.0), landmarks, c)
    mirror = (0, training_data.mirrored_order(c.landmarks))
    model = fit(torch.stack([training_data.drawn_lie(c, mirror).seen(landmarks) for _ in range(200)]), 9)
    middle = c.patch_px // 2
    for _ in range(10):
        seen = training_data.drawn_lie(c, mirror)
        # so near to the truth that every patch's middle is bright
        fine = training_data.fine_points(one, seen, model, 1, c)
        assert (fine.patches[:, :, middle, middle] > 0.9).all()
        assert fine.true.abs().max() < 0.01
        # a step by what is said to be true arrives
        batch = training_data.coarse_points(one, seen, model, 4, c)
        truth = model.positions_mm(model.parameters(seen.seen(landmarks)))
        points = model.positions_mm(model.parameters(truth) - batch.true)
        away = points - truth
        patches = batch.patches.reshape(4, 3, 3, c.patch_px, c.patch_px)
        for shape, landmark in np.ndindex(4, 3):
            x, y, z = (-away[shape, landmark]).round().int().tolist()
            for plane, (across, down, off) in enumerate(((x, y, z), (x, z, y), (y, z, x))):
                if off == 0 and max(abs(across), abs(down)) < middle:
                    assert patches[shape, landmark, plane, middle + down, middle + across] > 0.2


def test_bytes_of_small_voxels_do_not_overflow() -> None:
    volume = Uploaded(torch.full((30, 30, 30), 200, dtype=torch.uint8), 0.0, 255.0)
    level = level_of(volume, (0.3, 0.3, 0.3), 2.2)
    torch.testing.assert_close(level.values, torch.full_like(level.values, 200 / 255))


def test_what_is_not_finite_is_dark() -> None:
    volume = np.linspace(-1000.0, 1000.0, 8**3, dtype=np.float32).reshape(8, 8, 8)
    volume[3, 3, 3], volume[4, 4, 4] = np.nan, np.inf
    level = level_of(upload(volume, torch.device("cpu")), (1.0, 1.0, 1.0), 1.0)
    assert level.values[3, 3, 3] == level.values[4, 4, 4] == 0.0


@pytest.mark.parametrize(
    "changes",
    [{"landmarks": ()}, {"padding_px": 0}, {"widths": (8, 8)}, {"landmarks": ("a", "a")}],
)
def test_configuration_that_cannot_be_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"left|small|convolutions|distinct"):
        replace(REALTIME, **changes)


@pytest.mark.parametrize("data", [("fetal_head", "prostate"), ("prostate",)])
def test_data_that_does_not_fit_is_refused(data: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=r"trains on one of|has no landmark"):
        populations.check(data, REALTIME)


@pytest.mark.parametrize("name", populations.POPULATIONS)
def test_sides_lie_along_the_axis_that_is_mirrored(name: str) -> None:
    population = populations.POPULATIONS[name]
    shown = [{"fetal_head": head_in_standard_lie, "prostate": prostate}[name](seed) for seed in range(6)]
    apart = np.zeros(3)
    for one in shown:
        places = dict(zip(population.landmarks, one, strict=True))
        for left in (n for n in population.landmarks if "left" in n.split("_")):
            apart += np.abs(places[left] - places[left.replace("left", "right")])
    assert int(np.argmax(apart)) == population.side_axis


def head_in_standard_lie(seed: int) -> np.ndarray:
    phantom = VolumeUltrasoundPhantom(PhantomParameters("fetal_head_small", seed))
    shown = np.array([one.uv_px for one in phantom.truth(1, 0.0).estimates])
    from_image = phantom.geometry.pose[:3, :3]
    signs = np.diag(from_image.T @ phantom.half_turn @ from_image)
    return shown * signs


def prostate(seed: int) -> np.ndarray:
    phantom = ProstatePhantom(PhantomParameters(seed=seed))
    return np.array([one.uv_px for one in phantom.truth(1, 0.0).estimates])


def test_mirror_swaps_sides() -> None:
    order = training_data.mirrored_order(("middle", "atrium_left", "atrium_right"))
    assert order is not None
    assert order.tolist() == [0, 2, 1]
    assert training_data.mirrored_order(("middle", "top")) is None
    assert training_data.mirrored_order(("middle", "atrium_left")) is None


def test_paper_mirrors_nothing() -> None:
    assert populations.mirror("fetal_head", PAPER) is None
    assert populations.mirror("fetal_head", REALTIME) is not None


def test_refinement_ends_where_the_network_answers_with_what_is_not_finite() -> None:
    c = replace(REALTIME, landmarks=("a", "b", "c", "d"), components=2)
    mean = torch.eye(4, 3) * 10
    model = ShapeModel(mean.flatten(), torch.zeros(12, 2), torch.ones(2))
    level = level_of(upload(np.zeros((40, 40, 40), np.uint8), torch.device("cpu")), (1.0, 1.0, 1.0), 1.0)

    def nothing(patches: torch.Tensor) -> Move:
        return Move(torch.full((len(patches), 3), torch.nan), torch.zeros(len(patches), 6))

    ends = refine(level, nothing, model, mean[None], RULES["B"], 5, c)
    assert torch.isnan(ends.each_mm).all()

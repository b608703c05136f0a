"""Attention Mask R-CNN with LSTM: its clips, its network in training and in parts, and its tracker.

The network is not trained: what is checked is that places, memories and gradients go where they should.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from attention_mask_rcnn_example import TINY, write_run  # noqa: E402

from lmtrack_ros.core.errors import UserError  # noqa: E402
from lmtrack_ros.core.records import Status  # noqa: E402
from lmtrack_ros.inference.parameters import InferenceParameters  # noqa: E402
from lmtrack_ros.models.attention_mask_rcnn.boxes import corners, square  # noqa: E402
from lmtrack_ros.models.attention_mask_rcnn.clips import read_clips, sequence_folders  # noqa: E402
from lmtrack_ros.models.attention_mask_rcnn.finder import Finder  # noqa: E402
from lmtrack_ros.models.attention_mask_rcnn.network import AttentionMaskRcnn  # noqa: E402
from lmtrack_ros.models.attention_mask_rcnn.parameters import AttentionMaskRcnnParameters  # noqa: E402
from lmtrack_ros.models.attention_mask_rcnn.populations import population  # noqa: E402
from lmtrack_ros.models.attention_mask_rcnn.tracker import AttentionMaskRcnnTracker  # noqa: E402
from lmtrack_ros.models.attention_mask_rcnn.training import AttentionMaskRcnnTrainee  # noqa: E402
from lmtrack_ros.models.parts import Part  # noqa: E402
from lmtrack_ros.models.trainee import unseen  # noqa: E402
from lmtrack_ros.phantoms import open_phantom  # noqa: E402
from lmtrack_ros.phantoms.clust import PARTS, write  # noqa: E402

PATIENTS = [
    replace(patient, seconds=3.0, landmarks=1)
    for patient in PARTS["training"]
    if patient.name in ("CIL-02", "ETH-02", "ICR-05", "MED2-01")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("population")
    write(path, PATIENTS)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def network() -> Any:
    torch.manual_seed(0)
    return AttentionMaskRcnn(TINY).eval()


class TestClips:
    def test_landmark_is_where_it_is_said_to_be(self, folder: Path) -> None:
        clips = read_clips(sequence_folders([folder]), 3, 170)
        assert clips.frames.shape[1:] == (3, 170, 170)
        assert clips.sequences == len(PATIENTS)
        assert (clips.places_px[:, -1] == 84.5).all()
        assert len(clips) == sum(len(range(8, patient.frames, 8)) for patient in PATIENTS)
        # in the frames before, from a spline: no farther than a landmark moves in two frames
        assert (clips.places_px[:, 0] - 84.5).abs().max() < 15
        assert clips.references.float().std(dim=(1, 2)).min() > 0

    def test_same_landmark_looks_alike_in_frame_and_reference(self, folder: Path) -> None:
        """The middles of the two are correlated: they show the same vessel."""
        clips = read_clips(sequence_folders([folder]), 3, 170)
        one, other = (
            x[..., 70:100, 70:100].flatten(1).float() for x in (clips.frames[:, -1], clips.references)
        )
        one, other = one - one.mean(1, keepdim=True), other - other.mean(1, keepdim=True)
        alike = (one * other).sum(1) / one.norm(dim=1) / other.norm(dim=1)
        assert alike.median() > 0.4

    def test_sequences_are_divided(self, folder: Path) -> None:
        parts = {part: population([str(folder)], part, unseen) for part in Part}
        assert sorted(path for part in parts.values() for path in part) == sequence_folders([folder])
        assert {part.value: len(paths) for part, paths in parts.items()} == {
            "training": 2,
            "validation": 1,
            "test": 1,
        }

    def test_too_few_sequences(self, folder: Path) -> None:
        with pytest.raises(UserError, match="at least 3"):
            population([str(folder / "CIL-02")], Part.TRAINING, unseen)


class TestNetwork:
    def test_view_and_region_are_the_same_places(self, network: Any) -> None:
        """A dot of the region appears in the detector's image where its place says."""
        region = torch.zeros(1, 100, 100)
        place = torch.tensor([[61.0, 42.0]])
        region[0, 40:45, 59:64] = 1.0
        view = network.view(region, square(torch.tensor([[55.0, 47.0]]), 60.0))
        rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
        weight = view.images[0] / view.images[0].sum()
        seen = torch.stack([(weight * columns).sum(), (weight * rows).sum()])
        torch.testing.assert_close(view.to_view(place)[0], seen, atol=0.05, rtol=0)

    def test_places_of_proposals_are_those_of_the_region(self, network: Any) -> None:
        """A proposal round a place, not shifted, is that place."""
        place = torch.tensor([[61.0, 42.0]])
        view = network.view(torch.rand(1, 100, 100), square(torch.tensor([[55.0, 47.0]]), 60.0))
        looked = network.detector.look(view.images)
        proposals = network.landmark_boxes(view, place)[:, None]
        shift = network.detector.shift
        network.detector.shift = torch.nn.Sequential(torch.nn.Linear(TINY.hidden, 2))
        torch.nn.init.zeros_(network.detector.shift[0].weight)
        torch.nn.init.zeros_(network.detector.shift[0].bias)
        state = network.detector.nothing(1, place.device)
        found = network.choose(view.boxes, looked.features, proposals, state)
        network.detector.shift = shift
        torch.testing.assert_close(found.places_px[0], place, atol=1e-3, rtol=0)

    def test_attended_box_cannot_vanish(self, network: Any) -> None:
        nothing = torch.tensor([[300.0, -50.0, 1e-3, 1e4]])
        view = network.view(torch.rand(1, 100, 100), nothing)
        assert (corners(view.boxes)[:, 2:] - corners(view.boxes)[:, :2] >= 40 - 1e-3).all()
        assert torch.isfinite(view.images).all()

    def test_memory_changes_the_judgement_but_not_the_pixels(self, network: Any) -> None:
        region, reference = torch.rand(1, 100, 100), torch.rand(1, 100, 100)
        _, looked = network.look(region, reference)
        proposals = network.detector.kept(looked)
        nothing = network.detector.nothing(1, region.device)
        remembered = network.remember(reference)
        scores = [
            network.detector.judge(looked.features, list(proposals), s).scores for s in (nothing, remembered)
        ]
        assert not torch.allclose(*scores)
        pixels = network.detector.pixels(looked.features, list(proposals))
        assert pixels.shape == (TINY.proposals, 28, 28, TINY.channels)

    def test_without_recurrence_nothing_is_remembered(self) -> None:
        torch.manual_seed(0)
        network = AttentionMaskRcnn(replace(TINY, recurrence=False)).eval()
        region, reference = torch.rand(1, 100, 100), torch.rand(1, 100, 100)
        _, one = network.find(region, reference, network.remember(reference))
        _, other = network.find(region, reference, network.remember(1 - reference))
        assert (one.scores == other.scores).all()

    def test_without_attention_the_whole_region_is_seen(self) -> None:
        network = AttentionMaskRcnn(replace(TINY, attention=False)).eval()
        parameters, boxes = network.attend(torch.rand(2, 100, 100), torch.rand(2, 100, 100))
        assert parameters is None
        assert boxes.tolist() == [[49.5, 49.5, 100.0, 100.0]] * 2

    def test_backbone_of_the_paper_fits_in(self) -> None:
        torch.manual_seed(0)
        network = AttentionMaskRcnn(replace(TINY, backbone="resnet50")).eval()
        region = torch.rand(1, 100, 100)
        _, looked = network.look(region, region)
        assert looked.features.shape[1] == TINY.channels
        _, found = network.find(region, region, network.remember(region))
        assert found.places_px.shape == (1, TINY.proposals, 2)

    def test_there_are_always_as_many_proposals(self, network: Any) -> None:
        _, looked = network.look(torch.zeros(2, 100, 100), torch.zeros(2, 100, 100))
        one_place = looked._replace(boxes=looked.boxes[:, :1].expand_as(looked.boxes))
        for some in (looked, one_place):
            assert network.detector.kept(some).shape == (2, TINY.proposals, 4)


@pytest.fixture(scope="module")
def trainee(folder: Path) -> AttentionMaskRcnnTrainee:
    torch.manual_seed(0)
    return AttentionMaskRcnnTrainee(TINY, (str(folder),), 0, torch.device("cpu"))


class TestTraining:
    def test_every_part_of_the_network_learns(self, trainee: AttentionMaskRcnnTrainee) -> None:
        before = {name: p.detach().clone() for name, p in trainee.network.named_parameters()}
        for index in range(3):
            losses = trainee.step(index)
        assert set(losses) == {"attention", "match", "objectness", "rpn_box_reg", "class", "box", "mask"}
        assert all(np.isfinite(loss) for loss in losses.values())
        still = [name for name, p in trainee.network.named_parameters() if torch.equal(p, before[name])]
        assert still == []

    def test_varied_places_stay_on_the_landmark(self, trainee: AttentionMaskRcnnTrainee) -> None:
        """A bright dot on the landmark is where the turned, scaled and mirrored clip says."""
        clips = trainee._clips[Part.TRAINING]
        frames = torch.zeros_like(clips.frames)
        column, row = (clips.places_px[0, 1] + torch.tensor([6.0, -9.0])).round().int().tolist()
        frames[:, 1, row - 1 : row + 2, column - 1 : column + 2] = 170
        places = clips.places_px.clone()
        places[:, 1] = torch.tensor([column, row]).float()
        marked = replace(clips, frames=frames, places_px=places)
        torch.manual_seed(1)
        varied, at, _ = trainee._varied(marked, torch.arange(len(marked)), vary=True)
        size = torch.arange(varied.shape[-1]).float()
        dot = torch.relu(varied[:, 1] - 0.1)
        weight = dot / dot.sum((1, 2), keepdim=True)
        seen = torch.stack([(weight * size).sum((1, 2)), (weight * size[:, None]).sum((1, 2))], dim=-1)
        torch.testing.assert_close(at[:, 1], seen, atol=0.3, rtol=0)

    def test_figures_and_picture(self, trainee: AttentionMaskRcnnTrainee) -> None:
        assert set(trainee.validate()) == {"mean_error_px", "median_error_px", "beyond_5px", "attended"}
        assert trainee.picture().shape == (200, 1000, 3)
        assert trainee.split()["training"].endswith("of 2 sequences")


@pytest.fixture
def tracker(weights: str) -> AttentionMaskRcnnTracker:
    eager = InferenceParameters(backend="eager", device="cpu")
    return AttentionMaskRcnnTracker(AttentionMaskRcnnParameters(weights=weights, inference=eager))


class TestTracker:
    PHANTOM = open_phantom("ultrasound", PATIENTS[1].phantom)

    def test_landmarks_do_not_depend_on_each_other(self, tracker: AttentionMaskRcnnTracker) -> None:
        first, landmarks = self.PHANTOM.render(1, 0.0), self.PHANTOM.landmarks(0.0)
        frames = [self.PHANTOM.render(i, i / 20) for i in (2, 3)]
        tracker.initialize(first, landmarks)
        together = [tracker.update(frame).estimates for frame in frames]
        for index, landmark in enumerate(landmarks):
            tracker.initialize(first, [landmark])
            alone = [tracker.update(frame).estimates[0] for frame in frames]
            for one, all_of_them in zip(alone, together, strict=True):
                np.testing.assert_array_equal(one.uv_px, all_of_them[index].uv_px)

    def test_frame_that_cannot_be_compared_is_lost(self, tracker: AttentionMaskRcnnTracker) -> None:
        first = self.PHANTOM.render(1, 0.0)
        tracker.initialize(first, self.PHANTOM.landmarks(0.0))
        for image in (first.image[:-1], np.zeros_like(first.image), np.full(first.image.shape, np.nan)):
            found = tracker.update(replace(first, image=image))
            assert {e.status for e in found.estimates} == {Status.LOST}

    def test_network_that_gives_no_number_finds_nothing(
        self, tracker: AttentionMaskRcnnTracker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = self.PHANTOM.render(1, 0.0)
        tracker.initialize(first, self.PHANTOM.landmarks(0.0))
        look = tracker._finder._look
        monkeypatch.setattr(
            tracker._finder, "_look", lambda *a: tuple(np.full_like(part, np.nan) for part in look(*a))
        )
        assert {e.status for e in tracker.update(first).estimates} == {Status.LOST}

    def test_refuses_a_frame_without_structure(self, tracker: AttentionMaskRcnnTracker) -> None:
        first = self.PHANTOM.render(1, 0.0)
        with pytest.raises(UserError, match="without structure"):
            tracker.initialize(replace(first, image=np.zeros_like(first.image)), self.PHANTOM.landmarks(0.0))


def test_backends_agree(weights: str) -> None:
    pytest.importorskip("openvino")
    rng = np.random.default_rng(0)
    regions = rng.random((20, 2, 100, 100), dtype=np.float32)
    finders = [
        Finder(weights, InferenceParameters(backend=backend, device="cpu"))
        for backend in ("eager", "openvino")
    ]
    for region, reference in regions:
        memory = finders[0].remember(reference)
        (one,), (other,) = (finder.find([region], [reference], [memory]) for finder in finders)
        np.testing.assert_allclose(one.places_px, other.places_px, atol=0.05)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-3)


def test_landmarks_of_a_batch_do_not_see_each_other(weights: str) -> None:
    rng = np.random.default_rng(0)
    regions, references = rng.random((2, 4, 100, 100), dtype=np.float32)
    parameters = InferenceParameters(backend="eager", device="cpu")
    alone, together = Finder(weights, parameters, batch=1), Finder(weights, parameters, batch=3)
    memories = [alone.remember(reference) for reference in references]
    pairs = zip(*(f.find(regions, references, memories) for f in (alone, together)), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one.places_px, other.places_px, atol=1e-3)
        np.testing.assert_allclose(one.memories[0].hidden, other.memories[0].hidden, atol=1e-4)

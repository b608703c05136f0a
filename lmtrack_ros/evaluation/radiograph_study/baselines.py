"""Other ways to find the tracheal bifurcation, as in table 3 of LandmarkNet's paper."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

from lmtrack_ros.evaluation.bootstrap import mean_interval
from lmtrack_ros.evaluation.detection_study.fitting import fit
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.inference.parameters import InferenceParameters
from lmtrack_ros.models.description import SUFFIX
from lmtrack_ros.models.grey import from_bytes
from lmtrack_ros.models.landmark_net import KINDS
from lmtrack_ros.models.landmark_net.configuration import LandmarkNetConfiguration
from lmtrack_ros.models.landmark_net.correctness import CORRECT_PX, Matches, matches
from lmtrack_ros.models.landmark_net.losses import map_loss, map_losses
from lmtrack_ros.models.landmark_net.network import Found, LandmarkNet, initialise_head
from lmtrack_ros.models.landmark_net.populations import Radiographs, radiographs
from lmtrack_ros.models.landmark_net.training import drawn, found_in
from lmtrack_ros.models.loading import load_network
from lmtrack_ros.models.parts import Part
from lmtrack_ros.models.precision import Precision
from lmtrack_ros.models.randomness import seed_all
from lmtrack_ros.models.template_matching.configuration import TemplateMatchingConfiguration
from lmtrack_ros.models.template_matching.data import Augmentation, draw
from lmtrack_ros.models.template_matching.detection import Detector, Example
from lmtrack_ros.models.template_matching.losses import LOSSES, match_loss
from lmtrack_ros.models.template_matching.training import build_network
from lmtrack_ros.models.trainee import Gathered
from lmtrack_ros.models.weights import save_weights
from lmtrack_ros.phantoms.portal_cases import VIEWS

STEPS = 1000
_SEED = 0
_TEMPLATES = 20
_KIND = "tracheal_bifurcation"
_TEMPLATE_MATCHING, _TEMPLATE_START = "template matching", "radiograph"
_EAGER = InferenceParameters(device="cpu", backend="eager")

INTRODUCTION = f"""\
Tracheal bifurcation in the portal images of the test patients. *LandmarkNet* and *DeepLabv3*
(torchvision's, with MobileNetV3, from random weights, maps of the same size and Gaussians) learn from the
same {STEPS} batches of the same images at the same learning rate, a short schedule; the highest point of
their map counts, however low it is. *Template matching* is this package's other network: its shipped
weights for radiographs, trained on for {STEPS} batches of the same images, without labels; it looks for the
patches round the bifurcation of {_TEMPLATES} training patients seen from the same side."""


class DeepLab(nn.Module):
    """DeepLabv3 (Chen et al. 2017) with a map for each kind of landmark.

    Args:
        configuration: says the size of the maps.
    """

    def __init__(self, configuration: LandmarkNetConfiguration) -> None:
        super().__init__()
        self._side = configuration.image_px // configuration.map_stride
        self._network = deeplabv3_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=len(KINDS)
        )
        # with maps that begin as large as other layers' outputs it learns nothing
        initialise_head(self._network.classifier[-1])
        # its wide dilated convolutions take half as long like this
        self.to(memory_format=torch.channels_last)
        self._precision = Precision(torch.device("cpu"), half_on_cpu=True)

    def forward(self, images: Tensor) -> Found:
        """Return maps for (B, 1, S, S) images."""
        seen = images.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        with self._precision.autocast():
            maps = self._network(seen)["out"].float()
        smaller = functional.interpolate(maps, (self._side, self._side), mode="bilinear", align_corners=False)
        return Found(smaller, ())


def compared(order: Order, of: Radiographs, c: LandmarkNetConfiguration, gathered: Gathered) -> list[str]:
    """Return a table's rows: what each method finds.

    Args:
        order: of the study.
        of: the test patients' radiographs.
        c: of the network, and of the maps of the others.
        gathered: told how far the training images are.
    """
    training = radiographs(Part.TRAINING, c.image_px, gathered)
    portal = [number for number, view in enumerate(of.views.tolist()) if not VIEWS[view].is_reference]
    rows = []
    makers: dict[str, Callable[[], nn.Module]] = {
        "LandmarkNet": lambda: LandmarkNet(c),
        "DeepLabv3": lambda: DeepLab(c),
    }
    for name, make in makers.items():
        seed_all(_SEED)
        network = make()
        spent_s = _trained(network, training, c, order, name)
        found = found_in(network, c, of, portal, highest_alone=True)[_KIND]
        rows.append(_row(name, found, of, portal, f"{spent_s / 60:.0f}"))
    weights, spent_s = _template_weights(training, order)
    found = _templates(weights, training, of, portal, order)
    rows.append(_row(_TEMPLATE_MATCHING, found, of, portal, f"{spent_s / 60:.0f}"))
    return rows


def _trained(
    network: nn.Module, training: Radiographs, c: LandmarkNetConfiguration, order: Order, name: str
) -> float:
    """Train a network, unless that is done; returns how much processor time it took, s."""
    device = torch.device("cpu")

    def loss() -> Tensor:
        images, places_px = drawn(training, c.images_per_step, device)
        found = network(images)
        if not found.intermediate:
            return map_loss(found.maps, places_px, c.map_stride, c)
        return torch.stack(list(map_losses(found, places_px, c).values())).sum()

    return fit(
        network,
        loss,
        order.work / f"{name}.pt",
        steps=STEPS,
        learning_rate=c.learning_rate,
        seed=_SEED,
        on_step=lambda done: order.progress(name, done, STEPS),
    )


def _template_weights(training: Radiographs, order: Order) -> tuple[Path, float]:
    """Train the template matching network on, unless that is done; returns its weights and the time, s."""
    loaded = load_network("template_matching", _TEMPLATE_START, build_network)
    network, c = loaded.network, loaded.description.configuration
    assert isinstance(c, TemplateMatchingConfiguration)
    side = torch.full((c.images_per_step,), float(c.image_px))

    def loss() -> Tensor:
        chosen = torch.randint(len(training), (c.images_per_step,))
        grey = functional.interpolate(from_bytes(training.images[chosen])[:, None], c.image_px, mode="area")
        batch = draw(
            grey[:, 0],
            side[:, None].expand(-1, 2),
            side,
            c.image_px,
            c.patches_per_image,
            c.patch_px,
            Augmentation(crop=c.crop, noise=c.noise),
        )
        found = network.find(batch.views, network.encode_patches(batch.patches))
        total = LOSSES[c.loss](found, batch.place_px)
        if found.log_shares is not None:
            total = total + match_loss(found.log_shares, batch.place_px, c.image_px)
        return total

    spent_s = fit(
        network,
        loss,
        order.work / f"{_TEMPLATE_MATCHING}.pt",
        steps=STEPS,
        learning_rate=c.learning_rate,
        seed=_SEED,
        on_step=lambda done: order.progress(_TEMPLATE_MATCHING, done, STEPS),
    )
    path = order.work / f"{_TEMPLATE_MATCHING}{SUFFIX}"
    description = replace(
        loaded.description, data=(*loaded.description.data, "portal images"), start=_TEMPLATE_START
    )
    description.write(path.with_suffix(".yaml"))
    save_weights(path, network.state_dict(), description)
    return path, spent_s


def _templates(
    weights: Path, training: Radiographs, of: Radiographs, chosen: list[int], order: Order
) -> list[Matches]:
    """Return what the template matching network finds, from examples of the same side."""
    kind = KINDS.index(_KIND)
    found: dict[int, Matches] = {}
    for view in sorted({int(of.views[number]) for number in chosen}):
        known = torch.isfinite(training.places_px[:, kind, 0]).all(-1) & (training.views == view)
        # one pose of each anatomy
        picked = torch.nonzero(known).squeeze(1)[:: max(1, int(known.sum()) // _TEMPLATES)][:_TEMPLATES]
        examples = [
            Example(training.images[i].numpy(), {_KIND: training.places_px[i, kind, 0].double().numpy()})
            for i in picked.tolist()
        ]
        detector = Detector(str(weights), examples, _EAGER)
        mine = [number for number in chosen if of.views[number] == view]
        for done, number in enumerate(mine, 1):
            true = of.places_px[number, kind].double().numpy()
            real = true[np.isfinite(true).all(-1)]
            place = detector.detect(of.images[number].numpy())[_KIND].uv_px
            found[number] = matches(real, place[None], 2 * CORRECT_PX)
            order.progress(f"templates, view {view}", done, len(mine))
    return [found[number] for number in chosen]


def _row(name: str, found: list[Matches], of: Radiographs, chosen: list[int], minutes: str) -> str:
    within = [one.away_px < CORRECT_PX for one in found]
    by_subject: dict[int, list[float]] = {}
    per_subject = len(of) // of.subjects
    for number, one in zip(chosen, within, strict=True):
        by_subject.setdefault(number // per_subject, []).extend(one.astype(float))
    low, high = mean_interval([np.array(values) for values in by_subject.values() if values])
    away = np.concatenate([one.away_px for one in found])
    near = away[np.isfinite(away)]
    share = f"{np.concatenate(within).mean():.2%} ({low:.1%}–{high:.1%})"
    return f"| {name} | {share} | {near.mean():.2f} | {minutes} |"

"""Training of LandmarkNet (Training)."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lmtrack_ros.models.appearance import seen_otherwise, shown_otherwise
from lmtrack_ros.models.grey import from_bytes
from lmtrack_ros.models.landmark_net import APART_PX, KINDS, LEAST_HEIGHT
from lmtrack_ros.models.landmark_net.configuration import LandmarkNetConfiguration
from lmtrack_ros.models.landmark_net.correctness import CORRECT_PX, Matches, correctness, matches
from lmtrack_ros.models.landmark_net.heat_maps import peaks
from lmtrack_ros.models.landmark_net.losses import map_losses
from lmtrack_ros.models.landmark_net.network import LandmarkNet
from lmtrack_ros.models.landmark_net.populations import Radiographs, radiographs
from lmtrack_ros.models.parts import Part
from lmtrack_ros.models.precision import Precision
from lmtrack_ros.models.sampling import places, sample
from lmtrack_ros.models.sole_network import SoleNetworkTrainee
from lmtrack_ros.models.trainee import Gathered, unseen

_SCALE, _ROTATION_DEG, _SHIFT = (0.85, 1.18), 8.0, 0.08
_AT_ONCE = 16
_PICTURED = 6
_COLOURS = ((60, 220, 90), (240, 70, 60), (80, 140, 255))


class LandmarkNetTrainee(SoleNetworkTrainee):
    """See :class:`.Trainee`."""

    configuration: LandmarkNetConfiguration
    network: LandmarkNet

    def __init__(
        self,
        configuration: LandmarkNetConfiguration,
        data: tuple[str, ...],
        seed: int,
        device: torch.device,
        gathered: Gathered = unseen,
    ) -> None:
        super().__init__(configuration, data, seed, device, gathered)
        c = configuration
        network = LandmarkNet(c)
        # a layout that convolutions are faster in
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=c.learning_rate)
        self.schedule = torch.optim.lr_scheduler.ExponentialLR(self.optimiser, c.decay)
        self.precision = Precision(device, half_on_cpu=True)
        self._radiographs = {part: radiographs(part, c.image_px, gathered) for part in Part}
        self.steps_per_epoch = c.steps_per_epoch

    def step(self, index: int) -> Mapping[str, float]:
        """Take one step on images drawn by chance."""
        self.network.train()
        images, places_px = drawn(
            self._radiographs[Part.TRAINING], self.configuration.images_per_step, self.device
        )
        with self.precision.autocast():
            found = self.network(images)
        found = found._replace(
            maps=found.maps.float(), intermediate=tuple(maps.float() for maps in found.intermediate)
        )
        losses = map_losses(found, places_px, self.configuration)
        return self.descend(losses)

    def validate(self) -> Mapping[str, float]:
        """Return which landmarks of the validation set are found."""
        return self._measured(Part.VALIDATION)

    def scores(self) -> Mapping[str, float]:
        """Return the same of the test set."""
        return self._measured(Part.TEST)

    def _measured(self, part: Part) -> Mapping[str, float]:
        of = self._radiographs[part]
        found = found_in(self.network, self.configuration, of, range(len(of)))
        figures = {kind: correctness(matched) for kind, matched in found.items()}
        correct = {kind: one.of_landmarks[2] for kind, one in figures.items()}
        said = {"one_less_pck": 1 - float(np.mean(list(correct.values())))}
        for kind, one in figures.items():
            said |= {f"{kind}_pck": correct[kind], f"{kind}_px": one.mean_px, f"{kind}_false": one.false}
        return said

    def picture(self) -> NDArray[np.uint8]:
        """Return images with landmarks where they are (crosses) and where they are found (rings)."""
        of = self._radiographs[Part.VALIDATION]
        chosen = torch.linspace(0, len(of) - 1, _PICTURED).long()
        maps = _maps(self.network, of, chosen.tolist())
        return np.hstack(
            [
                _pictured(of.images[number], of.places_px[number], maps[i], self.configuration)
                for i, number in enumerate(chosen.tolist())
            ]
        )

    def split(self) -> Mapping[str, str]:
        """Return what is in each part."""
        said = {
            part.value: f"{len(of)} images of {of.subjects} anatomies in {int(of.patients.max()) + 1} poses"
            for part, of in self._radiographs.items()
        }
        return {**said, "calibration": "none of these"}


def drawn(of: Radiographs, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return images drawn by chance, from torch's generator, and varied.

    Returns:
        (B, 1, S, S) grey values and (B, K, M, 2) places in them, NaN of none.
    """
    images, where = [], []
    for number in torch.randint(len(of), (count,)).tolist():
        grey = from_bytes(of.images[number]).to(device)
        side = grey.shape[-1]
        matrix = seen_otherwise(_ROTATION_DEG, _SCALE, device)
        middle = (side - 1) / 2 + side * _SHIFT * (2 * torch.rand(2, device=device) - 1)
        seen = sample(grey[None], places(matrix, middle, side)[None])
        images.append(shown_otherwise(seen))
        to_view = torch.linalg.inv(matrix)
        at = (of.places_px[number].to(device) - middle) @ to_view.T + (side - 1) / 2
        inside = ((at >= 0) & (at <= side - 1)).all(-1, keepdim=True)
        where.append(torch.where(inside, at, torch.nan))
    return torch.stack(images), torch.stack(where)


def found_in(
    network: nn.Module,
    c: LandmarkNetConfiguration,
    of: Radiographs,
    chosen: Sequence[int],
    *,
    highest_alone: bool = False,
) -> Mapping[str, list[Matches]]:
    """Return which landmarks of each of some images are found, by kind.

    Args:
        network: returns :class:`~.network.Found`.
        c: of its maps.
        of: the images are.
        chosen: numbers of images.
        highest_alone: whether each map's highest peak counts, however low, and no other.
    """
    every: dict[str, list[Matches]] = {kind: [] for kind in KINDS}
    for first in range(0, len(chosen), _AT_ONCE):
        some = list(chosen[first : first + _AT_ONCE])
        for number, maps in zip(some, _maps(network, of, some), strict=True):
            for kind, found, true in zip(KINDS, maps, of.places_px[number].numpy(), strict=True):
                least = float(found.max()) if highest_alone else LEAST_HEIGHT
                shown = peaks(found, c.map_stride, c.sigma_px, least, APART_PX)
                at = np.array([one.uv_px for one in shown]).reshape(-1, 2)
                real = true[np.isfinite(true).all(-1)].astype(float)
                every[kind].append(matches(real, at, 2 * CORRECT_PX))
    return every


@torch.no_grad()
def _maps(network: nn.Module, of: Radiographs, chosen: Sequence[int]) -> NDArray[np.float32]:
    network.eval()
    device = next(network.parameters()).device
    images = from_bytes(of.images[list(chosen)])[:, None].to(device)
    return np.asarray(network(images).maps.float().cpu().numpy())


def _pictured(
    image: Tensor, places_px: Tensor, maps: NDArray[np.float32], c: LandmarkNetConfiguration
) -> NDArray[np.uint8]:
    grey = np.clip(from_bytes(image).numpy() * 200, 0, 255).astype(np.uint8)
    picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    for kind, colour in enumerate(_COLOURS):
        for at in places_px[kind]:
            if at.isfinite().all():
                middle = tuple(at.round().int().tolist())
                cv2.drawMarker(picture, middle, colour, cv2.MARKER_CROSS, 7, 1, cv2.LINE_AA)
        for peak in peaks(maps[kind], c.map_stride, c.sigma_px, LEAST_HEIGHT, APART_PX):
            middle = tuple(np.rint(peak.uv_px).astype(int).tolist())
            cv2.circle(picture, middle, 5, colour, 1, cv2.LINE_AA)
    return np.asarray(picture, np.uint8)

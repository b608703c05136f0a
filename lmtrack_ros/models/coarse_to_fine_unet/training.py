"""Training of the coarse-to-fine U-Net against a critic (section 3.3)."""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from lmtrack_ros.models.coarse_to_fine_unet.agreement import FOUND, Agreement, agreement, figures
from lmtrack_ros.models.coarse_to_fine_unet.configuration import CoarseToFineUnetConfiguration
from lmtrack_ros.models.coarse_to_fine_unet.critic import Critic
from lmtrack_ros.models.coarse_to_fine_unet.generator import NOTHING, Generator, Prediction, triples
from lmtrack_ros.models.coarse_to_fine_unet.losses import (
    critic_loss,
    deception_loss,
    entropy_loss,
    iou_loss,
    l1_loss,
    ssim_loss,
)
from lmtrack_ros.models.coarse_to_fine_unet.populations import clips
from lmtrack_ros.models.coarse_to_fine_unet.stream import advanced, nothing_yet
from lmtrack_ros.models.coarse_to_fine_unet.windows import Windows, draw, parts
from lmtrack_ros.models.parts import Part
from lmtrack_ros.models.precision import Precision
from lmtrack_ros.models.trainee import Gathered, Stateful, Trainee, unseen

_GREATEST_GRADIENT = 10.0
_ADAM_OF_CRITIC = (0.5, 0.9)
"""Of the gradients' running means, as Gulrajani et al. 2017 use them."""
_PICTURED = 5


class CoarseToFineUnetTrainee(Trainee):
    """See :class:`.Trainee`; a step is a round: steps of the generator, then one of the critic."""

    configuration: CoarseToFineUnetConfiguration
    network: Generator

    def __init__(
        self,
        configuration: CoarseToFineUnetConfiguration,
        data: tuple[str, ...],
        seed: int,
        device: torch.device,
        gathered: Gathered = unseen,
    ) -> None:
        super().__init__(configuration, data, seed, device, gathered)
        c = configuration
        self._taught = Generator(c).to(device)
        self._mean = AveragedModel(self._taught, avg_fn=_mean_of(c.mean_steps))
        assert isinstance(self._mean.module, Generator)
        self.network = self._mean.module
        self._critic = Critic(c).to(device)
        _fix(self._taught, c.fixed_levels)
        taught = [weight for weight in self._taught.parameters() if weight.requires_grad]
        self._optimiser = torch.optim.Adam(taught, lr=c.learning_rate)
        self._of_critic = torch.optim.Adam(
            self._critic.parameters(), lr=c.critic_learning_rate, betas=_ADAM_OF_CRITIC
        )
        self._schedules = [
            torch.optim.lr_scheduler.ExponentialLR(optimiser, c.decay)
            for optimiser in (self._optimiser, self._of_critic)
        ]
        self._precision, self._precision_of_critic = Precision(device, half_on_cpu=True), Precision(device)
        self._clips = {part: clips(data, part, c, gathered) for part in Part}
        self.steps_per_epoch = c.steps_per_epoch

    def begin_from(self, weights: Mapping[str, Tensor], where: str) -> None:
        """Take trained weights over before the first step."""
        super().begin_from(weights, where)
        self._taught.load_state_dict(self.network.state_dict())

    def stateful(self) -> Mapping[str, Stateful]:
        """Return what a step changes."""
        return {
            "taught": self._taught,
            "mean": self._mean,
            "critic": self._critic,
            "optimiser": self._optimiser,
            "optimiser of critic": self._of_critic,
            "schedule": self._schedules[0],
            "schedule of critic": self._schedules[1],
            "precision": self._precision,
            "precision of critic": self._precision_of_critic,
        }

    def step(self, index: int) -> Mapping[str, float]:
        """Take the steps of one round, each on windows drawn by chance; returns the last losses.

        The critic learns from what the generator found last.
        """
        self._taught.train()
        for _ in range(self.configuration.generator_steps):
            windows = self._drawn()
            found, losses = self._teach_generator(windows)
            self._mean.update_parameters(self._taught)
        if self.configuration.gan_weight:
            losses["critic"] = self._teach_critic(found, windows.masks)
        return losses

    def _drawn(self) -> Windows:
        c = self.configuration
        side, count = c.part_px, c.windows_per_step
        if torch.rand(()) < c.whole_share:
            side, count = c.image_px, max(1, count * c.part_px**2 // c.image_px**2)
        return draw(self._clips[Part.TRAINING], count, c.frames, side, self.device)

    def _predicted(self, windows: Windows) -> Prediction:
        # bright surroundings have too few digits in half precision
        seen = triples(self._taught.contrast(windows.frames))
        with self._precision.autocast():
            coarse, refined, _ = self._taught.find(seen)
        return Prediction(coarse.float(), refined.float(), NOTHING)

    def _parts(self, masks: Tensor) -> Tensor:
        return parts(masks, self.configuration.part_px)

    def _teach_generator(self, windows: Windows) -> tuple[Tensor, dict[str, float]]:
        """Take one step on equation (9); the critic stays as it is. Returns the masks that were found."""
        c = self.configuration
        prediction = self._predicted(windows)
        found = torch.sigmoid(prediction.refined)
        losses = {
            "l1": c.l1_weight * l1_loss(found, windows.masks),
            "ssim": c.ssim_weight * ssim_loss(found, windows.masks),
            "iou": c.iou_weight * iou_loss(found, windows.masks),
            "entropy": c.entropy_weight * entropy_loss(prediction.coarse, prediction.refined, windows.masks),
        }
        if c.gan_weight:
            self._critic.requires_grad_(False)
            losses["gan"] = c.gan_weight * deception_loss(self._critic, self._parts(found))
            self._critic.requires_grad_(True)
        self._precision.step(torch.stack(list(losses.values())).sum(), self._optimiser, _GREATEST_GRADIENT)
        return found.detach(), {name: loss.item() for name, loss in losses.items()}

    def _teach_critic(self, found: Tensor, truth: Tensor) -> float:
        """Take one step on equation (4); the generator stays as it is."""
        found, truth = self._parts(found), self._parts(truth)
        shares = torch.rand(len(found), device=self.device)
        loss = critic_loss(self._critic, found, truth, shares, self.configuration.gradient_penalty)
        self._precision_of_critic.step(loss, self._of_critic, _GREATEST_GRADIENT)
        return loss.item()

    def end_epoch(self) -> None:
        """Lower the learning rates."""
        used = self._schedules if self.configuration.gan_weight else self._schedules[:1]
        for schedule in used:
            schedule.step()

    def validate(self) -> Mapping[str, float]:
        """Return how the masks of the validation set agree with the true ones, each sequence seen at once."""
        return self._measured(Part.VALIDATION, self._outputs)

    def scores(self) -> Mapping[str, float]:
        """Return the same of the test set, and of each frame while it was the newest of a stream."""
        seen_at_once = self._measured(Part.TEST, self._outputs)
        streamed = self._measured(Part.TEST, self._streamed)
        return {**seen_at_once, **{f"newest_{name}": figure for name, figure in streamed.items()}}

    def _measured(self, part: Part, found_in: Callable[[Tensor], Tensor]) -> Mapping[str, float]:
        every: list[Agreement] = []
        empty: list[float] = []
        for clip in self._clips[part]:
            frames, masks = clip.window(0, len(clip.frames))
            found = found_in(frames)
            shown = masks.flatten(1).any(1)
            empty += (found[~shown] > FOUND).flatten(1).any(1).float().tolist()
            every.append(agreement(found[shown], masks[shown], clip.spacing_mm))
        of = figures(every)
        return {
            "one_less_iou": 1 - of.iou,
            "dice": of.dice,
            "vertical_mm": of.vertical_mm,
            "horizontal_mm": of.horizontal_mm,
            "nothing_found": of.missed,
            "seen_without_tumour": float(np.mean(empty)) if empty else 0.0,
        }

    @torch.no_grad()
    def _streamed(self, frames: Tensor) -> Tensor:
        """Return (N, S, S) outputs for (N, S, S) frames that come one by one."""
        self.network.eval()
        seen = nothing_yet(frames[:1].to(self.device))
        outputs = []
        for frame in frames[:, None].to(self.device):
            output, seen = advanced(self.network, seen, frame)
            outputs.append(output[0].cpu())
        return torch.stack(outputs)

    @torch.no_grad()
    def _outputs(self, frames: Tensor) -> Tensor:
        """Return (N, S, S) outputs for (N, S, S) frames."""
        self.network.eval()
        output = self.network(triples(frames[None].to(self.device))).refined
        return torch.sigmoid(output)[0, :, 0].cpu()

    def picture(self) -> NDArray[np.uint8]:
        """Return frames with the true outline (green) and the found one (red)."""
        clips = [one for one in self._clips[Part.VALIDATION] if one.masks.any()]
        shown = []
        for number in torch.linspace(0, len(clips) - 1, _PICTURED).long().tolist():
            frames, masks = clips[number].window(0, self.configuration.frames)
            found = self._outputs(frames)
            shown.append(_pictured(frames[-1].numpy(), masks[-1].numpy(), found[-1].numpy()))
        return np.hstack(shown)

    def split(self) -> Mapping[str, str]:
        """Return what is in each part."""
        said = {part.value: f"{len(clips)} sequences" for part, clips in self._clips.items()}
        return {**said, "calibration": "none of these"}


def _mean_of(steps: int) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Return the running mean of weights over about so many steps, over fewer of them at first."""

    def mean(before: Tensor, now: Tensor, taken: Tensor | int) -> Tensor:
        share = max(1 / steps, 9 / (10 + float(taken)))
        return before.lerp(now, min(1.0, share))

    return mean


def _fix(network: Generator, levels: int) -> None:
    """Let so many levels of both U-Nets, from the bottom up, stay as they are."""
    for net in (network.first, network.second):
        if net is not None:
            for part in net.bottom(levels):
                part.requires_grad_(False)


def _pictured(
    frame: NDArray[np.float32], true: NDArray[np.float32], found: NDArray[np.float32]
) -> NDArray[np.uint8]:
    large = cv2.resize(np.clip(frame * 255, 0, 255).astype(np.uint8), None, fx=2, fy=2)
    picture = cv2.cvtColor(large, cv2.COLOR_GRAY2RGB)
    for mask, colour in ((true, (0, 200, 0)), (found, (220, 0, 0))):
        inside = cv2.resize((mask > 0.5).astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, colour, 1)
    return np.asarray(picture, np.uint8)

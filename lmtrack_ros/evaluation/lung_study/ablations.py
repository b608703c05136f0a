"""What each part of the model is worth, left out by itself, on a shorter schedule."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.evaluation.lung_study.networks import HEADING, SEED, load_generator, row, trained, write_page
from lmtrack_ros.evaluation.lung_study.scoring import score
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.evaluation.trained_run import trained_s
from lmtrack_ros.models.coarse_to_fine_unet.configuration import REALTIME, CoarseToFineUnetConfiguration
from lmtrack_ros.models.coarse_to_fine_unet.populations import group
from lmtrack_ros.models.parts import Part

SCHEDULE = replace(
    REALTIME,
    channels=8,
    frames=3,
    windows_per_step=7,
    epochs=2,
    learning_rate=1e-3,
    critic_learning_rate=5e-4,
    decay=0.25,
    mean_steps=500,
)
"""Half as wide as the preset and an eighth as long, with what makes the most of so few steps."""

_L1, _SSIM = SCHEDULE.l1_weight, SCHEDULE.ssim_weight

ARMS: Mapping[str, CoarseToFineUnetConfiguration] = MappingProxyType(
    {
        "unchanged": SCHEDULE,
        "one U-Net": replace(SCHEDULE, refinement=False),
        "without ConvLSTM": replace(SCHEDULE, recurrence=False),
        "without GAN": replace(SCHEDULE, gan_weight=0.0),
        "without SSIM": replace(SCHEDULE, ssim_weight=0.0),
        "without IoU": replace(SCHEDULE, iou_weight=0.0),
        "λ before SSIM": replace(SCHEDULE, l1_weight=_SSIM, ssim_weight=_L1),
        "without cross entropy": replace(SCHEDULE, entropy_weight=0.0),
    }
)
"""One thing is changed at a time; the last one is as the paper has it."""

_INTRODUCTION = """\
**Simulated fluoroscopy.** Each network is trained anew on the {patients} patients of the group protocol with
the same short schedule, {channels} channels in level 1, {epochs} epochs of {steps} rounds at a learning rate
of {rate:g} × {decay:g} per epoch, seed {seed}, and scored on the tumours of the test patients. Figures are of
the paper's window, the mean over the ten frames. They compare these networks with each other and not with
those of the full schedule; there is one seed of each, so that small differences say nothing."""


def conduct(order: Order) -> Path:
    """Train and score all arms; returns the page.

    Raises:
        UserError: weights or recordings were ordered, or a folder cannot be used.
    """
    if order.weights or order.recordings:
        raise UserError("the ablations train their own weights on phantoms: leave out both")
    tested = [case for case in group(Part.TEST) if case.is_cycle]
    rows = list(HEADING)
    for name, configuration in ARMS.items():
        folder = trained(order, name, configuration, "group")
        scores = score(load_generator(str(folder)), tested, partial(order.progress, name))
        rows.append(row(name, scores, trained_s(folder) / 60))
    introduction = _INTRODUCTION.format(
        patients=len({case.patient for case in group(Part.TRAINING)}),
        channels=SCHEDULE.channels,
        epochs=SCHEDULE.epochs,
        steps=SCHEDULE.steps_per_epoch,
        rate=SCHEDULE.learning_rate,
        decay=SCHEDULE.decay,
        seed=SEED,
    )
    return write_page(order, "ablations", "what each part is worth", introduction, rows)

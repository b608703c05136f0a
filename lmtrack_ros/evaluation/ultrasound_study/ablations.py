"""What attention, memory and refinement are each worth (table II), on one fold with a shorter schedule."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.evaluation.clust import LandmarkScore, figures, mean_interval_mm
from lmtrack_ros.evaluation.overlay import atomic_file
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.evaluation.trained_run import trained_s
from lmtrack_ros.evaluation.ultrasound_study.networks import SEED, scored, tracker, trained
from lmtrack_ros.models.attention_mask_rcnn.configuration import REALTIME, AttentionMaskRcnnConfiguration
from lmtrack_ros.models.attention_mask_rcnn.populations import rendered
from lmtrack_ros.models.parts import Part
from lmtrack_ros.phantoms import clust

SCHEDULE = replace(REALTIME, epochs=5, decay=0.6)
"""Shorter than the preset's; the learning rate falls about as far."""

ARMS: Mapping[str, AttentionMaskRcnnConfiguration] = MappingProxyType(
    {
        "unchanged": SCHEDULE,
        # as large as with attention: the whole region of 100 px instead of a box of 60 px in 64
        "without attention": replace(SCHEDULE, attention=False, view_px=107),
        "without LSTM": replace(SCHEDULE, recurrence=False),
        "without the frame of marking": replace(SCHEDULE, reference=False),
    }
)
"""One thing is changed at a time; the last one is not of the paper."""

_FOLD = 1

_INTRODUCTION = """\
**Simulated ultrasound**, the study population of `lmtrack phantom clust`. Each network is trained anew with
the same short schedule, {epochs} epochs of {steps} steps at a learning rate of {rate:g} × {decay:g} per
epoch, seed {seed}, on the sequences outside fold {fold}, calibrated, and scored on the {count} landmarks of
that fold: by itself, and with the refinement that all trackers of models share. The figures compare these
networks with each other and not with those of the full schedule; there is one seed of each and one fold, so
that small differences say nothing. *Mean of means* is that of the landmarks' own mean errors, *TRACKED* the
mean of the shares of their frames. The paper, on clinical images, its table II: 1.27 ± 1.13 mm without
attention, 0.94 ± 0.77 mm without LSTM, 0.65 ± 0.56 mm with both."""


def conduct(order: Order) -> Path:
    """Train and score all arms; returns the page.

    Raises:
        UserError: weights or recordings were ordered, or a folder cannot be used.
    """
    if order.weights or order.recordings:
        raise UserError("the ablations train their own weights on phantoms: leave out both")
    fold = rendered(Part.TRAINING, clust.FOLDS[_FOLD - 1], order.progress)
    rows: list[str] = []
    landmarks = 0
    for name, configuration in ARMS.items():
        weights = trained(order, name, configuration, f"clust-without-{_FOLD}")
        minutes = trained_s(weights) / 60
        for refined in (False, True):
            label = f"{name}, refined" if refined else name
            scores = scored(order, label, fold, partial(tracker, str(weights), refined=refined), str(weights))
            landmarks = len(scores)
            rows.append(_row(name, refined, scores, minutes))
    path = order.out / "ablations.md"
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(_lines(order, landmarks, rows)), encoding="utf-8")
    return path


def _lines(order: Order, landmarks: int, rows: list[str]) -> list[str]:
    s = SCHEDULE
    return [
        "# Ablations of the attention Mask R-CNN with LSTM (as table II)",
        "",
        f"Made by `{order.command}`; do not edit.",
        "",
        _INTRODUCTION.format(
            epochs=s.epochs,
            steps=s.steps_per_epoch,
            rate=s.learning_rate,
            decay=s.decay,
            seed=SEED,
            fold=_FOLD,
            count=landmarks,
        ),
        "",
        "| network | refined | mean ± SD mm | 95 % interval of the mean | mean of means mm | 95 % mm "
        "| mean of maxima mm | TRACKED | training min |",
        f"|---|---|{'--:|' * 7}",
        *rows,
        "",
    ]


def _row(name: str, refined: bool, scores: list[LandmarkScore], minutes: float) -> str:
    of = figures(scores)
    low, high = mean_interval_mm(scores)
    return (
        f"| {name} | {'yes' if refined else 'no'} | {of['mean_mm']:.2f} ± {of['sd_mm']:.2f} | "
        f"{low:.2f}–{high:.2f} | {np.mean([one.error_mm.mean() for one in scores]):.2f} | "
        f"{of['p95_mm']:.2f} | {of['mean_of_maxima_mm']:.2f} | {of['tracked']:.1%} | {minutes:.0f} |"
    )

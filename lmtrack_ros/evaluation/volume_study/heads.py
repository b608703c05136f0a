"""Fetal heads: the paper's tables 1 and 2, the standard planes, and what goes beyond the paper."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.evaluation.bootstrap import mean_interval
from lmtrack_ros.evaluation.overlay import atomic_file
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.evaluation.volume_study.networks import Outcome, cell, judged, outcome, trained
from lmtrack_ros.evaluation.volume_study.picture import draw_planes
from lmtrack_ros.models.loading import load_network
from lmtrack_ros.models.parts import Part
from lmtrack_ros.models.patch_iterative import MODEL
from lmtrack_ros.models.patch_iterative.configuration import REALTIME, PatchIterativeConfiguration
from lmtrack_ros.models.patch_iterative.data import Annotated
from lmtrack_ros.models.patch_iterative.network import PatchIterative
from lmtrack_ros.models.patch_iterative.planes import STANDARD_PLANES, deviation, standard_plane
from lmtrack_ros.models.patch_iterative.populations import mirror, volumes

WEIGHTS = "fetal_head"
_DATA = "fetal_head"
_CAVUM = "cavum_septi_pellucidi"
STEPS = 2500
"""Of the networks that are compared; the same for all, and short: the paper takes 100 000."""
_PUBLISHED = replace(
    REALTIME,
    refined=False,
    rule="C",
    near_share=0.0,
    turned_deg=0.0,
    scaled=0.0,
    shifted_mm=0.0,
    contrast=0.0,
    noise=0.0,
)
"""Data and rule of the paper, at the size of the realtime preset."""

_INTRODUCTION = """\
**Simulated volumes**: {subjects} fetal heads of the screening examination, {training} to train on and {test}
to test with, one volume each of 324 × 207 × 279 voxels of 0.5 mm, in the standard lie but for up to 30° about
each axis. Which way round a fetus lies is taken as known: volumes are turned by half a turn where need be.
Predicting the mean shape of the training subjects is off by {mean:.2f} mm. Networks of the realtime preset
(patches of {patch} × {patch} px of {pixel:g} mm), each trained for {steps} steps on the same volumes: a short
schedule, the same for all. Errors: mean ± standard deviation over subjects and landmarks, mm."""

_TABLE_1 = """\
One landmark, the cavum septi pellucidi, from 19 starts. C: classification, R: regression. Time: of the search
alone, with PyTorch, threads: {threads}."""

_PAPER_1 = """\
The paper, of clinical volumes and after 100 000 steps: PIN1 7.53 ± 6.48, PIN2 6.45 ± 3.96, PIN3 6.34 ± 3.62,
PIN4 6.08 ± 3.90, PIN5 5.47 ± 4.23 mm."""

_PAPER_2 = """\
The paper, of clinical volumes: single 6.42 ± 4.49, multiple 5.59 ± 3.09 mm."""

_BEYOND = """\
All landmarks at once. *Near*: half of the training points lie about the truth. *Turned*: training volumes are
turned, scaled, shifted and mirrored. *Refined*: a second network goes on from where the first one ends; it
looks at each landmark by itself, in finer patches that are turned with the head. The last row is the shipped
network, with all of it and its full schedule. The interval is that of the error of refined landmarks, else of
rule C in the first row and B in the others."""

_PLANES = """\
Planes fitted to the landmarks that the shipped network finds: how far the middle of the true plane's
landmarks is from it, and the angle between both. Pictured are the test subjects with the least, the median
and the greatest error: above as annotated, below as found. Rings: landmarks as found, crosses: true ones."""


def conduct(order: Order) -> Path:
    """Compare losses, rules and what is beyond the paper on fetal heads; returns the page.

    Raises:
        UserError: there are no such weights, or they are of other landmarks.
    """
    weights = order.weights or WEIGHTS
    full = load_network(MODEL.name, weights, PatchIterative).network
    if full.configuration.landmarks != REALTIME.landmarks:
        raise UserError(f"the weights '{weights}' are not of fetal heads")

    def gathered(part: str, done: int, total: int) -> None:
        order.progress(f"{part} volumes", done, total)

    c = full.configuration
    training, test = (volumes(_DATA, part, c, gathered) for part in (Part.TRAINING, Part.TEST))
    mean_mm = torch.stack([one.landmarks_mm for one in training]).mean(0).double().numpy()
    by_mean = judged(mean_mm, test)
    single = _single_networks(order, training)
    tables = _first_table(order, training, test, single[_CAVUM])
    multiple = _trained(order, "all landmarks", _PUBLISHED, training)
    tables += _second_table(test, single, multiple, by_mean)
    tables += _beyond(order, training, test, multiple, full)
    tables += _planes(order, test, outcome(full, test))
    path = order.out / "heads.md"
    lines = [
        "# Patch-based iterative network: fetal heads",
        "",
        f"Made by `{order.command}`; do not edit.",
        "",
        _INTRODUCTION.format(
            subjects=len(training) + len(test),
            training=len(training),
            test=len(test),
            mean=by_mean.away_mm.mean(),
            patch=c.patch_px,
            pixel=c.pixel_mm,
            steps=STEPS,
        ),
        "",
        *tables,
    ]
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
    return path


def _trained(
    order: Order, name: str, c: PatchIterativeConfiguration, training: Sequence[Annotated]
) -> PatchIterative:
    return trained(order, name, c, training, mirror(_DATA, c), STEPS)


def _only(every: Sequence[Annotated], name: str) -> list[Annotated]:
    """Return volumes of which one landmark alone is known."""
    number = REALTIME.landmarks.index(name)
    return [one._replace(landmarks_mm=one.landmarks_mm[number : number + 1]) for one in every]


def _single_networks(order: Order, training: Sequence[Annotated]) -> dict[str, PatchIterative]:
    return {
        name: _trained(order, name, replace(_PUBLISHED, landmarks=(name,)), _only(training, name))
        for name in REALTIME.landmarks
    }


def _first_table(
    order: Order, training: Sequence[Annotated], test: Sequence[Annotated], joint: PatchIterative
) -> list[str]:
    c = joint.configuration
    of_cavum = _only(training, _CAVUM)
    by_loss = {
        name: _trained(order, f"{_CAVUM} {name}", replace(c, classification_weight=weight), of_cavum)
        for name, weight in (("C", 1.0), ("R", 0.0))
    } | {"C+R": joint}
    lines = [
        "## Losses and rules (table 1)",
        "",
        _TABLE_1.format(threads=torch.get_num_threads()),
        "",
        "| | training loss | rule | error, mm | time, s |",
        "|---|---|---|--:|--:|",
    ]
    test_of = _only(test, _CAVUM)
    rows = ("C", "A"), ("R", "B"), ("C+R", "A"), ("C+R", "B"), ("C+R", "C")
    for number, (loss, rule) in enumerate(rows, 1):
        begun_s = time.perf_counter()
        found = outcome(by_loss[loss], test_of, rule)
        spent_s = (time.perf_counter() - begun_s) / len(test)
        lines.append(f"| PIN{number} | {loss} | {rule} | {cell(found.away_mm)} | {spent_s:.3f} |")
        order.progress("table 1", number, len(rows))
    return [*lines, "", _PAPER_1, ""]


def _second_table(
    test: Sequence[Annotated], single: dict[str, PatchIterative], multiple: PatchIterative, by_mean: Outcome
) -> list[str]:
    alone = np.concatenate([outcome(one, _only(test, name)).away_mm for name, one in single.items()], axis=1)
    together = outcome(multiple, test).away_mm
    lines = [
        "## One landmark and all of them (table 2)",
        "",
        "| landmark | mean shape | single | multiple |",
        "|---|--:|--:|--:|",
    ]
    for number, name in enumerate(single):
        columns = (away[:, number] for away in (by_mean.away_mm, alone, together))
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(map(cell, columns))} |")
    lines.append(f"| **all** | {' | '.join(map(cell, (by_mean.away_mm, alone, together)))} |")
    return [*lines, "", _PAPER_2, ""]


def _beyond(
    order: Order,
    training: Sequence[Annotated],
    test: Sequence[Annotated],
    multiple: PatchIterative,
    full: PatchIterative,
) -> list[str]:
    near = replace(_PUBLISHED, near_share=REALTIME.near_share, rule=REALTIME.rule)
    turned = replace(REALTIME, refined=False)
    refined_too = replace(near, refined=True)
    networks = {
        "data and rule of the paper": multiple,
        "near": _trained(order, "near", near, training),
        "near, refined": _trained(order, "near and refined", refined_too, training),
        "near, turned": _trained(order, "near and turned", turned, training),
        "near, turned, refined": _trained(order, "near, turned and refined", REALTIME, training),
        "shipped": full,
    }
    lines = [
        "## What makes the difference",
        "",
        _BEYOND,
        "",
        "| network | rule A | rule B | rule C | refined | 95 % interval |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    rows_before = len(lines)
    for name, network in networks.items():
        by_rule = {rule: outcome(network, test, rule, stage=0) for rule in ("A", "B", "C")}
        refined = outcome(network, test) if network.fine is not None else None
        low, high = mean_interval(list((refined or by_rule[network.configuration.rule]).away_mm))
        cells = [
            *(cell(one.away_mm) for one in by_rule.values()),
            cell(refined.away_mm) if refined else "–",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} | {low:.2f} to {high:.2f} |")
        order.progress("beyond the paper", len(lines) - rows_before, len(networks))
    return [*lines, ""]


def _planes(order: Order, test: Sequence[Annotated], found: Outcome) -> list[str]:
    names = REALTIME.landmarks
    true_mm, found_mm = (
        [dict(zip(names, positions, strict=True)) for positions in every]
        for every in (np.stack([one.landmarks_mm.double().numpy() for one in test]), found.positions_mm)
    )
    lines = [
        "## Standard planes",
        "",
        _PLANES,
        "",
        "| plane | distance, mm | angle, ° |",
        "|---|--:|--:|",
    ]
    for plane in STANDARD_PLANES:
        off = np.array(
            [
                deviation(standard_plane(plane, at), standard_plane(plane, true))
                for at, true in zip(found_mm, true_mm, strict=True)
            ]
        )
        lines.append(f"| {plane} | {cell(off[:, 0])} | {cell(off[:, 1])} |")
    ranked = np.argsort(found.away_mm.mean(axis=1))
    chosen = [int(ranked[0]), int(ranked[len(ranked) // 2]), int(ranked[-1])]
    shown = [(test[i].fine, true_mm[i], found_mm[i]) for i in chosen]
    draw_planes(order.out / "planes.png", shown)
    return [*lines, "", "![Standard planes](planes.png)", ""]

"""Networks that the studies of lung tumours train or load, and the table that sets them beside each other."""

from collections.abc import Sequence
from pathlib import Path

from lmtrack_ros.evaluation.bootstrap import mean_interval
from lmtrack_ros.evaluation.lung_study.scoring import Score
from lmtrack_ros.evaluation.overlay import atomic_file
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.evaluation.trained_run import trained_run
from lmtrack_ros.models.coarse_to_fine_unet import MODEL
from lmtrack_ros.models.coarse_to_fine_unet.agreement import figures
from lmtrack_ros.models.coarse_to_fine_unet.configuration import CoarseToFineUnetConfiguration
from lmtrack_ros.models.coarse_to_fine_unet.generator import Generator
from lmtrack_ros.models.description import Description, plain_values
from lmtrack_ros.models.loading import load_network

WEIGHTS = "lung"
SEED = 0

HEADING = (
    "| network | cases | IoU (95 % interval) | Dice | vertical mm | horizontal mm | missed | training min |",
    f"|---|{'--:|' * 7}",
)


def load_generator(weights: str) -> Generator:
    """Return a generator with its weights.

    Raises:
        UserError: there are none, or they cannot be read.
    """
    return load_network(MODEL.name, weights, Generator).network


def trained(
    order: Order, label: str, configuration: CoarseToFineUnetConfiguration, data: str, start: str = ""
) -> Path:
    """Return the folder of a run, trained now if it is not there yet.

    Args:
        order: of the study.
        label: of the run, its folder's name.
        configuration: of the network.
        data: set to train on.
        start: weights to begin from; empty: none.

    Raises:
        UserError: something else was trained in that folder, or it cannot be used.
    """
    preset = next((name for name, one in MODEL.presets.items() if one == configuration), "realtime")
    planned = Description(MODEL.name, preset, (data,), SEED, plain_values(configuration), start)
    return trained_run(order.work / label, planned, order.progress).path


def row(label: str, scores: Sequence[Score], minutes: float | None) -> str:
    """Return a row under :data:`HEADING`, of the window's figures."""
    of = [one.window for one in scores]
    low, high = mean_interval([one.iou for one in of])
    all_of = figures(of)
    return (
        f"| {label} | {len(of)} | {all_of.iou:.3f} ({low:.3f}–{high:.3f}) | {all_of.dice:.3f} | "
        f"{all_of.vertical_mm:.2f} | {all_of.horizontal_mm:.2f} | {all_of.missed:.1%} | "
        f"{'–' if minutes is None else f'{minutes:.1f}'} |"
    )


def write_page(order: Order, name: str, title: str, introduction: str, rows: Sequence[str]) -> Path:
    """Write a page of a table; returns its path."""
    path = order.out / f"{name}.md"
    lines = [
        f"# Coarse-to-fine U-Net: {title}",
        "",
        f"Made by `{order.command}`; do not edit.",
        "",
        introduction,
        "",
        *rows,
        "",
    ]
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
    return path

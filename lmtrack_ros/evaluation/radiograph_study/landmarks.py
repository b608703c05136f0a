"""Landmarks in radiographs of other patients (Results, tables 2 and 3 and fig. 4), beside other methods."""

from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np

from lmtrack_ros.evaluation.bootstrap import mean_interval
from lmtrack_ros.evaluation.overlay import atomic_file
from lmtrack_ros.evaluation.radiograph_study import baselines
from lmtrack_ros.evaluation.radiograph_study.picture import draw_deviations, draw_found
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.inference.parameters import InferenceParameters
from lmtrack_ros.models.landmark_net import KINDS, LEAST_HEIGHT, MODEL
from lmtrack_ros.models.landmark_net.correctness import CORRECT_PX, THRESHOLDS_PX, Matches, correctness
from lmtrack_ros.models.landmark_net.finder import Finder
from lmtrack_ros.models.landmark_net.network import LandmarkNet
from lmtrack_ros.models.landmark_net.populations import Radiographs, radiographs
from lmtrack_ros.models.landmark_net.training import found_in
from lmtrack_ros.models.loading import load_network
from lmtrack_ros.models.parts import Part
from lmtrack_ros.phantoms.portal_cases import VIEWS
from lmtrack_ros.sources import open_source

WEIGHTS = "chest"
_BEAMS = ("MV", "kV")
_AT = THRESHOLDS_PX.index(CORRECT_PX)

_INTRODUCTION = """\
**Simulated radiographs**: {images} images of {subjects} anatomies that the network has never seen, each
in {poses} poses; portal images (MV) and planned radiographs (kV) from the front and from the left. A
landmark is found if it is within so many pixels of an image of 384 × 384; a pixel is {pixel_mm:.1f} mm at
the isocentre. *Patients* are images in which at least one landmark of the kind is found within 8 px;
*false* are found ones that are none, per image. Weights: `{weights}`."""

_PAPER = """\
The paper prints, of clinical images and of other patients: spinous processes in MV 81.24 % (patients
92.86 %, mean 2.38 px), in kV 85.61 % (91.95 %, 3.42 px), tracheal bifurcation in MV 98.95 % (0.98 px),
sternal angle in kV 85.61 % (2.64 px)."""


_IN_REAL = """\
The first {frames} frames, without truth: judge by eye. Numbers are heights of peaks; a landmark of which the
network is certain has 1, one below 0.3 is none, one below 0.6 is never TRACKED."""

_PICTURED = 3
_EAGER = InferenceParameters(device="cpu", backend="eager")


def conduct(order: Order) -> Path:
    """Find the landmarks of the test patients; returns the page.

    Raises:
        UserError: there are no such weights, or a recording cannot be read.
    """
    weights = order.weights or WEIGHTS
    network = load_network(MODEL.name, weights, LandmarkNet).network
    c = network.configuration

    def gathered(part: str, done: int, total: int) -> None:
        order.progress(f"{part} images", done, total)

    of = radiographs(Part.TEST, c.image_px, gathered)
    found = found_in(network, c, of, range(len(of)))
    strata = {
        f"{kind.replace('_', ' ')}, {beam}": _of_beam(found[kind], of, beam)
        for kind in KINDS
        for beam in _BEAMS
    }
    draw_deviations(order.out / "landmarks.png", strata)
    others = baselines.compared(order, of, c, gathered)
    path = order.out / "landmarks.md"
    subjects = of.subjects
    limits = " | ".join(f"{limit:g} px" for limit in THRESHOLDS_PX)
    lines = [
        "# LandmarkNet: landmarks in radiographs",
        "",
        f"Made by `{order.command}`; do not edit.",
        "",
        _INTRODUCTION.format(
            images=len(of),
            subjects=subjects,
            poses=len(of) // subjects // len(VIEWS),
            pixel_mm=of.spacing_mm,
            weights=weights,
        ),
        "",
        "![Deviations](landmarks.png)",
        "",
        f"| landmark | number | {limits} | patients | mean px | false |",
        f"|---|{'--:|' * (len(THRESHOLDS_PX) + 4)}",
        *(_row(name, one, subjects) for name, one in strata.items()),
        "",
        _PAPER,
        "",
        "## Beside other methods",
        "",
        baselines.INTRODUCTION,
        "",
        "| method | within 8 px (95 % interval) | mean px | training min |",
        "|---|--:|--:|--:|",
        *others,
        "",
        *_real(order, weights),
    ]
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
    return path


def _real(order: Order, weights: str) -> list[str]:
    """Draw what is found in the first frames of recordings; returns the part of the page that shows it."""
    if not order.recordings:
        return []
    finder = Finder(weights, _EAGER)
    lines = ["## In real images", "", _IN_REAL.format(frames=_PICTURED), ""]
    for folder in order.recordings:
        with closing(open_source(folder)) as source:
            images = [frame.image for frame in islice(source, _PICTURED)]
        picture = f"{folder.resolve().name}.png"
        draw_found(order.out / picture, images, [finder.find(image, LEAST_HEIGHT) for image in images])
        lines += [f"![{folder.resolve().name}]({picture})", ""]
    return lines


def _of_beam(found: Sequence[Matches], of: Radiographs, beam: str) -> list[Matches]:
    wanted = [number for number, view in enumerate(VIEWS) if view.is_reference == (beam == "kV")]
    return [one for one, view in zip(found, of.views.tolist(), strict=True) if view in wanted]


def _row(name: str, of: Sequence[Matches], subjects: int) -> str:
    figures = correctness(of)
    if not figures.landmarks:
        return f"| {name} | 0 |{' – |' * (len(THRESHOLDS_PX) + 3)}"
    low, high = _interval(of, subjects)
    shares = [f"{share:.2%}" for share in figures.of_landmarks]
    shares[_AT] += f" ({low:.1%}–{high:.1%})"
    cells = [
        f"{figures.landmarks}",
        *shares,
        f"{figures.of_patients[_AT]:.2%}",
        f"{figures.mean_px:.2f}",
        f"{figures.false:.3f}",
    ]
    return f"| {name} | {' | '.join(cells)} |"


def _interval(of: Sequence[Matches], subjects: int) -> tuple[float, float]:
    """Return the 95 % interval of the share within 8 px, of images that come anatomy by anatomy."""
    parts = np.array_split(np.arange(len(of)), subjects)
    shares = [np.concatenate([of[i].away_px < CORRECT_PX for i in part]).astype(float) for part in parts]
    return mean_interval([share for share in shares if len(share)])

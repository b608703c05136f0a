"""Simulated prostates, followed: how far off, how often certain, and what is no prostate."""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lmtrack_ros.core.records import NS_PER_S, Frame, Landmark, LandmarkSet, Status
from lmtrack_ros.evaluation.bootstrap import mean_interval
from lmtrack_ros.evaluation.overlay import atomic_file
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.evaluation.volume_study.networks import cell
from lmtrack_ros.models.loading import load_network
from lmtrack_ros.models.patch_iterative import MODEL
from lmtrack_ros.models.patch_iterative.network import PatchIterative
from lmtrack_ros.models.patch_iterative.parameters import PatchIterativeParameters
from lmtrack_ros.models.patch_iterative.tracker import PatchIterativeTracker
from lmtrack_ros.phantoms import PhantomParameters, open_phantom
from lmtrack_ros.phantoms.prostate import LANDMARKS

_WEIGHTS = "prostate"
_SEEDS = range(35000, 35020)
"""Of patients on whom nothing was trained or calibrated."""
_VOLUMES = 16
_RATE_HZ = 0.5
"""Slower than the probe, so that there is some motion between the volumes."""
_CENTER = LANDMARKS.index("center")

_PAGE = """\
# Patch-based iterative network: prostates followed

Made by `{command}`; do not edit.

**Simulated volumes**: {subjects} prostates of patients on whom nothing was trained or calibrated, {volumes}
volumes of each, {rate:g} a second. Errors: mean ± standard deviation, mm; beside them those of the mean shape
of the training patients. *Radius*: the median of the reported 95 % radii. *Within*: share of the TRACKED that
are no further off than their radius, with its 95 % interval by patient.

| landmark | mean shape | error | radius, mm | TRACKED | within |
|---|--:|--:|--:|--:|--:|
{rows}

## What is no prostate

Volumes in which there is none, or none the right way up, made of each patient's first one: in how many of
them the center is TRACKED, when the search begins there, and when it goes on from the prostate.

| what | volumes | TRACKED at first | TRACKED after a prostate |
|---|--:|--:|--:|
{others}
"""


def conduct(order: Order) -> Path:
    """Follow prostates, and look where there are none; returns the page.

    Raises:
        UserError: there are no such weights.
    """
    weights = order.weights or _WEIGHTS
    mean_mm = load_network(MODEL.name, weights, PatchIterative).network.shape_model.mean_mm
    tracker = PatchIterativeTracker(PatchIterativeParameters(weights=weights))
    scores = []
    counts = {what: np.zeros(2, int) for what in NO_PROSTATE}
    for number, seed in enumerate(_SEEDS, 1):
        phantom = open_phantom("prostate", PhantomParameters(seed=seed, rate_hz=_RATE_HZ))
        frames = list(islice(phantom, _VOLUMES))
        truth = [phantom.truth(f.stamp_ns, (f.stamp_ns - frames[0].stamp_ns) / NS_PER_S) for f in frames]
        _forget(tracker, frames[0])
        found = [tracker.update(frame) for frame in frames]
        scores.append(_scores(frames[0], mean_mm.double().numpy().reshape(-1, 3), truth, found))
        for what, make in NO_PROSTATE.items():
            other = make(frames[0], seed)
            _forget(tracker, other)
            at_first = _is_tracked(tracker.update(other))
            tracker.update(frames[0])
            counts[what] += (at_first, _is_tracked(tracker.update(other)))
        order.progress("patients", number, len(_SEEDS))
    every = np.stack(scores)
    rows = [_row(name, every[:, :, i : i + 1]) for i, name in enumerate(LANDMARKS)]
    rows.append(_row("**all**", every))
    others = [
        f"| {what} | {len(_SEEDS)} | {at_first} | {after} |" for what, (at_first, after) in counts.items()
    ]
    path = order.out / "followed.md"
    with atomic_file(path) as temporary:
        text = _PAGE.format(
            command=order.command,
            subjects=len(_SEEDS),
            volumes=_VOLUMES,
            rate=_RATE_HZ,
            rows="\n".join(rows),
            others="\n".join(others),
        )
        temporary.write_text(text, encoding="utf-8")
    return path


def _forget(tracker: PatchIterativeTracker, frame: Frame) -> None:
    tracker.initialize(frame, [Landmark(name, (np.nan,) * 3, (True,) * 3) for name in LANDMARKS])


def _scores(
    frame: Frame, mean_mm: NDArray[np.float64], truth: Sequence[LandmarkSet], found: Sequence[LandmarkSet]
) -> NDArray[np.float64]:
    """Return (V, L, 4): error of the mean shape, of what is found, radius, all mm, and whether TRACKED."""
    assert frame.geometry is not None
    spacing_mm = np.array(frame.geometry.spacing_mm)
    mean_px = mean_mm / spacing_mm + (np.array(frame.image.shape[::-1]) - 1) / 2
    true_px, found_px = (
        np.array([[estimate.uv_px for estimate in one.estimates] for one in sets], float)
        for sets in (truth, found)
    )
    off_mm = (np.linalg.norm((at - true_px) * spacing_mm, axis=-1) for at in (mean_px, found_px))
    said = np.array([[(e.radius_mm, e.status is Status.TRACKED) for e in one.estimates] for one in found])
    return np.concatenate([np.stack(list(off_mm), axis=-1), said], axis=-1)


def _is_tracked(found: LandmarkSet) -> bool:
    return found.estimates[_CENTER].status is Status.TRACKED


def _row(name: str, scores: NDArray[np.float64]) -> str:
    """Return a row of the table from (P, V, L, 4) scores of P patients."""
    by_mean, away, radius, tracked = np.moveaxis(scores, -1, 0)
    within = [(a <= r)[t > 0].astype(float) for a, r, t in zip(away, radius, tracked, strict=True) if t.any()]
    promise = "–"
    if within:
        low, high = mean_interval(within)
        promise = f"{np.concatenate(within).mean():.1%} ({low:.1%} to {high:.1%})"
    cells = name, cell(by_mean), cell(away), f"{np.median(radius):.2f}", f"{tracked.mean():.1%}", promise
    return f"| {' | '.join(cells)} |"


def _shown(frame: Frame, volume: NDArray[np.uint8]) -> Frame:
    return Frame(frame.stamp_ns, volume, frame.geometry, frame.stamp_ns)


def _noise(frame: Frame, seed: int) -> Frame:
    rng = np.random.default_rng(seed)
    return _shown(frame, rng.integers(0, 256, frame.image.shape, dtype=np.uint8))


def _speckle(frame: Frame, seed: int) -> Frame:
    """Return the field of view with nothing but speckle in it."""
    rng = np.random.default_rng(seed)
    grey = 110 + 60 * gaussian_filter(rng.standard_normal(frame.image.shape), 0.8) / 0.25
    return _shown(frame, np.where(frame.image > 0, np.clip(grey, 1, 255), 0).astype(np.uint8))


def _fetal_head(frame: Frame, seed: int) -> Frame:
    return next(iter(open_phantom("volume_ultrasound", PhantomParameters("fetal_head_small", seed=seed))))


NO_PROSTATE: Mapping[str, Callable[[Frame, int], Frame]] = MappingProxyType(
    {
        "noise": _noise,
        "black": lambda frame, seed: _shown(frame, np.zeros_like(frame.image)),
        "speckle": _speckle,
        "another organ: a fetal head": _fetal_head,
        "upside down": lambda frame, seed: _shown(frame, np.ascontiguousarray(frame.image[::-1])),
    }
)
"""Makes of a volume, and a seed, one in which there is no prostate, or none the right way up."""

"""The study itself: what every method finds on the same patients with the same examples, and how fast."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lmtrack_ros.evaluation.detection_study import page, patch_matching, supervised
from lmtrack_ros.evaluation.detection_study.plan import Plan
from lmtrack_ros.evaluation.detection_study.radiographs import (
    EXAMPLE_SEEDS,
    TARGET_SEEDS,
    Radiographs,
    labelled,
    unlabelled,
)
from lmtrack_ros.evaluation.detection_study.results import (
    MEAN,
    ON_PATCHES,
    ON_WHOLE,
    OURS,
    PATCHES_BEST,
    PATCHES_MEAN,
    PRETRAINED,
    SUPERVISED,
    Arm,
    Found,
    Results,
)
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.inference.parameters import InferenceParameters
from lmtrack_ros.models import find_model
from lmtrack_ros.models.description import find_weights
from lmtrack_ros.models.grey import scaled
from lmtrack_ros.models.template_matching.detection import Detector, Example
from lmtrack_ros.models.template_matching.matcher import weighted

WEIGHTS = "radiograph"

# all are timed alike; which backend runs the model faster is another question
_EAGER = InferenceParameters(device="cpu", backend="eager")


def conduct(order: Order) -> Path:
    """Conduct the study; see :data:`lmtrack_ros.evaluation.studies.Conduct`.

    Raises:
        UserError: there are no weights that detect, or a folder cannot be written.
    """
    results = measure(order, Plan())
    return page.write(order, results)


def measure(order: Order, plan: Plan) -> Results:
    """Train the baselines, go on with what was trained of them, and find the landmarks.

    Raises:
        UserError: there are no weights that detect.
    """
    weights = order.weights or WEIGHTS
    counts = sorted({*plan.counts, *plan.more_counts})

    def shown(what: str, total: int) -> Callable[[int], None]:
        return lambda done: order.progress(what, done, total)

    find_weights(find_model("template_matching"), weights)  # a mistake is told before anything is rendered
    examples = labelled(EXAMPLE_SEEDS, lambda done, total: order.progress("examples", done, total))
    detector = _detector(weights, examples)
    targets = labelled(TARGET_SEEDS, lambda done, total: order.progress("targets", done, total))
    draws = drawn(len(examples), plan)

    arms: dict[tuple[str, int], Arm] = {}
    shared_cpu_s: dict[str, float] = {}

    def add(method: str, count: int, found: Sequence[Found], cpu_s: float, image_ms: float) -> None:
        arms[method, count] = Arm(method, count, np.stack(found), cpu_s, image_ms)

    each = _over(targets, detector.find, shown("template matching", len(targets)))
    for count in counts:
        subsets = subsets_of(draws, count)
        found = [weighted(each[:, :, subset])[..., :2] for subset in subsets]
        few = _detector(weights, examples[subsets[0]])
        add(OURS, count, found, 0.0, _median_ms(few.detect, targets, plan))

    for count in plan.counts:
        means = [examples[subset].uv_px.mean(axis=0) for subset in subsets_of(draws, count)]
        add(MEAN, count, [np.broadcast_to(mean, targets.uv_px.shape) for mean in means], 0.0, 0.0)

    trained = Checkpoints(order.work, plan)
    images = unlabelled()
    encoder, shared_cpu_s[ON_PATCHES] = patch_matching.train_features(
        torch.from_numpy(np.stack([scaled(image) for image in images])),
        plan,
        trained.path("patches"),
        shown(ON_PATCHES, plan.patch_steps),
    )
    matching = patch_matching.PatchMatching(encoder, examples, plan.grid_px)
    each = _over(targets, matching.find, shown("patches compared", len(targets)))
    for count in plan.counts:
        subsets = subsets_of(draws, count)
        some = patch_matching.PatchMatching(encoder, examples[subsets[0]], plan.grid_px)
        image_ms = _median_ms(some.find, targets, plan)
        of_subsets = [each[:, :, subset] for subset in subsets]
        add(PATCHES_MEAN, count, [one[..., :2].mean(axis=2) for one in of_subsets], 0.0, image_ms)
        add(PATCHES_BEST, count, [_best(one) for one in of_subsets], 0.0, image_ms)

    start, shared_cpu_s[ON_WHOLE] = supervised.pretrain(
        supervised.coarser(images),
        plan,
        trained.path("whole"),
        shown(ON_WHOLE, plan.pretraining_steps),
    )
    for method, state in ((PRETRAINED, start), (SUPERVISED, None)):
        for count in plan.counts:
            found, seconds = [], []
            for number, subset in enumerate(subsets_of(draws, count)[: plan.trained_draws]):
                network, cpu_s = supervised.train(
                    examples[subset],
                    state,
                    plan,
                    number,
                    trained.path(f"{method}-{count}-{number}"),
                    shown(f"{method}, {count} examples, draw {number + 1}", plan.supervised_steps),
                )
                found.append(_over(targets, network.detect, lambda done: None))
                seconds.append(cpu_s)
            image_ms = _median_ms(network.detect, targets, plan)
            add(method, count, found, float(np.mean(seconds)), image_ms)
    return Results(arms, targets, shared_cpu_s, plan)


def drawn(count: int, plan: Plan) -> list[NDArray[np.int64]]:
    """Return orders of the examples by chance; the first n of each are a draw of n."""
    return [np.random.default_rng((plan.seed, draw)).permutation(count) for draw in range(plan.draws)]


def subsets_of(draws: Sequence[NDArray[np.int64]], count: int) -> list[NDArray[np.int64]]:
    """Return draws of so many examples; of all of them there is one only."""
    return [order[:count] for order in draws[: 1 if count == len(draws[0]) else None]]


class Checkpoints:
    """Files of trainings, named by the plan, so that another plan does not go on with them.

    Args:
        folder: that they are in.
        plan: of the study.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        said = json.dumps(asdict(plan), sort_keys=True)
        self._folder = folder / hashlib.sha256(said.encode()).hexdigest()[:12]
        self._folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """Return the file of a training."""
        return self._folder / f"{name.replace(', ', '-').replace(' ', '-')}.pt"


def _detector(weights: str, examples: Radiographs) -> Detector:
    named = [
        Example(image, dict(zip(examples.landmarks, uv_px, strict=True)))
        for image, uv_px in zip(examples.images, examples.uv_px, strict=True)
    ]
    return Detector(weights, named, _EAGER)


def _over(targets: Radiographs, find: Callable[..., Found], on_image: Callable[[int], None]) -> Found:
    found = []
    for image in targets.images:
        found.append(find(image))
        on_image(len(found))
    return np.stack(found)


def _best(found: Found) -> Found:
    """Return (T, L, 2) the places of greatest affinity of (T, L, N, 3)."""
    best = found[..., 2].argmax(axis=2)[..., None, None]
    return np.take_along_axis(found[..., :2], best, axis=2)[:, :, 0]


def _median_ms(detect: Callable[[NDArray[Any]], object], targets: Radiographs, plan: Plan) -> float:
    detect(targets.images[0])
    times_ms = []
    for image in targets.images[: plan.timed_images]:
        begun = time.perf_counter()
        detect(image)
        times_ms.append((time.perf_counter() - begun) * 1e3)
    return float(np.median(times_ms))

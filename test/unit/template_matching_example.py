"""A template matching network that is small and not trained, as a run's folder of weights."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lmtrack_ros.models.description import BEST, RUN_FILE, Description, plain_values
from lmtrack_ros.models.template_matching.configuration import TemplateMatchingConfiguration
from lmtrack_ros.models.template_matching.network import TemplateMatchingNetwork
from lmtrack_ros.models.template_matching.tracker import TemplateMatchingTracker
from lmtrack_ros.models.template_matching.training import build_network
from lmtrack_ros.models.weights import save_weights

TINY = TemplateMatchingConfiguration(
    epochs=1,
    image_px=64,
    patch_px=16,
    view_mm=100.0,
    hidden=16,
    images_per_step=2,
    patches_per_image=3,
    steps_per_epoch=2,
)
KINDS = [kind for kinds in TemplateMatchingTracker.calibrated_in_turn for kind in kinds]
CALIBRATED = {"factors": {kind: {1: 1.0, 2: 1.0} for kind in KINDS}, "sequences": 5}


def tiny_network(seed: int = 0, **changes: object) -> TemplateMatchingNetwork:
    """Return a network that finds everything near the middle of its view, as untrained ones do."""
    torch.manual_seed(seed)
    return build_network(replace(TINY, **changes)).eval()  # type: ignore[arg-type]


def write_run(
    folder: Path,
    configuration: TemplateMatchingConfiguration = TINY,
    network: TemplateMatchingNetwork | None = None,
    calibration: Mapping[str, Any] = CALIBRATED,
) -> str:
    """Write weights as a run leaves them; returns what a tracker's ``weights`` takes."""
    folder.mkdir(parents=True, exist_ok=True)
    if network is None:
        torch.manual_seed(0)
        network = build_network(configuration)
    values = plain_values(configuration)
    described = Description("template_matching", "realtime", ("mr",), 0, values, calibration=calibration)
    described.write(folder / RUN_FILE)
    save_weights(folder / BEST, network.state_dict(), described)
    return str(folder)

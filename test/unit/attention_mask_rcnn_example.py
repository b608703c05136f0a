"""An attention Mask R-CNN too small to be good, and weights of it that are not trained."""

from dataclasses import replace
from pathlib import Path

import torch

from lmtrack_ros.models.attention_mask_rcnn.configuration import REALTIME
from lmtrack_ros.models.attention_mask_rcnn.network import AttentionMaskRcnn
from lmtrack_ros.models.description import BEST, RUN_FILE, Description, plain_values
from lmtrack_ros.models.following import CALIBRATED_IN_TURN
from lmtrack_ros.models.weights import save_weights

TINY = replace(REALTIME, channels=8, hidden=16, clips_per_step=4, steps_per_epoch=2, frames=3)
_CALIBRATED = {
    "factors": {kind: {1: 1.0, 2: 1.0} for kinds in CALIBRATED_IN_TURN for kind in kinds},
    "sequences": 5,
}


def write_run(folder: Path) -> str:
    """Write a run whose calibration believes what the network says."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    described = Description(
        "attention_mask_rcnn", "realtime", ("clust",), 0, plain_values(TINY), calibration=_CALIBRATED
    )
    described.write(folder / RUN_FILE)
    save_weights(folder / BEST, AttentionMaskRcnn(TINY).state_dict(), described)
    return str(folder)

"""Attention Mask R-CNN with LSTM: Zhang et al. 2023, Meas. Sci. Technol. 34 054002."""

from lmtrack_ros.models.attention_mask_rcnn.configuration import PAPER, REALTIME
from lmtrack_ros.models.model import Model, PhantomSequences

_OTHERS = (
    PhantomSequences(
        "ultrasound",
        ("liver", "liver_deep", "liver_fine", "liver_fast", "liver_slow", "kidney"),
        range(4000, 4007),
        100,
    ),
)

MODEL = Model(
    name="attention_mask_rcnn",
    summary="attends to where a landmark moves, proposes and judges boxes there; Zhang et al. 2023",
    modalities=("ultrasound",),
    data={
        "clust": "liver and kidney ultrasound in the manner of the CLUST challenge: phantoms",
        **{f"clust-without-{fold}": "the same without one fold of five" for fold in range(1, 6)},
    },
    presets={"realtime": REALTIME, "paper": PAPER},
    calibration={"clust": _OTHERS, **{f"clust-without-{fold}": _OTHERS for fold in range(1, 6)}},
    trainee="lmtrack_ros.models.attention_mask_rcnn.training:AttentionMaskRcnnTrainee",
)

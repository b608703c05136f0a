"""Coarse-to-fine U-Net with bidirectional convolutional LSTM: tumours in fluoroscopy."""

from lmtrack_ros.models.coarse_to_fine_unet.configuration import PAPER, REALTIME
from lmtrack_ros.models.model import Model, PhantomSequences

MODEL = Model(
    name="coarse_to_fine_unet",
    summary="finds a lung tumour by its motion, without a mark; coarse and residual U-Net with ConvLSTM",
    modalities=("fluoroscopy",),
    data={"group": "chests with lung tumours in fluoroscopy: phantoms"},
    calibration={
        "group": (PhantomSequences("fluoroscopy", ("lung_small",), range(4000, 4024), 60, ("tumor",)),)
    },
    presets={"realtime": REALTIME, "paper": PAPER},
    trainee="lmtrack_ros.models.coarse_to_fine_unet.training:CoarseToFineUnetTrainee",
)

"""Coarse-to-fine U-Net with bidirectional convolutional LSTM: tumours in fluoroscopy."""

from lmtrack_ros.models.coarse_to_fine_unet.configuration import FINETUNE, PAPER, PATIENT, REALTIME
from lmtrack_ros.models.model import Mode, Model, PhantomSequences

FINETUNED_PATIENTS = 15
"""Section 4.2."""

DATA = {
    "group": "chests with lung tumours in fluoroscopy: 110 phantoms",
    "patient": "one such phantom who breathes 80 times more or less deeply",
    **{
        f"finetune-{number}": "ten shallow breaths of another phantom"
        for number in range(1, FINETUNED_PATIENTS + 1)
    },
}
_OTHERS = (PhantomSequences("fluoroscopy", ("lung_free",), range(4000, 4040), 60, ("tumor",)),)

MODEL = Model(
    name="coarse_to_fine_unet",
    summary="finds a lung tumour by its motion, without a mark; coarse and residual U-Net with ConvLSTM",
    modalities=("fluoroscopy",),
    data=DATA,
    presets={"realtime": REALTIME, "paper": PAPER, "patient": PATIENT, "finetune": FINETUNE},
    modes={
        "group": Mode("group", "realtime"),
        "finetune": Mode("finetune-1", "finetune", "lung"),
        "patient": Mode("patient", "patient"),
    },
    calibration=dict.fromkeys(DATA, _OTHERS),
    trainee="lmtrack_ros.models.coarse_to_fine_unet.training:CoarseToFineUnetTrainee",
)

"""A patch-based iterative network: landmarks in 3-D ultrasound by a few looks at three planes round each."""

from lmtrack_ros.models.model import Mode, Model, PhantomSequences
from lmtrack_ros.models.patch_iterative.configuration import PAPER, PROSTATE, REALTIME

MODEL = Model(
    name="patch_iterative",
    summary="finds landmarks in 3-D volumes, without a mark; patches that move until they stay",
    modalities=("ultrasound_volume",),
    data={
        "fetal_head": "50 fetal heads in the standard lie, voxels of 0.5 mm",
        "prostate": "160 prostates from the perineum, voxels of 1 mm",
    },
    presets={"realtime": REALTIME, "paper": PAPER, "prostate": PROSTATE},
    modes={"prostate": Mode("prostate", "prostate")},
    calibration={"prostate": (PhantomSequences("prostate", ("prostate",), range(33000, 33040), 16),)},
    trainee="lmtrack_ros.models.patch_iterative.training:PatchIterativeTrainee",
    own_images=False,
)

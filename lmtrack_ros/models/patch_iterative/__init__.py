"""A patch-based iterative network: landmarks in 3-D ultrasound by a few looks at three planes round each."""

from lmtrack_ros.models.model import Model
from lmtrack_ros.models.patch_iterative.configuration import PAPER, REALTIME

MODEL = Model(
    name="patch_iterative",
    summary="finds landmarks in 3-D volumes, without a mark; patches that move until they stay",
    modalities=("ultrasound_volume",),
    data={"fetal_head": "50 fetal heads in the standard lie, voxels of 0.5 mm"},
    presets={"realtime": REALTIME, "paper": PAPER},
    trainee="lmtrack_ros.models.patch_iterative.training:PatchIterativeTrainee",
)

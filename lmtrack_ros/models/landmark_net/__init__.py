"""LandmarkNet: spinous processes, tracheal bifurcation and sternal angle in portal images and radiographs."""

from lmtrack_ros.models.landmark_net.configuration import PAPER, REALTIME
from lmtrack_ros.models.model import Model, PhantomSequences

KINDS = ("spinous_process", "tracheal_bifurcation", "sternal_angle")
"""Of landmarks, in the order of the network's maps."""

LEAST_HEIGHT, APART_PX = 0.3, 12.0
"""Of a peak that is a landmark; how far two of a kind are apart, pixels of the network's square."""

MODEL = Model(
    name="landmark_net",
    summary="finds bones and airway of the chest in radiographs, without a mark; pyramid of features",
    modalities=("portal",),
    data={"chest": "200 chests in eight poses: portal images and planned radiographs, front and left"},
    presets={"realtime": REALTIME, "paper": PAPER},
    calibration={
        "chest": (PhantomSequences("portal", ("mv_0", "mv_90", "kv_0", "kv_90"), range(23000, 23020), 4),)
    },
    trainee="lmtrack_ros.models.landmark_net.training:LandmarkNetTrainee",
    own_images=False,
)

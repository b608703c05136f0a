"""Template matching network: Frueh et al. 2022, IEEE Access, 10.1109/ACCESS.2022.3195211."""

from lmtrack_ros.models.model import Model, PhantomSequences
from lmtrack_ros.models.template_matching.configuration import ADAPTATION, DETECTION, PAPER, REALTIME

MODEL = Model(
    name="template_matching",
    summary="finds what an example patch shows, in later frames or in other subjects; Frueh et al. 2022",
    modalities=("mr", "fluoroscopy", "portal"),
    data={
        "mr": "cine-MR of liver and thorax: phantoms of five kinds of scan",
        "radiograph": "chest radiographs: phantoms",
    },
    presets={"realtime": REALTIME, "adaptation": ADAPTATION, "detection": DETECTION, "paper": PAPER},
    calibration={
        # one in 25 is too noisy to be tracked, and the uncertainty must tell
        "mr": (
            PhantomSequences("mr", ("liver", "thorax", "coronal", "linac"), range(4000, 4024), 40),
            PhantomSequences("mr", ("noisy",), range(4000, 4004), 40),
        ),
        "radiograph": (PhantomSequences("fluoroscopy", ("radiograph", "lung"), range(4000, 4008), 60),),
    },
    trainee="lmtrack_ros.models.template_matching.training:TemplateMatching",
)

"""What is to be chosen of a patch-based iterative network, and the sizes that are offered."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.models.model import Configuration
from lmtrack_ros.phantoms.prostate import LANDMARKS as OF_THE_PROSTATE
from lmtrack_ros.phantoms.volume_ultrasound.head import LANDMARKS as OF_THE_HEAD

CONVOLUTIONS = 5


@dataclass(frozen=True)
class PatchIterativeConfiguration(Configuration):
    """Of network, losses and optimisation; the defaults are the realtime preset."""

    landmarks: tuple[str, ...] = parameter(OF_THE_HEAD, "names, in the order of the network's channels")
    components: int = parameter(
        15, "of the shape model; of one landmark, its three coordinates are taken as they are", minimum=3
    )
    patch_px: int = parameter(33, "side of a patch, px", minimum=32, maximum=201)
    pixel_mm: float = parameter(1.5, "of a patch, mm", minimum=0.1, maximum=5.0)
    refined: bool = parameter(
        True, "whether a second network, whose patches are turned with the anatomy, goes on from there"
    )
    fine_pixel_mm: float = parameter(1.0, "of the second network's patches, mm", minimum=0.1, maximum=5.0)
    fine_unit_mm: float = parameter(1.0, "as unit_mm, for the second network", minimum=0.1, maximum=50.0)
    refined_mm: float = parameter(
        4.0, "how far off landmarks may be that are refined, greatest standard deviation, mm", minimum=0.1
    )
    widths: tuple[int, ...] = parameter((32, 48, 64, 96, 128), "channels of the convolutions", minimum=4)
    padding_px: int = parameter(1, "round what is convolved, px", minimum=0, maximum=1)
    hidden: int = parameter(256, "width of the fully connected layers", minimum=8)
    dropout: float = parameter(0.2, "share that is left out after a fully connected layer", minimum=0.0)
    rule: str = parameter(
        "B", "of the update: A a step in a direction, B as far as told, C weighted", choices=("A", "B", "C")
    )
    classification_weight: float = parameter(
        0.5, "α of eq. 2: of the classification's loss; the regression has the rest", minimum=0.0, maximum=1.0
    )
    unit_mm: float = parameter(
        5.0, "displacement that the regression's loss counts as one, mm", minimum=0.1, maximum=50.0
    )
    near_share: float = parameter(
        0.5,
        "of the points to train at that lie about the truth, the others anywhere",
        minimum=0.0,
        maximum=1.0,
    )
    turned_deg: float = parameter(
        12.0, "how far training volumes are turned, standard deviation about each axis", minimum=0.0
    )
    scaled: float = parameter(0.06, "how much they are scaled, standard deviation", minimum=0.0)
    shifted_mm: float = parameter(
        4.0, "how far they are shifted, standard deviation along each axis", minimum=0.0
    )
    contrast: float = parameter(
        0.15, "how much gain and contrast are changed, standard deviation of the logarithm", minimum=0.0
    )
    noise: float = parameter(0.03, "that is added, up to, of the grey values", minimum=0.0)
    points_per_step: int = parameter(64, "in a batch", minimum=1)
    volumes_per_step: int = parameter(8, "that they lie in", minimum=1)
    steps_per_epoch: int = parameter(250, "batches", minimum=1)
    learning_rate: float = parameter(1e-3, "of Adam, at first", minimum=0.0)
    decay: float = parameter(0.9, "factor of the learning rate after each epoch", minimum=0.0, maximum=1.0)

    def __post_init__(self) -> None:
        if len(self.widths) != CONVOLUTIONS:
            raise ValueError(f"widths must name {CONVOLUTIONS} convolutions")
        if not self.landmarks or len(set(self.landmarks)) != len(self.landmarks):
            raise ValueError("landmarks must have distinct names")
        if self.features_px < 1:
            raise ValueError("the patches are too small for the convolutions: give padding_px")
        if self.points_per_step % self.volumes_per_step:
            raise ValueError("points_per_step must be a multiple of volumes_per_step")

    @property
    def features_px(self) -> int:
        """Return the side of what is left of a patch after all convolutions."""
        side = self.patch_px
        for _ in self.widths:
            side = (side + 2 * self.padding_px - 2) // 2
        return side

    @property
    def outputs(self) -> int:
        """Return n_o: how many numbers the position of the landmarks has."""
        return 3 if len(self.landmarks) == 1 else min(self.components, 3 * len(self.landmarks))


def mirrored(landmarks: Sequence[str]) -> list[str]:
    """Return what landmarks are called in the mirror: left becomes right."""
    other = {"left": "right", "right": "left"}
    return ["_".join(other.get(part, part) for part in name.split("_")) for name in landmarks]


REALTIME = PatchIterativeConfiguration(epochs=40)

PROSTATE = replace(
    REALTIME,
    epochs=8,
    steps_per_epoch=500,
    decay=0.65,
    landmarks=OF_THE_PROSTATE,
    components=12,
    pixel_mm=2.2,
    fine_pixel_mm=1.2,
    turned_deg=8.0,
)
"""The realtime preset for a gland, its middle and outermost points; patches as wide as the widest gland."""

PAPER = PatchIterativeConfiguration(
    epochs=100, patch_px=101, pixel_mm=0.5, refined=False, widths=(32, 64, 128, 256, 512), padding_px=0,
    hidden=1024, dropout=0.5, rule="C", unit_mm=0.5, near_share=0.0, turned_deg=0.0, scaled=0.0,
    shifted_mm=0.0, contrast=0.0, noise=0.0, volumes_per_step=64, steps_per_epoch=1000, decay=1.0,
)  # fmt: skip
"""Widths, dropout and the missing padding are those of the code that the authors published."""

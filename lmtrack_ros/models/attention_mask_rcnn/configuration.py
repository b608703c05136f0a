"""What is to be chosen of an attention Mask R-CNN with LSTM, and the sizes that are offered."""

from dataclasses import dataclass

from lmtrack_ros.core.parameters import parameter
from lmtrack_ros.models.model import Configuration


@dataclass(frozen=True)
class AttentionMaskRcnnConfiguration(Configuration):
    """Of networks, losses and optimisation; the defaults are the realtime preset."""

    attention: bool = parameter(True, "narrow the region down to where the landmark moves, section 2.B.1")
    recurrence: bool = parameter(True, "judge proposals with what was seen of the landmark, section 2.B.3")
    reference: bool = parameter(
        True, "show the attention network the frame of marking beside the present one; the paper does not"
    )
    backbone: str = parameter("small", "of the detector", choices=("small", "resnet50"))
    region_px: int = parameter(100, "side of the region that is searched, px", minimum=32, maximum=512)
    attention_px: int = parameter(
        60, "side of the box that the attention network learns, px", minimum=16, maximum=512
    )
    landmark_px: int = parameter(20, "side of a landmark's box, px", minimum=4, maximum=128)
    view_px: int = parameter(64, "side of the detector's image of the attended box, px", minimum=32)
    channels: int = parameter(32, "of the feature pyramid", minimum=4)
    hidden: int = parameter(96, "of the heads and of the LSTM", minimum=4)
    proposals: int = parameter(5, "that are looked at in each frame, section 2.D", minimum=1)
    frames: int = parameter(5, "successive ones that the LSTM learns from", minimum=2)
    class_weight: float = parameter(0.2, "ω1 of equation (2)", minimum=0.0)
    mask_weight: float = parameter(0.2, "ω2 of equation (2)", minimum=0.0)
    box_weight: float = parameter(0.6, "ω3 of equation (2)", minimum=0.0)
    margin: float = parameter(1.0, "γ of equation (3)", minimum=0.0)
    angular_margin: int = parameter(2, "m of equation (4)", minimum=1, maximum=4)
    weight_decay: float = parameter(1e-4, "λ of equation (4)", minimum=0.0)
    nearness: float = parameter(0.5, "1 - γ of equation (6)", minimum=0.0, maximum=1.0)
    clips_per_step: int = parameter(16, "in a batch", minimum=1)
    steps_per_epoch: int = parameter(250, "optimisation steps; 0: as many as see each clip once", minimum=0)
    learning_rate: float = parameter(1e-3, "of Adam, at first", minimum=0.0)
    decay: float = parameter(0.82, "factor of the learning rate after each epoch", minimum=0.0, maximum=1.0)


REALTIME = AttentionMaskRcnnConfiguration(epochs=12)

PAPER = AttentionMaskRcnnConfiguration(
    epochs=1000,
    reference=False,
    backbone="resnet50",
    view_px=256,
    channels=256,
    hidden=1024,
    steps_per_epoch=0,
    learning_rate=1e-6,
    decay=1.0,
)
"""Zhang et al. 2023, section 2.D; what it does not say is that of Mask R-CNN (He et al. 2017)."""

"""3-D ultrasound of a fetal head in utero."""

from lmtrack_ros.phantoms.volume_ultrasound.phantom import PRESETS, VolumeUltrasoundPhantom

__all__ = ["PRESETS", "VolumeUltrasoundPhantom"]

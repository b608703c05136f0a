"""Ultrasound of a breathing liver, kidney or muscle."""

from lmtrack_ros.phantoms.ultrasound.phantom import UltrasoundPhantom
from lmtrack_ros.phantoms.ultrasound.presets import PRESETS

__all__ = ["PRESETS", "UltrasoundPhantom"]

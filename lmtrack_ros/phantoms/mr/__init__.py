"""Cine-MR of a breathing chest and upper abdomen."""

from lmtrack_ros.phantoms.mr.phantom import MrPhantom
from lmtrack_ros.phantoms.mr.presets import PRESETS

__all__ = ["PRESETS", "MrPhantom"]
